"""A report's Markdown from a run that is not trusted, read as text and written anew.

What `markdown.render` writes comes out as it was. All else (HTML, links, images, mentions, other
diagrams, whatever Markdown there is) is text, and passes through `escape` like any other text from
elsewhere: nothing of the author's own markup is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mainline.report import chart
from mainline.report.blocks import (
    Alert,
    Block,
    Bullets,
    Chart,
    Code,
    Inline,
    Line,
    Paragraph,
    Section,
    Strong,
    Table,
)
from mainline.report.escape import MOST, NOTHING

MOST_READ = 400_000  # characters; a comment holds a sixth of it
HEADING = re.compile(r"(#{1,6}) +(\S.*)")
ALERT = re.compile(r"> \[!(NOTE|TIP|IMPORTANT|WARNING|CAUTION)\] *")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
RULE = re.compile(r"\|(?: -{3,}:? \|)+")
CELLS = re.compile(r"(?<!\\)\|")
ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])|&(lt|amp);")
TOKEN = re.compile(
    r"(?<!\\)`(?P<tick>[^`\n]+)`|<code>(?P<code>.*?)</code>"
    r"|(?<!\\)\*\*(?P<bold>(?:[^*\\]|\\.)+)\*\*|<strong>(?P<strong>.*?)</strong>"
)
# As `verdicts.compose` has them: where room is short the largest goes first.
SPARE = {"Parameters, locks and code": 5, "Data": 4, "Slices": 3, "How the model behaves": 2,
         "The service": 3, "Production": 2, "Where the model comes from": 1,
         "Gates": 1}  # fmt: skip


@dataclass
class Part:
    """What stands under one heading, or before the first (`level` is 0)."""

    level: int
    title: str
    blocks: list[Block] = field(default_factory=list)

    def section(self) -> Section:
        """The same as a section of a report."""
        return Section(self.title, tuple(self.blocks), SPARE.get(self.title, 0))


def parse(text: str) -> list[Part]:
    """The parts of a report in their order; only the first MOST_READ characters are read."""
    if len(text) > MOST_READ:
        text = text[:MOST_READ].rpartition("\n")[0]
    lines = _Lines(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    parts = [Part(0, "")]
    while (line := lines.next()) is not None:
        if not line.strip():
            continue
        if heading := HEADING.fullmatch(line):
            parts.append(Part(len(heading[1]), plain_text(heading[2])))
        else:
            parts[-1].blocks += _blocks(line, lines)
    return [p for p in parts if p.level or p.blocks]


class _Lines:
    """Lines that can be looked ahead at."""

    def __init__(self, lines: list[str]) -> None:
        self._lines, self._at = lines, 0

    def next(self) -> str | None:
        """The next line; None after the last."""
        self._at += 1
        return self._lines[self._at - 1] if self._at <= len(self._lines) else None

    def while_starts(self, mark: str) -> Iterator[str]:
        """The lines that follow and begin with `mark`."""
        while self._at < len(self._lines) and self._lines[self._at].startswith(mark):
            self._at += 1
            yield self._lines[self._at - 1]


def _blocks(line: str, lines: _Lines) -> list[Block]:
    if found := ALERT.fullmatch(line):
        said = " ".join(one[1:].strip() for one in lines.while_starts(">"))
        return [Alert(found[1].lower(), inline(said))]
    if line.startswith("- "):
        return [Bullets(tuple(inline(i[2:]) for i in (line, *lines.while_starts("- "))))]
    if line.startswith("| "):
        rows = [line, *lines.while_starts("|")]
        return _table(rows) or [Paragraph(inline(row)) for row in rows]
    if found := FENCE.fullmatch(line):
        return _fenced(found, lines)
    return [Paragraph(inline(line))]


def _table(rows: list[str]) -> list[Block]:
    if len(rows) < 2 or not RULE.fullmatch(rows[1].strip()):
        return []
    head, rule, *body = (CELLS.split(row.strip().removeprefix("|")) for row in rows)
    numbers = frozenset(n for n, mark in enumerate(rule) if mark.strip().endswith(":"))
    cells = (tuple(inline(c.strip()) for c in row[: len(head) - 1]) for row in body)
    return [Table(tuple(plain_text(h.strip()) for h in head[:-1]), tuple(cells), numbers)]


def _fenced(opened: re.Match[str], lines: _Lines) -> list[Block]:
    inside: list[str] = []
    while (line := lines.next()) is not None and line.strip() != opened[1]:
        inside.append(line)
    drawn: Chart | None = chart.parse(inside) if opened[2].strip() == "mermaid" else None
    return [drawn] if drawn else [Paragraph(inline(one)) for one in inside if one.strip()]


def inline(text: str) -> Line:
    """Code and strong words of one line; all else, as it was before it was escaped, as text."""
    out: list[Inline] = []
    at = 0
    for found in TOKEN.finditer(text):
        out += _pieces(text[at : found.start()])
        kind = found.lastgroup or ""
        inside = found[kind] if kind == "tick" else plain_text(found[kind])
        out.append(Code(inside) if kind in ("tick", "code") else Strong(inside))
        at = found.end()
    return (*out, *_pieces(text[at:]))


def _pieces(text: str) -> list[Inline]:
    """`text` in pieces that are not too long to be shown whole."""
    said = plain_text(text)
    return [said[i : i + MOST] for i in range(0, len(said), MOST)]


def plain_text(text: str) -> str:
    """Markdown as `escape.markdown` writes it, back as plain text."""
    return ESCAPED.sub(
        lambda found: found[1] or {"lt": "<", "amp": "&"}[found[2]], text.replace(NOTHING, "")
    )
