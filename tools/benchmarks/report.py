"""report: writes the results of tools/bench into PERFORMANCE.md, and the charts beside it.

Only what stands between the two markers is replaced; the rest of the file is its author's.
"""

import charts
import tables

BEGIN = "<!-- measured: written by tools/bench --report -->"
END = "<!-- /measured -->"

# Level -> what its ratios to the base may be at most.
TARGETS = {
    "light": {"real programs": 0.94, "allocator benchmarks": 0.65, "all": 0.80,
              "worst single": 1.10, "peak RSS": 1.15},
    "standard": {"real programs": 1.03, "allocator benchmarks": 0.85, "all": 0.95,
                 "worst single": 1.35, "peak RSS": 1.25},
    "strict": {"real programs": 1.15, "allocator benchmarks": 1.45, "all": 1.25,
               "worst single": 2.0, "peak RSS": 1.50},
}
# At light: ahead of the best peer in half of the patterns, and never far behind it.
LIGHT = "light"
LIGHT_TOLERANCE = 1.3
# RSS over what is live, a second after a burst.
BURST_TARGET = 1.2


def target_table(times, programs, names):
    rows = []
    for level, targets in TARGETS.items():
        if level in names:
            found = tables.means(times, programs, level)
            rows.append((level, [f"{found[title]:.2f} (<= {most:.2f}, "
                                 f"{'met' if found[title] <= most else 'not met'})"
                                 if title in found else "-" for title, most in targets.items()]
                         + [found.get("worst is", "-")]))
    titles = [*next(iter(TARGETS.values())), "worst is"]
    return tables.Table("Ratios to glibc and what they may be at most", titles, rows)


def light_against_best(times, peers):
    """A sentence: how light stands against the best of the peers, pattern by pattern."""
    patterns = [pattern for pattern in times if pattern != tables.CONTROL]
    quotients = {}
    for pattern in patterns:
        best = min(tables.median(times[pattern][peer], "cpu_ns") for peer in peers)
        quotients[pattern] = tables.median(times[pattern][LIGHT], "cpu_ns") / best
    ahead = sum(quotient <= 1 for quotient in quotients.values())
    behind = {p: q for p, q in quotients.items() if q > LIGHT_TOLERANCE}
    text = (f"{LIGHT} is at or below the best of {', '.join(peers)} in {ahead} of {len(patterns)} "
            f"patterns (wanted: half)")
    if not behind:
        return f"{text}, and within {LIGHT_TOLERANCE} times the best in all."
    worst = ", ".join(f"{pattern} ({quotient:.1f})"
                      for pattern, quotient in sorted(behind.items(), key=lambda item: -item[1]))
    return f"{text}; more than {LIGHT_TOLERANCE} times the best: {worst}."


def burst_sentence(probes, names):
    pattern = next((p for p in reversed(probes) if p.startswith("burst/")), None)
    levels = [name for name in TARGETS if name in names]
    if not pattern or not levels:
        return ""
    texts = [f"{level} {tables.over(probes[pattern][level][0], 'later_kib', 'live_bytes')}"
             for level in levels]
    return (f"RSS over what is live, a second after a burst ({pattern}; wanted: below "
            f"{BURST_TARGET}): {', '.join(texts)}.")


def draw(folder, times, programs, names):
    """Writes the charts. Returns: their file names, in the order in which they are shown."""
    shown = [name for name in names if name != tables.BASE]
    summary = {title: {} for title in ("real programs", "allocator benchmarks", "all", "peak RSS")}
    for name in shown:
        found = tables.means(times, programs, name)
        for title, group in summary.items():
            if title in found:
                group[name] = found[title]

    def by_label(ratios):
        found = {name: ratios(name) for name in shown}
        labels = list(dict.fromkeys(label for by in found.values() for label in by))
        return {label: {name: by[label] for name, by in found.items() if label in by}
                for label in labels}

    pictures = {
        "summary": ("Geometric means: CPU time and peak RSS", summary),
        "programs": ("Real programs: CPU time",
                     by_label(lambda name: tables.program_ratios(programs, name))),
        "benchmarks": ("Allocator benchmarks: CPU time",
                       by_label(lambda name: tables.driver_ratios(times, name))),
        "memory": ("Real programs: peak RSS",
                   by_label(lambda name: tables.program_ratios(programs, name, "rss_kib"))),
    }
    files = []
    for key, (title, groups) in pictures.items():
        groups = {label: group for label, group in groups.items() if group}
        if groups:
            path = folder / f"performance_{key}.svg"
            path.write_text(charts.bar_chart(f"{title}, as ratio to {tables.BASE} (log scale)",
                                             shown, groups))
            files.append(path.name)
    return files


def text_of(results, facts, allocators, folder_name, pictures, notes):
    """The measured part of PERFORMANCE.md."""
    names = [name for name, _ in allocators]
    times, programs = results["times"], results["programs"]
    peers = [name for name in names if name not in TARGETS and name not in ("floor", "paranoid")]
    parts = [BEGIN, "", "## Machine", "",
             "; ".join(f"{name} {value}" for name, value in facts.items()) + ".", "",
             *(f"* {name}: {version}" for name, version in allocators), "",
             "Every allocator is preloaded into the same binaries, in interleaved rounds of rotating "
             "order; medians. Real programs: CPU time (user and system) of the process tree, or of "
             "the server under a fixed number of requests. Operation counts and outputs agree "
             "between all allocators. A driver with many sizes counts once in a mean, by the mean of "
             "its patterns; worst single is the worst program or driver. floor is a stub that only "
             "keeps lists: as little work as malloc can be, whatever memory it takes. Debian's redis is "
             "linked to jemalloc; in the column glibc, libc is preloaded there.", "",
             "## Against the targets", target_table(times, programs, names).markdown(), ""]
    if LIGHT in names:
        parts += [light_against_best(times, peers), ""]
    parts += [burst_sentence(results["probes"], names), "", *notes, ""]
    parts += [f"![{name}]({folder_name}/{name})\n" for name in pictures]
    parts += ["## Means", tables.mean_table(times, programs, names).markdown(), "",
              "## Real programs",
              *(table.markdown() for table in tables.program_tables(programs, names)),
              tables.maps_table(programs, names).markdown(),
              tables.start_table(results["starts"], names).markdown(), "",
              "## Allocator benchmarks",
              *(table.markdown() for table in tables.time_tables(times, names)),
              *(table.markdown() for table in tables.latency_tables(results["latencies"], names)), "",
              "## Memory",
              *(table.markdown() for table in tables.probe_tables(results["probes"], names)), "", END]
    return "\n".join(parts)


def around_measured(path):
    """Returns: what stands before and after the measured part of a file that need not exist."""
    text = path.read_text() if path.exists() else (
        "# Performance\n\nTime and memory against glibc and other allocators. "
        f"`tools/bench --report` measures and writes it.\n\n{BEGIN}\n{END}\n")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} lacks the lines {BEGIN} and {END}")
    return before, after


def write(path, results, facts, allocators, notes):
    """Writes `path` (PERFORMANCE.md) and its charts. `allocators`: (name, version) in order."""
    before, after = around_measured(path)
    names = [name for name, _ in allocators]
    folder = path.parent / "docs"
    folder.mkdir(exist_ok=True)
    pictures = draw(folder, results["times"], results["programs"], names)
    measured = text_of(results, facts, allocators, folder.name, pictures, notes)
    path.write_text(before + measured + after)
