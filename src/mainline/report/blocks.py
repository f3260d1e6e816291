"""What a report is made of, before it is Markdown or HTML.

A `str` in a line is plain text from anywhere: whoever renders it escapes it, so that no section
has to think of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mainline.verdict import Verdict


@dataclass(frozen=True)
class Code:
    """A name, a digest or a command, as code."""

    text: str


@dataclass(frozen=True)
class Strong:
    """A few words that stand out."""

    text: str


@dataclass(frozen=True)
class Badge:
    """A verdict."""

    verdict: Verdict


@dataclass(frozen=True)
class Interval:
    """A difference, its bounds, and the loss that is allowed; more is better.

    `reach` is the largest distance from zero that a picture of it shows; None is its own.
    """

    value: float
    low: float
    high: float
    limit: float | None = None
    reach: float | None = None


Inline = str | Code | Strong | Badge | Interval
Line = tuple[Inline, ...]


@dataclass(frozen=True)
class Paragraph:
    """One line of text."""

    line: Line


@dataclass(frozen=True)
class Alert:
    """A line that must not be missed; `kind` is one of GitHub's: note, tip, warning, caution."""

    kind: str
    line: Line


@dataclass(frozen=True)
class Bullets:
    """A list of lines."""

    items: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """Cells are lines; columns whose number is in `numbers` are aligned to the right."""

    head: tuple[str, ...]
    rows: tuple[tuple[Line, ...], ...]
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Pictures:
    """PNG files; Markdown has none, because a private repository could not show them."""

    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Chart:
    """Lines over the same names; `caption` says which is which, because a line has no name.

    Only Markdown draws it: the tables of a page have pictures of their own.
    """

    title: str
    names: tuple[str, ...]
    lines: tuple[tuple[float, ...], ...]
    caption: str = ""


Block = Paragraph | Alert | Bullets | Table | Pictures | Chart


@dataclass(frozen=True)
class Section:
    """A heading and what is under it; where room is short the largest `spare` is cut first."""

    title: str
    blocks: tuple[Block, ...]
    spare: int = 0


@dataclass(frozen=True)
class Report:
    """The model, the verdict in one sentence, and the sections in their order."""

    model: str
    verdict: Verdict
    sentence: Line
    sections: tuple[Section, ...]
