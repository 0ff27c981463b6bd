"""charts: charts of ratios as SVG, written by hand: they need no library to make or to see."""

import dataclasses
import math
from xml.sax.saxutils import escape

# Ours stand out; peers are grey to blue, the floor is pale.
COLOURS = {"light": "#2e9e5b", "standard": "#e08a1e", "strict": "#c8372d", "paranoid": "#7a1f5c",
           "mimalloc": "#8fb4d9", "jemalloc": "#6d8fb5", "tcmalloc": "#4c6b8f", "scudo": "#9a9a9a",
           "floor": "#d9d9d9"}
OTHER_COLOURS = ["#b8a9d4", "#c2c08a", "#a8cfc2", "#d4a9b3"]

GAP, LEFT, TOP, HEIGHT, BOTTOM = 14, 100, 64, 260, 120
LEGEND = 96  # width of an entry
# With this many groups or fewer there is room for the figures.
FEW_GROUPS = 6


def tick(value):
    return f"{value:g}" if value >= 0.25 else f"1/{1 / value:g}"


def colour_of(names):
    others = iter(OTHER_COLOURS * len(names))
    return {name: COLOURS.get(name) or next(others) for name in names}


def bar_chart(title, names, groups):
    """Draws bars that start at 1.0 and go up where a ratio is worse and down where it is better.

    `groups`: label -> name -> ratio; a name may be missing. The scale is logarithmic, so that half
    and twice are as far from 1.0.
    """
    values = [value for group in groups.values() for value in group.values()]
    low = min(0.5, *(2 ** math.floor(math.log2(value)) for value in values))
    high = max(2, *(2 ** math.ceil(math.log2(value)) for value in values))
    few = len(groups) <= FEW_GROUPS
    bar = 24 if few else 9
    group_width = bar * len(names) + GAP
    width = max(LEFT + group_width * len(groups) + GAP, LEFT + LEGEND * len(names), 640)

    def y(value):
        return TOP + HEIGHT * (math.log2(high) - math.log2(value)) / math.log2(high / low)

    colours = colour_of(names)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {TOP + HEIGHT + BOTTOM}" '
             f'width="{width}" height="{TOP + HEIGHT + BOTTOM}" font-family="sans-serif" font-size="11">',
             '<rect width="100%" height="100%" fill="#ffffff"/>',
             f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>']
    for i, name in enumerate(names):
        parts.append(f'<rect x="{LEFT + LEGEND * i}" y="34" width="10" height="10" fill="{colours[name]}"/>'
                     f'<text x="{LEFT + LEGEND * i + 14}" y="43">{escape(name)}</text>')
    line = low
    while line <= high:
        weight = ' stroke="#000000"' if line == 1 else ' stroke="#e4e4e4"'
        parts.append(f'<line x1="{LEFT}" x2="{width - GAP}" y1="{y(line):.1f}" y2="{y(line):.1f}"{weight}/>'
                     f'<text x="{LEFT - 6}" y="{y(line) + 4:.1f}" text-anchor="end">{tick(line)}</text>')
        line *= 2
    for g, (label, group) in enumerate(groups.items()):
        left = LEFT + GAP / 2 + g * group_width
        for i, name in enumerate(names):
            if name not in group:
                continue
            ends = sorted((y(group[name]), y(1)))
            # A bar of exactly 1.0 would not be seen.
            parts.append(f'<rect x="{left + bar * i:.1f}" y="{ends[0]:.1f}" width="{bar - 1}" '
                         f'height="{max(1, ends[1] - ends[0]):.1f}" fill="{colours[name]}">'
                         f'<title>{escape(f"{label}, {name}: {group[name]:.2f}")}</title></rect>')
            if few:
                above = ends[0] - 3 if group[name] >= 1 else ends[1] + 11
                parts.append(f'<text x="{left + bar * (i + 0.5):.1f}" y="{above:.1f}" font-size="9" '
                             f'text-anchor="middle">{group[name]:.2f}</text>')
        middle = left + bar * len(names) / 2
        place = (f'x="{middle:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle"' if few else
                 f'transform="translate({middle:.1f} {TOP + HEIGHT + 14}) rotate(-40)" '
                 f'text-anchor="end"')
        parts.append(f'<text {place}>{escape(label)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


# --- Curves ---------------------------------------------------------------------

SERIES_COLOURS = ["#2e9e5b", "#c8372d", "#4c6b8f", "#e08a1e"]
PANEL, PANEL_GAP, AXIS = 400, 50, 60  # width of a panel, room between two, room below


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float
    label: str
    apart: bool = False  # drawn hollow, and not joined with the others


def curve_chart(title, x_title, note, panels):
    """Draws points, joined in the order of x, in panels side by side with the same axes.

    `panels`: title -> series -> points. Labels stand at the points of the series whose y reaches
    highest; the others have theirs as a tooltip.
    """
    points = [point for panel in panels.values() for of_one in panel.values() for point in of_one]
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    colours = dict(zip(names, SERIES_COLOURS * len(names)))
    right = max(1, math.ceil(max(point.x for point in points)))
    low = min(1, math.floor(min(point.y for point in points) * 5) / 5)
    high = max(1.2, math.ceil(max(point.y for point in points) * 5) / 5)
    width = LEFT + (PANEL + PANEL_GAP) * len(panels)
    height = TOP + GAP + HEIGHT + AXIS

    def y(value):
        return TOP + GAP + HEIGHT * (high - value) / (high - low)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
             f'width="{width}" height="{height}" font-family="sans-serif" font-size="11">',
             '<rect width="100%" height="100%" fill="#ffffff"/>',
             f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>']
    for i, name in enumerate(names):
        parts.append(f'<rect x="{LEFT + LEGEND * i}" y="34" width="10" height="10" fill="{colours[name]}"/>'
                     f'<text x="{LEFT + LEGEND * i + 14}" y="43">{escape(name)}</text>')
    parts.append(f'<text x="{LEFT + LEGEND * len(names) + 14}" y="43">{escape(note)}</text>')
    for number, (panel_title, panel) in enumerate(panels.items()):
        left = LEFT + number * (PANEL + PANEL_GAP)

        def x(value):
            return left + PANEL * value / right

        parts.append(f'<text x="{left}" y="{TOP + 4}" font-weight="bold">{escape(panel_title)}</text>')
        for step in range(round(low * 5), round(high * 5) + 1):
            weight = ' stroke="#000000"' if step == 5 else ' stroke="#e4e4e4"'
            line = y(step / 5)
            parts.append(f'<line x1="{left}" x2="{left + PANEL}" y1="{line:.1f}" y2="{line:.1f}"{weight}/>'
                         f'<text x="{left - 6}" y="{line + 4:.1f}" text-anchor="end">{step / 5:.1f}</text>')
        parts += [f'<text x="{x(bits):.1f}" y="{TOP + GAP + HEIGHT + 16}" text-anchor="middle">{bits}</text>'
                  for bits in range(right + 1)]
        parts.append(f'<text x="{left + PANEL / 2}" y="{TOP + GAP + HEIGHT + 36}" '
                     f'text-anchor="middle">{escape(x_title)}</text>')
        highest = max(panel, key=lambda name: max(point.y for point in panel[name]))
        for name, of_one in panel.items():
            joined = sorted((point for point in of_one if not point.apart), key=lambda point: point.x)
            path = " ".join(f"{x(point.x):.1f},{y(point.y):.1f}" for point in joined)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}"/>')
            for point in of_one:
                fill = "#ffffff" if point.apart else colours[name]
                text = f"{panel_title}, {name}, {point.label}: {point.x:.1f} bits, {point.y:.2f}"
                parts.append(f'<circle cx="{x(point.x):.1f}" cy="{y(point.y):.1f}" r="4" fill="{fill}" '
                             f'stroke="{colours[name]}"><title>{escape(text)}</title></circle>')
                if name == highest:
                    # Away from the line, which goes up; near an edge, inwards.
                    at_edge = point.x > right - 2
                    at_bottom = y(point.y) > y(low) - 10
                    across, down = (-7, -3) if at_edge else (6, -5) if point.apart or at_bottom else (6, 12)
                    parts.append(f'<text x="{x(point.x) + across:.1f}" y="{y(point.y) + down:.1f}" '
                                 f'font-size="9" text-anchor="{"end" if at_edge else "start"}">'
                                 f'{escape(point.label)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
