"""Plain plots as SVG, readable on light and on dark ground."""

import math
from xml.sax.saxutils import escape

# Told apart by people who see colours differently as well, and on both grounds.
COLOURS = ["#3b82c4", "#8a8f98", "#d98324", "#b3446c", "#7a5ea8", "#2f9e6e", "#c9a227", "#5fa8d3"]

STYLE = """
.ground { fill: #ffffff }
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.small { font-size: 11px; fill: #57606a }
.axis { stroke: #8c959f; stroke-width: 1 }
.grid { stroke: #8c959f; stroke-opacity: .25; stroke-width: 1 }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round }
@media (prefers-color-scheme: dark) { .ground { fill: #0d1117 } text { fill: #e6edf3 } .small { fill: #9198a1 } }
"""


def number(value):
    """A number with about three digits, without an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g} M"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def ticks(top, wanted=5):
    """Round values from 0 to at least `top`."""
    if not top > 0:
        return [0, 1]
    step = 10 ** math.floor(math.log10(top / wanted))
    step *= next(factor for factor in (1, 2, 5, 10) if top / (step * factor) <= wanted)
    return [round(step * at, 12) for at in range(math.ceil(top / step - 1e-9) + 1)]


def log_ticks(low, high):
    """Powers of ten that enclose both ends."""
    first = math.floor(math.log10(low))
    last = max(first + 1, math.ceil(math.log10(high)))
    return [10.0**power for power in range(first, last + 1)]


class Picture:
    """Shapes in the order in which they are drawn."""

    def __init__(self, width, height, title):
        self.width, self.height, self.title, self.shapes = width, height, title, []

    def text(self, x, y, text, kind="", anchor="start"):
        kind = f' class="{kind}"' if kind else ""
        self.shapes.append(f'<text x="{x:.1f}" y="{y:.1f}"{kind} text-anchor="{anchor}">{escape(str(text))}</text>')

    def line(self, x1, y1, x2, y2, kind="grid"):
        self.shapes.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def bar(self, x, y, width, height, colour):
        self.shapes.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5" fill="{colour}"/>')

    def path(self, points, colour):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.shapes.append(f'<polyline class="line" stroke="{colour}" points="{points}"/>')

    def dot(self, x, y, colour):
        self.shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')

    def render(self):
        """The whole document."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height:.0f}" '
            f'viewBox="0 0 {self.width} {self.height:.0f}" role="img" aria-label="{escape(self.title, {chr(34): "&quot;"})}">'
        )
        # A ground of its own: the page may be light where the reader's system is dark.
        ground = f'<rect class="ground" width="{self.width}" height="{self.height:.0f}"/>'
        return "\n".join([head, f"<title>{escape(self.title)}</title>", f"<style>{STYLE}</style>", ground, *self.shapes, "</svg>", ""])


def mark_of(value):
    """A value of an axis: as short as it can be said."""
    return number(value) if value >= 1e6 else f"{value:,.6g}" if value < 1000 else f"{value:,.0f}"


def legend_rows(names, width):
    """Names with the row and the place in it that each has."""
    x, row = 12, 0
    for name in names:
        long = 27 + 6.7 * len(name)
        if x + long > width and x > 12:
            x, row = 12, row + 1
        yield name, row, x
        x += long


def legend(picture, names, colours, y):
    """Names beside their colours."""
    for name, row, x in legend_rows(names, picture.width):
        picture.bar(x, y + row * 17 - 9, 10, 10, colours[name])
        picture.text(x + 15, y + row * 17, name)


def palette(names):
    """A colour for each name."""
    return {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(names)}


def bars(title, unit, groups, names, note=""):
    """Bars that lie, in groups. `groups` are pairs of a label and a dictionary of values by name; a missing value has no
    bar. `names` gives their order and colours."""
    bar, gap, left, right, width = 13, 3, 190, 90, 860
    shown = [name for name in names if any(values.get(name) is not None for _, values in groups)]
    extra = 17 * max((row for _, row, _ in legend_rows(shown, width)), default=0)
    rows = sum(sum(1 for name in names if values.get(name) is not None) for _, values in groups)
    picture = Picture(width, 78 + extra + rows * (bar + gap) + len(groups) * 14 + (20 if note else 6), title)
    picture.text(12, 24, f"{title} ({unit})", "title")
    colours = palette(names)
    legend(picture, shown, colours, 46)
    top = max((value for _, values in groups for value in values.values() if value is not None), default=1)
    marks = ticks(top)
    scale = (width - left - right) / marks[-1]
    y = 62 + extra
    for mark in marks:
        picture.line(left + mark * scale, y, left + mark * scale, picture.height - (34 if note else 20))
        picture.text(left + mark * scale, picture.height - (22 if note else 8), mark_of(mark), "small", "middle")
    for label, values in groups:
        y += 8
        present = [name for name in names if values.get(name) is not None]
        picture.text(left - 8, y + len(present) * (bar + gap) / 2 + 3, label, "", "end")
        for name in present:
            picture.bar(left, y, max(1, values[name] * scale), bar, colours[name])
            picture.text(left + values[name] * scale + 5, y + bar - 2.5, number(values[name]), "small")
            y += bar + gap
        y += 6
    if note:
        picture.text(12, picture.height - 6, note, "small")
    return picture.render()


def lines(title, across, up, series, note="", logarithmic=False, log_across=False, dots=False):
    """Lines over an axis. `series` are pairs of a name and (x, y) points, in the order of x."""
    left, right, top, bottom, width, height = 76, 20, 82, 52 if note else 40, 860, 400
    picture = Picture(width, height, title)
    picture.text(12, 24, title, "title")
    colours = palette([name for name, _ in series])
    legend(picture, [name for name, _ in series], colours, 46)
    xs = [x for _, points in series for x, _ in points] or [0, 1]
    ys = [y for _, points in series for _, y in points] or [0, 1]
    if logarithmic:
        marks = log_ticks(max(min(ys), 1e-9), max(max(ys), 1e-9))
        low, span = math.log10(marks[0]), math.log10(marks[-1]) - math.log10(marks[0])
        height_of = lambda y: (math.log10(max(y, marks[0])) - low) / span
    else:
        marks = ticks(max(ys))
        height_of = lambda y: y / marks[-1]
    if log_across:
        columns = log_ticks(max(min(xs), 1e-9), max(max(xs), 1e-9))
        first, wide = math.log10(columns[0]), math.log10(columns[-1]) - math.log10(columns[0])
        across_of = lambda x: (math.log10(max(x, columns[0])) - first) / wide
    else:
        columns = ticks(max(xs), 8)
        across_of = lambda x: x / columns[-1]
    place = lambda x, y: (left + across_of(x) * (width - left - right), height - bottom - height_of(y) * (height - top - bottom))
    for mark in marks:
        _, y = place(columns[0], mark)
        picture.line(left, y, width - right, y)
        picture.text(left - 6, y + 4, mark_of(mark), "small", "end")
    for column in columns:
        x, y = place(column, marks[0])
        picture.line(x, y, x, y + 4, "axis")
        picture.text(x, y + 16, mark_of(column), "small", "middle")
    picture.line(left, height - bottom, width - right, height - bottom, "axis")
    picture.text(12, top - 14, up, "small")
    picture.text(width - right, height - bottom + 30, across, "small", "end")
    for name, points in series:
        picture.path([place(x, y) for x, y in points], colours[name])
        for x, y in points if dots else []:
            picture.dot(*place(x, y), colours[name])
    if note:
        picture.text(12, height - 8, note, "small")
    return picture.render()
