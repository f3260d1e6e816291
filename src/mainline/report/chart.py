"""A chart as Mermaid, which GitHub draws in a comment without asking anybody else.

Mermaid reads directives (`%%{...}%%`), links and HTML out of labels, so that only letters, digits
and a few marks get into one, and `parse` takes nothing but what `render` writes.
"""

from __future__ import annotations

import math
import re

from mainline.report.blocks import Chart
from mainline.report.escape import plain

LONGEST, TITLE_LONGEST = 28, 100
MOST = 12  # names; more of them cannot be read beside each other
# Upper bound, difference, lower bound, what may be lost; seen on a light and on a dark ground.
COLOURS = (
    '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": '
    '"#6ea0ff, #2563eb, #6ea0ff, #c2410c"}}}}%%'
)
# Everything else could begin a directive, an entity, a link or a Markdown string.
UNSAFE = re.compile(r"[^\w .,=+:()/-]|_{2,}|://")
NUMBER = r"-?\d+(?:\.\d+)?"
TITLE = re.compile(r'    title "([^"`#%;<>&@{}\[\]]*)"')
NAMES = re.compile(r'    x-axis \[("[^"`#%;<>&@{}\[\]]*"(?:, "[^"`#%;<>&@{}\[\]]*")*)\]')
AXIS = re.compile(rf"    y-axis {NUMBER} --> {NUMBER}")
LINE = re.compile(rf"    line \[({NUMBER}(?:, {NUMBER})*)\]")


def label(text: str, most: int = LONGEST) -> str:
    """`text` as it may stand between quotation marks in Mermaid."""
    shown = plain(text)
    shown = shown if len(shown) <= most else shown[: most - 2] + ".."
    return UNSAFE.sub("·", shown).strip() or "·"


def render(found: Chart) -> str:
    """The chart as a fenced block; empty where there is nothing to draw."""
    names, lines = found.names[:MOST], [line[:MOST] for line in found.lines]
    every = [v for line in lines for v in line]
    if len(names) < 2 or not every or not all(map(math.isfinite, every)):
        return ""
    low, high = min(0.0, *every), max(0.0, *every)  # the eye looks for zero
    room = (high - low) * 0.1 or 0.001
    listed = ", ".join(f'"{label(n)}"' for n in names)
    drawn = "".join(f"    line [{', '.join(f'{v:.5f}' for v in line)}]\n" for line in lines)
    return (
        f'```mermaid\n{COLOURS}\nxychart-beta\n    title "{label(found.title, TITLE_LONGEST)}"\n'
        f"    x-axis [{listed}]\n"
        f"    y-axis {low - room:.5f} --> {high + room:.5f}\n{drawn}```"
    )


def parse(lines: list[str]) -> Chart | None:
    """The chart whose fenced block holds `lines`; None where it is any other diagram."""
    if len(lines) < 6 or lines[:2] != [COLOURS, "xychart-beta"]:
        return None
    title, names = TITLE.fullmatch(lines[2]), NAMES.fullmatch(lines[3])
    drawn = [LINE.fullmatch(line) for line in lines[5:]]
    if not (title and names and AXIS.fullmatch(lines[4]) and all(drawn)):
        return None
    values = tuple(tuple(float(v) for v in d[1].split(", ")) for d in drawn if d)
    return Chart(title[1], tuple(re.findall(r'"([^"]*)"', names[1])), values)
