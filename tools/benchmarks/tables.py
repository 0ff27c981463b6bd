"""tables: what the runs of tools/bench say, as tables.

A result is: pattern or program -> allocator -> the figures of each round.
"""

import dataclasses
import math
import statistics

BASE = "glibc"
CONTROL = "control"
NOISY_SPREAD = 0.25


def geometric_mean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


def median(runs, figure):
    return statistics.median(run[figure] for run in runs)


def least(runs, figure):
    return min(run[figure] for run in runs)


def is_noisy(runs, figure):
    values = [run[figure] for run in runs]
    return max(values) - min(values) > NOISY_SPREAD * statistics.median(values)


def show_number(value):
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


@dataclasses.dataclass
class Table:
    title: str
    names: list
    rows: list  # (label, a text for each name)

    def text(self):
        label_width = max(len(label) for label, _ in self.rows)
        widths = [max(8, len(name), *(len(texts[i]) for _, texts in self.rows))
                  for i, name in enumerate(self.names)]
        return "\n".join(["", self.title] + [
            "  ".join([label.ljust(label_width),
                       *(text.rjust(width) for text, width in zip(texts, widths))]).rstrip()
            for label, texts in [("", self.names), *self.rows]])

    def markdown(self):
        lines = [["", *self.names], ["---", *["---:"] * len(self.names)]]
        lines += [[label, *(text.strip() for text in texts)] for label, texts in self.rows]
        return f"\n{self.title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


# --- Ratios and means -----------------------------------------------------------


def ratio(result, what, name, figure="cpu_ns"):
    """Returns: the ratio of medians to the base; None where it did not run."""
    if not result[what].get(name):
        return None
    return median(result[what][name], figure) / median(result[what][BASE], figure)


def driver_of(pattern):
    """The driver to which a pattern belongs: sizes of one are parts of it, threads are not."""
    kind = pattern.split("/")[0]
    return pattern if kind == "threads" else kind


def driver_ratios(times, name, figure="cpu_ns"):
    """Returns: driver -> geometric mean over its patterns. A driver with many sizes counts once."""
    parts = {}
    for pattern in times:
        if pattern != CONTROL:
            parts.setdefault(driver_of(pattern), []).append(ratio(times, pattern, name, figure))
    return {driver: geometric_mean(values) for driver, values in parts.items() if None not in values}


def program_ratios(programs, name, figure="cpu_ns"):
    values = {program: ratio(programs, program, name, figure)
              for program in programs if program != CONTROL}
    return {program: value for program, value in values.items() if value is not None}


def means(times, programs, name):
    """Returns: the figures of the targets for one allocator; those without a run are left out."""
    real, drivers = program_ratios(programs, name), driver_ratios(times, name)
    both = {**real, **drivers}
    memory = {**program_ratios(programs, name, "rss_kib"), **driver_ratios(times, name, "rss_kib")}
    result = {}
    if real:
        result["real programs"] = geometric_mean(real.values())
    if drivers:
        result["allocator benchmarks"] = geometric_mean(drivers.values())
    if real and drivers:
        result["all"] = geometric_mean(both.values())
    if both:
        result["worst single"] = max(both.values())
        result["worst is"] = max(both, key=both.get)
        result["peak RSS"] = geometric_mean(memory.values())
    return result


# --- Tables ---------------------------------------------------------------------


def cell(value, form):
    return "-" if value is None else format(value, form)


def time_tables(times, names):
    rows = [(pattern, figure) for pattern in times for figure in ("cpu_ns", "wall_ns")
            if figure == "cpu_ns" or pattern.startswith(("threads/", "scale/"))]

    def label(pattern, figure):
        return pattern + (" (wall)" if figure == "wall_ns" else "")

    yield Table("CPU ns per malloc+free pair, realloc step or short-lived thread; medians "
                f"(~: spread over {NOISY_SPREAD:.0%})", names,
                [(label(p, f), [show_number(median(times[p][n], f)) +
                                ("~" if is_noisy(times[p][n], f) else " ") for n in names])
                 for p, f in rows])
    table = [(label(p, f), [f"{ratio(times, p, n, f):.2f}" for n in names]) for p, f in rows]
    micro = [pattern for pattern in times if pattern != CONTROL]
    if micro:
        for title, figure in (("geometric mean, CPU", "cpu_ns"),
                              ("geometric mean, peak RSS", "rss_kib")):
            table.append((title, [f"{geometric_mean([ratio(times, p, n, figure) for p in micro]):.2f}"
                                  for n in names]))
        table.append(("geometric mean over drivers, CPU",
                      [f"{geometric_mean(driver_ratios(times, n).values()):.2f}" for n in names]))
        table.append(("most maps (lines)", [f"{max(median(times[p][n], 'maps') for p in micro):.0f}"
                                            for n in names]))
    yield Table(f"Ratio to {BASE} (below 1: faster or smaller)", names, table)


def latency_tables(latencies, names):
    # Whatever else ran on the machine can only add to the worst call.
    figures = (("median", "p50", median), ("99 %", "p99", median), ("99.9 %", "p999", median),
               ("worst", "worst", least))
    for pattern, by_name in latencies.items():
        rows = [(f"{call}, {title}", [show_number(of_rounds(by_name[n], f"{call}_{figure}"))
                                      for n in names])
                for call in ("malloc", "free") for title, figure, of_rounds in figures]
        yield Table(f"{pattern}: ns of single calls; medians over the rounds, worst: the least of them",
                    names, rows)


def over(run, figure, requested):
    """The RSS `figure` of a run as multiple of the bytes `requested`."""
    return f"{max(0, run[figure]) * 1024 / run[requested]:.2f}"


# Beginning of a probe's name -> (title, figure, what it is compared with).
PROBE_FIGURES = {
    "footprint/": [("RSS / requested, all live", "live_kib", "bytes"),
                   ("RSS / requested, right after all were freed", "freed_kib", "bytes"),
                   ("RSS / requested, one second later", "later_kib", "bytes"),
                   ("Lines in /proc/PID/maps, all live", "maps", None)],
    "fragmentation/": [("a random half freed, a second later: RSS / live", "half_kib", "half_bytes"),
                       ("refilled with another size: RSS / live", "live_kib", "live_bytes"),
                       ("peak RSS / live", "peak_kib", "live_bytes"),
                       ("lines in /proc/PID/maps", "maps", None)],
    "burst/": [("RSS at the peak / live after it", "full_kib", "live_bytes"),
               ("right after the burst was freed", "freed_kib", "live_bytes"),
               ("a second later, asleep", "later_kib", "live_bytes"),
               ("another second later, with a few calls", "active_kib", "live_bytes")],
}


def probe_tables(probes, names):
    """Memory: one table per figure of the footprints, one per pattern of the others."""
    def texts(pattern, figure, requested):
        runs = [probes[pattern][n][0] for n in names]
        return [f"{run[figure]:.0f}" if requested is None else over(run, figure, requested)
                for run in runs]

    footprints = [pattern for pattern in probes if pattern.startswith("footprint/")]
    if footprints:
        for title, *figure in PROBE_FIGURES["footprint/"]:
            yield Table(title, names, [(p, texts(p, *figure)) for p in footprints])
    for pattern in probes:
        if pattern not in footprints:
            kind = pattern.split("/")[0] + "/"
            yield Table(pattern, names, [(title, texts(pattern, *figure))
                                         for title, *figure in PROBE_FIGURES[kind]])


def program_tables(programs, names):
    def text(program, name, figure, scale, form):
        runs = programs[program].get(name)
        if not runs:
            return "fails "
        return f"{median(runs, figure) / scale:{form}}" + ("~" if is_noisy(runs, figure) else " ")

    yield Table("Real programs, CPU seconds (user and system) of the process tree or server; medians "
                f"(~: spread over {NOISY_SPREAD:.0%})", names,
                [(p, [text(p, n, "cpu_ns", 1e9, ".3f") for n in names]) for p in programs])
    for title, figure in ((f"Real programs, CPU time as ratio to {BASE}", "cpu_ns"),
                          (f"Real programs, peak RSS as ratio to {BASE}", "rss_kib")):
        rows = [(p, [cell(ratio(programs, p, n, figure), ".2f") for n in names]) for p in programs]
        rows.append(("geometric mean", [cell(
            geometric_mean(program_ratios(programs, n, figure).values())
            if program_ratios(programs, n, figure) else None, ".2f") for n in names]))
        yield Table(title, names, rows)


def maps_table(programs, names):
    rows = [(p, [f"{median(programs[p][n], 'maps'):.0f}" if programs[p].get(n) else "fails"
                 for n in names]) for p in programs]
    return Table("Real programs, most lines in /proc/PID/maps of a process", names, rows)


def start_table(starts, names):
    runs = len(starts[BASE])
    rows = [(title, [f"{median(starts[n], figure) / scale:,.0f}" for n in names])
            for title, figure, scale in (("wall, us", "wall_ns", 1000), ("CPU, us", "cpu_ns", 1000),
                                         ("peak RSS, KiB", "rss_kib", 1))]
    return Table(f"Start-up: `true`, medians of {runs} runs", names, rows)


def mean_table(times, programs, names):
    by_name = {name: means(times, programs, name) for name in names}
    rows = [(title, [cell(by_name[n].get(title), ".2f") for n in names])
            for title in ("real programs", "allocator benchmarks", "all", "worst single", "peak RSS")]
    rows.append(("worst is", [by_name[n].get("worst is", "-") if n != BASE else "-"
                              for n in names]))
    return Table(f"Geometric means of ratios to {BASE}", names, rows)
