"""Hand-written SVG: a chart is a string, its colours are the page's own, light and dark.

Coordinates are user units of a `viewBox`; at full width one of them is about one CSS pixel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mainline.report.escape import html
from mainline.report.numbers import number as number

WIDTH = 1040
LETTER = 6.3  # width of a letter of 11 units, rather too wide than too narrow
VERDICTS = ("PASS", "INCONCLUSIVE", "FAIL", "ERROR")
MARKS = {"PASS": "✓", "INCONCLUSIVE": "?", "FAIL": "✗", "ERROR": "!"}
# Patterns of the whole page; a hidden SVG would not lend them, one without a size does.
DEFINITIONS = (
    '<svg class="definitions" width="0" height="0" aria-hidden="true"><defs><pattern id="hatch" '
    'width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="2" height="7" class="fill-canary"/></pattern></defs></svg>'
)


@dataclass(frozen=True)
class Scale:
    """A straight line from data (`low`..`high`) to user units (`start`..`end`)."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where `value` is drawn; what lies outside is drawn at the edge."""
        span = self.high - self.low
        share = (value - self.low) / span if span > 0 else 0.0
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


def verdict_class(verdict: Any) -> str:
    """The CSS class of a verdict; anything else is neutral."""
    return f"v-{verdict.lower()}" if verdict in VERDICTS else "v-none"


def slug(text: Any) -> str:
    """`text` as part of an id or a class name."""
    return re.sub(r"[^a-z0-9]+", "-", str(text).lower()).strip("-") or "x"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most about `most` round numbers between `low` and `high`."""
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * k for k in (1, 2, 5, 10) if power * k * most >= span)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [round((first + i) * step, 10) for i in range(max(0, count))]


def n(value: float) -> str:
    """A coordinate, with no more digits than can be seen."""
    return f"{value:.1f}".removesuffix(".0")


def short(value: float) -> str:
    """A number on an axis."""
    return f"{value:g}"


def text(x: float, y: float, content: Any, css: str = "", anchor: str = "start") -> str:
    """A piece of text whose base line is at `y`; `anchor` is start, middle or end."""
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    named = f' class="{css}"' if css else ""
    return f'<text x="{n(x)}" y="{n(y)}"{place}{named}>{html(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """A straight line."""
    return f'<line x1="{n(x1)}" y1="{n(y1)}" x2="{n(x2)}" y2="{n(y2)}" class="{css}"/>'


def rect(
    x: float, y: float, width: float, height: float, css: str, title: Any = None, r: float = 0
) -> str:
    """A rectangle; `title` is shown when the mouse rests on it."""
    place = f'x="{n(x)}" y="{n(y)}" width="{n(max(0.0, width))}" height="{n(max(0.0, height))}"'
    corner = f' rx="{n(r)}"' if r else ""
    if title is None:
        return f'<rect {place}{corner} class="{css}"/>'
    return f'<rect {place}{corner} class="{css}"><title>{html(title)}</title></rect>'


def path(points: Sequence[tuple[float, float]], css: str, close: bool = False) -> str:
    """A line through `points`, or the area that they enclose."""
    if not points:
        return ""
    steps = "L".join(f"{n(x)} {n(y)}" for x, y in points)
    return f'<path d="M{steps}{"Z" if close else ""}" class="{css}"/>'


def dot(x: float, y: float, radius: float, css: str, title: Any = None) -> str:
    """A dot; `title` is shown when the mouse rests on it."""
    inside = "" if title is None else f"<title>{html(title)}</title>"
    return f'<circle cx="{n(x)}" cy="{n(y)}" r="{n(radius)}" class="{css}">{inside}</circle>'


def rows_of(spans: Iterable[tuple[float, float]], gap: float = 6) -> list[int]:
    """For each (start, end) the first row in which it overlaps nothing before it."""
    ends: list[float] = []
    rows = []
    for start, end in spans:
        row = next((i for i, e in enumerate(ends) if e + gap <= start), len(ends))
        ends[row : row + 1] = [end]
        rows.append(row)
    return rows


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """A legend in HTML: (class of the swatch, words)."""
    items = "".join(f'<li><i class="swatch {css}"></i>{html(words)}</li>' for css, words in entries)
    return f'<ul class="legend">{items}</ul>'


def figure(
    name: str, title: str, summary: str, height: float, body: Sequence[str], key: str = ""
) -> str:
    """A figure around the SVG `body`: `title` above it, `summary` for those who cannot see it."""
    name = slug(name)
    return (
        f'<figure class="chart" id="{name}"><figcaption><h3>{html(title)}</h3>{key}</figcaption>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html(title)}">'
        f'<svg viewBox="0 0 {WIDTH} {n(height)}" role="img" '
        f'aria-labelledby="{name}-title {name}-summary">'
        f'<title id="{name}-title">{html(title)}</title>'
        f'<desc id="{name}-summary">{html(summary, 2000)}</desc>'
        + "".join(body)
        + "</svg></div></figure>"
    )
