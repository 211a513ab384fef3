"""Draws the year as an SVG picture: four charts below each other. Only text is made here; figures come from year.py.

Colours are such that lines and letters can be read on white and on black.
"""

import math

WIDTH, LEFT, RIGHT, TOP = 880, 70, 20, 76
HEIGHT, GAP = 150, 62
LEVELS = {"year": "#3b82f6", "month": "#c026d3", "decade": "#d97706", "day": "#16a34a"}
STYLE = """\
  text { font: 12px system-ui, sans-serif; fill: #7d8590 }
  .title { font-weight: 600; font-size: 13px }
  .axis { stroke: #7d8590; stroke-width: 1 } .grid { stroke: #7d8590; stroke-opacity: .3; stroke-width: 1 }
"""


# Charts of single runs: number, column, opacity.
CURVES = ((0, "stored_bytes", 1), (2, "run_cpu_s", 0.35), (2, "run_s", 1), (3, "restore_cpu_s", 0.35), (3, "restore_s", 1))


def size(count):
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:g} {unit}"
        count /= 1000


class Chart:
    """One of the charts: x are days from 0, y from 0 or, if `low` is given, logarithmic from there."""

    def __init__(self, number, title, days, high, low=None):
        self.top, self.days, self.low = TOP + number * (HEIGHT + GAP), days, low
        step = 10 ** math.floor(math.log10(high))
        self.step = next(s for s in (step / 5, step / 2, step, 2 * step) if high / s <= 6)
        self.high = 10 ** math.ceil(math.log10(high)) if low else self.step * math.ceil(high / self.step)
        self.parts = [f'<text class="title" x="{LEFT}" y="{self.top - 12}">{title}</text>']

    def x(self, day):
        return LEFT + (WIDTH - LEFT - RIGHT) * day / self.days

    def y(self, value):
        if self.low:
            share = math.log10(max(value, self.low) / self.low) / math.log10(self.high / self.low)
        else:
            share = value / self.high
        return self.top + HEIGHT * (1 - share)

    def axes(self, months, shown):
        """`months` are pairs of a day and the name of the month that begins on it; `shown` writes a value."""
        if self.low:
            values = [self.low * 10**n for n in range(round(math.log10(self.high / self.low)) + 1)]
        else:
            values = [self.step * n for n in range(round(self.high / self.step) + 1)]
        for value in values:
            y = f"{self.y(value):.1f}"
            self.parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
            self.parts.append(f'<text x="{LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{shown(round(value, 6))}</text>')
        bottom = self.top + HEIGHT
        for day, name in months:
            x = f"{self.x(day):.1f}"
            self.parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 5}"/>')
            self.parts.append(f'<text x="{x}" y="{bottom + 18}">{name}</text>')
        self.parts.append(f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="{self.top}" y2="{bottom}"/>')
        self.parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')

    def dots(self, points, opacity):
        """Points are day, value and level."""
        for level, colour in reversed(LEVELS.items()):
            # Higher levels are rare: larger, and above the others.
            radius = 1.8 if level == "day" else 3.2
            dots = "".join(
                f'<circle cx="{self.x(day):.1f}" cy="{self.y(value):.1f}" r="{radius}"/>'
                for day, value, of in points
                if of == level
            )
            self.parts.append(f'<g fill="{colour}" fill-opacity="{opacity}">{dots}</g>')

    def areas(self, sums):
        """One dict of bytes by level for each day, stacked."""
        below = [0] * len(sums)
        for level, colour in LEVELS.items():
            above = [b + s[level] for b, s in zip(below, sums)]
            line = [f"{self.x(day):.1f},{self.y(v):.1f}" for day, v in enumerate(above)]
            back = [f"{self.x(day):.1f},{self.y(v):.1f}" for day, v in reversed(list(enumerate(below)))]
            self.parts.append(f'<polygon fill="{colour}" fill-opacity=".8" points="{" ".join(line + back)}"/>')
            below = above


def picture(rows, months, heading):
    """The picture; rows as in year.py, one for each day."""
    days = len(rows)
    charts = [
        Chart(0, "Stored by each run, bytes of archive, index and record", days, max(r["stored_bytes"] for r in rows), 1000),
        Chart(1, "Stored in all, by level", days, max(r["total_bytes"] for r in rows)),
        Chart(2, "Time of the run, to both storages (pale: of the processors)", days, max(r["run_s"] for r in rows)),
        Chart(3, "Time of the restore of the newest state, whole (pale: of the processors)", days, max(r["restore_s"] for r in rows)),
    ]
    charts[1].areas([{level: r[f"total_{level}_bytes"] for level in LEVELS} for r in rows])
    for number, column, opacity in CURVES:
        charts[number].dots([(day, row[column], row["level"]) for day, row in enumerate(rows)], opacity)
    for chart, shown in zip(charts, (size, size, lambda s: f"{s:g} s", lambda s: f"{s:g} s")):
        chart.axes(months, shown)
    legend = "".join(
        f'<rect x="{LEFT + 80 * n}" y="24" width="11" height="11" fill="{colour}"/><text x="{LEFT + 80 * n + 16}" y="34">{level}</text>'
        for n, (level, colour) in enumerate(LEVELS.items())
    )
    height = TOP + 4 * HEIGHT + 3 * GAP + 30
    body = "\n".join(part for chart in charts for part in chart.parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">\n'
        f"<title>{heading}</title>\n<style>\n{STYLE}</style>\n"
        f'<text class="title" x="{LEFT}" y="16">{heading}</text>\n{legend}\n{body}\n</svg>\n'
    )
