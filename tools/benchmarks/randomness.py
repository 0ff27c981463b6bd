"""randomness: what each placement of slots gives in bits, and what it costs on three heaps.

For each level, each placement that the settings `placement` and `lanes` allow: how far the distance
of two allocations can be guessed (the estimators of tools/entropy), and CPU time and memory against
the same level with its slots in order.
"""

import dataclasses
import importlib.machinery
import importlib.util
import math
import pathlib
import re
import sys
import textwrap

import charts
import programs
import tables

ENTROPY = pathlib.Path(__file__).resolve().parent.parent / "entropy"
BEGIN = "<!-- randomness: written by tools/bench --randomness --write -->"
END = "<!-- /randomness -->"
PICTURE = "performance_randomness.svg"
WIDTH = 118  # of the text in PERFORMANCE.md

# Placement -> the settings that make it.
IN_ORDER = "in order"
AGAIN = "in order, again"  # how far from 1.00 the machine alone can get
UNIFORM = "uniform"
PLACEMENTS = {
    IN_ORDER: "placement=64",
    AGAIN: "placement=64",
    "window 256 B": "placement=256",
    "window 1 KiB": "placement=1K",
    "window 4 KiB": "placement=4K",
    "window 64 KiB": "placement=64K",
    "8 lanes": "placement=256:lanes=8",
    "16 lanes": "placement=256:lanes=16",
    "16 lanes, window 4 KiB": "placement=4K:lanes=16",
    "64 lanes": "placement=256:lanes=64",
    UNIFORM: "placement=uniform",
}
# Level -> its placements; every other level has all of them.
FEWER = {"strict": (IN_ORDER, AGAIN, "window 256 B", "window 4 KiB", "16 lanes", UNIFORM)}
# Level -> the placement that it has by itself.
TODAY = {"light": "window 256 B", "standard": UNIFORM, "strict": UNIFORM}

# Their points would lie on those of others.
NOT_DRAWN = (AGAIN, "16 lanes, window 4 KiB")

# The moments at which two allocations of 64 bytes are compared: pattern of the probe -> its columns.
MOMENTS = {"pairs": ("p1-p0", "p99-p98"), "aged-pairs": ("at-1e5",)}
PROBE_SIZE = 64
PROCESSES, QUICK_PROCESSES = 2000, 60
WANTED_BITS = 9  # what SECURITY.md promises of standard

CACHE, LARGE, SMALLER = "heap/cache", "heap/100MB", "heap/10MB"
PROGRAM = "python3 json"
RECORDS, QUICK_RECORDS = 40_000, 2_000
MORE_ROUNDS = 2  # of the program, whose times spread most
# The interpreter's own allocator would take all small objects.
VARIABLES = (("PYTHONMALLOC", "malloc"),)


@dataclasses.dataclass(frozen=True)
class Column:
    """A placement at a level."""
    level: str
    placement: str

    @property
    def name(self):
        return f"{self.level}, {self.placement}"

    def variables(self):
        return (("HARDENED_LEVEL", self.level), ("HARDENED_OPTIONS", PLACEMENTS[self.placement]),
                *VARIABLES)


def columns(levels, only=""):
    """The placements of some levels whose name matches; what they are compared with is always there."""
    return [column for level in levels for placement in FEWER.get(level, PLACEMENTS)
            for column in [Column(level, placement)]
            if placement == IN_ORDER or re.search(only, column.name)]


def heaps(quick):
    """Returns: the patterns of the driver, and the real program."""
    records = QUICK_RECORDS if quick else RECORDS
    program = programs.Program(PROGRAM, ("python3",), ("python3",),
                               programs.command("python3", "large_json.py", str(records)))
    return [CACHE, SMALLER if quick else LARGE], program


# --- Entropy --------------------------------------------------------------------


def load_entropy():
    """tools/entropy as a module."""
    if "entropy" not in sys.modules:
        loader = importlib.machinery.SourceFileLoader("entropy", str(ENTROPY))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader("entropy", loader))
        sys.modules["entropy"] = module  # its dataclasses look there
        loader.exec_module(module)
    return sys.modules["entropy"]


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How many processes of each pattern, and how many of them at a time."""
    processes: int
    jobs: int


def entropy_of(probe, allocator, sampling):
    """Returns: moment -> what tools/entropy estimates there, for two allocations of 64 bytes."""
    entropy = load_entropy()
    found = {}
    for pattern, moments in MOMENTS.items():
        samples = entropy.measure(probe, allocator, pattern, sampling)
        for moment in moments:
            found[moment] = entropy.estimate(samples[f"{moment}/{PROBE_SIZE}"])
    return found


def least_bits(found):
    return min(found.values(), key=lambda figure: figure.bits)


def easiest_guess(found):
    """Of the moments with one sample for each process, of which there are most."""
    return max((found[moment] for moment in MOMENTS["pairs"]), key=lambda figure: figure.best)


# --- What it says ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Results:
    """Column -> moment -> entropy; heap -> the name of a column -> the figures of each round."""
    columns: list
    entropies: dict
    runs: dict
    sampling: Sampling

    def ratio(self, heap, column, figure="cpu_ns"):
        base = Column(column.level, IN_ORDER)
        return (tables.median(self.runs[heap][column.name], figure) /
                tables.median(self.runs[heap][base.name], figure))

    def levels(self):
        return list(dict.fromkeys(column.level for column in self.columns))

    def of_level(self, level):
        return [column for column in self.columns if column.level == level]

    def large(self):
        return LARGE if LARGE in self.runs else SMALLER

    def enough(self, level):
        """The placements of a level with the bits that are wanted, at every moment."""
        return [column for column in self.of_level(level)
                if least_bits(self.entropies[column]).bits >= WANTED_BITS]


def with_noise(results, heap, column, figure="cpu_ns"):
    runs = results.runs[heap][column.name]
    return (f"{results.ratio(heap, column, figure):.2f}" +
            ("~" if tables.is_noisy(runs, figure) else ""))


def table(results, markdown=False):
    heap_columns = [(heap, figure) for heap in results.runs
                    for figure in ("cpu_ns", *(["walk_ns"] if heap.startswith("heap/") else []),
                                   "rss_kib")]
    titles = {"cpu_ns": "time", "walk_ns": "walk", "rss_kib": "RSS"}
    moments = [moment for of_pattern in MOMENTS.values() for moment in of_pattern]
    names = [*moments, "best guess",
             *(f"{heap}: {titles[figure]}" if figure == "cpu_ns" else titles[figure]
               for heap, figure in heap_columns)]
    rows = []
    empty = [""] * (len(moments) + 1)

    def plain(label, name):
        units = {"cpu_ns": (1, " ns"), "walk_ns": (1, " ns"), "rss_kib": (1024, " MiB")}
        texts = []
        for heap, figure in heap_columns:
            scale, unit = (1e9, " s") if heap == PROGRAM and figure == "cpu_ns" else units[figure]
            texts.append(f"{tables.median(results.runs[heap][name], figure) / scale:.3g}{unit}")
        rows.append((label, empty + texts))

    plain(tables.BASE, tables.BASE)
    for level in results.levels():
        plain(f"**{level}**, {IN_ORDER}" if markdown else f"{level}, {IN_ORDER}",
              Column(level, IN_ORDER).name)
        for column in results.of_level(level):
            found = results.entropies[column]
            mark = " (today)" if TODAY.get(level) == column.placement else ""
            rows.append((f"{column.placement}{mark}" if markdown else f"  {column.placement}{mark}",
                         [*(found[moment].text() for moment in moments),
                          easiest_guess(found).guess(),
                          *(with_noise(results, heap, column, figure)
                            for heap, figure in heap_columns)]))
    return tables.Table("Bits and best guess; CPU time and memory as ratio to the same level with its slots "
                        f"in order (~: spread over {tables.NOISY_SPREAD:.0%})", names, rows)


def limits(sampling):
    """Returns: the most bits that can be seen, and the best guess that 95 % can bound."""
    pairs = sampling.processes * (sampling.processes - 1) / 2
    entropy = load_entropy()
    return math.log2(pairs / 3), 1 / entropy.binomial_upper_bound(1, sampling.processes)


def definition(results):
    processes = results.sampling.processes
    most_bits, most_guess = limits(results.sampling)
    aged = max(10, processes // load_entropy().AGED_SHARE)
    return (f"Two allocations of {PROBE_SIZE} bytes, one after the other: collision entropy of their "
            "distance, that is -log2 of the probability that two fresh processes agree (as in "
            "SECURITY.md). p1-p0: the first two of a process; p99-p98: the hundredth pair; at-1e5: "
            "after 100,000 allocations of churn over 20,000 live objects. "
            f"{processes:,} processes, at-1e5 {aged:,} with eight samples each; so no more than "
            f"{most_bits:.1f} bits and no guess rarer than 1 in {most_guess:.0f} can be seen. "
            "Best guess: how often the most frequent distance came, of p1-p0 and p99-p98 the "
            "easier one, and the upper bound of it at 95 %. Times are CPU time, medians over the rounds: "
            f"{CACHE} fits the second-level cache, {results.large()} is walked five times after each "
            f"change (walk: that part alone), {PROGRAM} builds, reads and replaces a large document, with "
            "PYTHONMALLOC=malloc. A window is never larger than a refill, at most 128 slots.")


def costs(results, column):
    return ", ".join(f"{results.ratio(heap, column):.2f} on {heap}"
                     for heap in (results.large(), PROGRAM, CACHE))


def findings(results):
    """What follows from the figures, in sentences."""
    heap = results.large()
    lines = []
    for level in results.levels():
        of_level = {column.placement: column for column in results.of_level(level)}
        today = of_level.get(TODAY[level])
        if today:
            lines.append(f"{level} today ({today.placement}): "
                         f"{least_bits(results.entropies[today]).bits:.1f} bits at the least; CPU time "
                         f"{costs(results, today)}.")
        enough = results.enough(level)
        if not enough:
            lines.append(f"No placement of {level} has {WANTED_BITS} bits at every moment.")
            continue
        cheapest = min(enough, key=lambda column: results.ratio(heap, column))
        lines.append(f"The cheapest placement of {level} with {WANTED_BITS} bits at every moment is "
                     f"{cheapest.placement} ({results.ratio(heap, cheapest):.2f}).")
        # No reason to choose these.
        beaten = [column.placement for column in of_level.values()
                  if column.placement not in (IN_ORDER, AGAIN) and any(
                      results.ratio(heap, other) < results.ratio(heap, column) and
                      least_bits(results.entropies[other]).bits >
                      least_bits(results.entropies[column]).bits for other in of_level.values())]
        if beaten:
            lines.append(f"Dearer than a placement of {level} with more bits: {'; '.join(beaten)}.")
    return "\n".join(lines)


def picture(results):
    """The chart: a panel for each level, a line for each heap."""
    panels = {}
    for level in results.levels():
        panels[level] = {heap: [charts.Point(least_bits(results.entropies[column]).bits,
                                             results.ratio(heap, column),
                                             column.placement.removeprefix("window "),
                                             "lanes" in column.placement)
                                for column in results.of_level(level)
                                if column.placement not in NOT_DRAWN]
                         for heap in results.runs}
    return charts.curve_chart(
        "The price of randomness: CPU time against slots in order",
        "collision entropy of a distance in bits, the least of three moments",
        "filled: windows and uniform; hollow: lanes", panels)


def text_of(results, facts, folder_name):
    """The section of PERFORMANCE.md, between its markers."""
    def filled(text):
        return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)

    bullets = [textwrap.fill(line, WIDTH, initial_indent="- ", subsequent_indent="  ",
                             break_long_words=False, break_on_hyphens=False)
               for line in findings(results).splitlines()]
    machine = "; ".join(f"{name} {value}" for name, value in facts.items()) + "."
    return "\n".join([BEGIN, "", filled(definition(results)), "", filled(machine),
                      table(results, markdown=True).markdown(), "", *bullets, "",
                      f"![{PICTURE}]({folder_name}/{PICTURE})", "", END])


def write(path, results, facts):
    """Puts the section into `path` (PERFORMANCE.md) and the chart beside it."""
    text = path.read_text()
    if BEGIN not in text:
        text = text.rstrip("\n") + f"\n\n## The price of randomness\n\n{BEGIN}\n{END}\n"
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    folder = path.parent / "docs"
    folder.mkdir(exist_ok=True)
    (folder / PICTURE).write_text(picture(results))
    path.write_text(before + text_of(results, facts, folder.name) + after)


def document(results, summary):
    """For --json: an entry for each placement of each level."""
    return [{"level": column.level, "placement": column.placement,
             "settings": PLACEMENTS[column.placement],
             "entropy": {moment: dataclasses.asdict(figure)
                         for moment, figure in results.entropies[column].items()},
             "heaps": {heap: {"ratio": results.ratio(heap, column),
                              "rss_ratio": results.ratio(heap, column, "rss_kib"),
                              **summary([{name: value for name, value in run.items()
                                          if not isinstance(value, str)}
                                         for run in by_name[column.name]])}
                       for heap, by_name in results.runs.items()}} for column in results.columns]
