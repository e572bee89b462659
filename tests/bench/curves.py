"""Curves for a page: how a figure grows, as SVG that reads on light and on dark paper."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 640, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 76, 52  # At the top is room for the names of four lines.
_COLORS = ("#3b82c4", "#d9762b", "#3f9b57", "#a05fc0")
_STYLE = """text { font: 13px sans-serif; fill: #333 } .small { font-size: 11px } .grid { stroke: #8886 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } }"""

Points = Sequence[tuple[float, float]]


def curve(title: str, x: str, y: str, lines: dict[str, Points], note: str) -> str:
    """A drawing of `lines`, by their names. `x` and `y` say what the axes are, `note` where the figures come from.

    The x axis is logarithmic if the points span more than a factor of twenty. The same input gives the same text.
    """
    points = [point for line in lines.values() for point in line]
    xs, top = [each for each, _ in points], _nice(max(value for _, value in points) or 1.0)
    logarithmic = min(xs) > 0 and max(xs) / min(xs) > 20
    low, high = (math.log10(min(xs)), math.log10(max(xs))) if logarithmic else (min(xs), max(xs))

    def place(point: tuple[float, float]) -> str:
        along = ((math.log10(point[0]) if logarithmic else point[0]) - low) / ((high - low) or 1)
        return (
            f"{_LEFT + along * (_WIDTH - _LEFT - _RIGHT):.1f},"
            f"{_HEIGHT - _BOTTOM - point[1] / top * (_HEIGHT - _TOP - _BOTTOM):.1f}"
        )

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text x="{_LEFT}" y="18">{escape(title)}</text>',
        f'<text class="small" x="{_LEFT}" y="{_HEIGHT - 4}">{escape(note)}</text>',
        f'<text class="small" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 20}" text-anchor="end">{escape(x)}</text>',
        f'<text class="small" x="{_LEFT - 60}" y="{_TOP - 8}">{escape(y)}</text>',
    ]
    for step in range(5):
        value = top * step / 4
        height = place((min(xs), value)).partition(",")[2]
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height}" y2="{height}"/>')
        out.append(f'<text class="small" x="{_LEFT - 6}" y="{height}" dy="4" text-anchor="end">{_short(value)}</text>')
    marks = sorted(set(xs)) if len(set(xs)) <= 8 else [min(xs), max(xs)]
    for each in marks:
        across = place((each, 0)).partition(",")[0]
        at = f'x="{across}" y="{_HEIGHT - _BOTTOM + 16}"'
        out.append(f'<text class="small" {at} text-anchor="middle">{_short(each)}</text>')
    for number, (name, line) in enumerate(lines.items()):
        color, right = _COLORS[number % len(_COLORS)], _WIDTH - _RIGHT - 4
        path = " ".join(map(place, line))
        out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        for dot in map(place, line if len(line) <= 12 else ()):
            across, height = dot.split(",")
            out.append(f'<circle cx="{across}" cy="{height}" r="3" fill="{color}"/>')
        key = f'x="{right}" y="{18 + 14 * number}" text-anchor="end"'
        out.append(f'<text class="small" {key} style="fill:{color}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>\n"])


def _nice(value: float) -> float:
    """The next number up that is easy to divide by four."""
    scale: float = 10 ** math.floor(math.log10(value))
    return next(each * scale for each in (1, 2, 4, 6, 8, 10) if each * scale >= value)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"
