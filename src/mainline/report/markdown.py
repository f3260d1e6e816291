"""A report as GitHub's Markdown, cut by section where it is too long for a comment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import zip_longest

from mainline.report import chart
from mainline.report.blocks import (
    Alert,
    Badge,
    Block,
    Bullets,
    Chart,
    Code,
    Inline,
    Interval,
    Line,
    Paragraph,
    Pictures,
    Report,
    Section,
    Strong,
    Table,
)
from mainline.report.escape import markdown, markdown_code
from mainline.report.numbers import show
from mainline.verdict import Verdict

# A comment holds 65,536 characters; who posts it adds a banner, a footer and a watermark.
MOST = 64_000
WHERE = "it is in `reports/report.html`, in the artifact `report` of the run"
SIGNS = {Verdict.PASS: "🟢", Verdict.INCONCLUSIVE: "🟡", Verdict.FAIL: "🔴", Verdict.ERROR: "🟥"}
ALERTS = {Verdict.PASS: "tip", Verdict.INCONCLUSIVE: "warning", Verdict.FAIL: "caution",
          Verdict.ERROR: "caution"}  # fmt: skip


def render(report: Report, most: int = MOST) -> str:
    """The report in at most `most` characters; what was cut is named, and where it is."""
    top = f"## {SIGNS[report.verdict]} {report.verdict.value}: {heading(report.model)}\n\n"
    top += alert(Alert(ALERTS[report.verdict], report.sentence)) + "\n"
    return fit(top, report.sections, most, WHERE)


def fit(top: str, sections: Iterable[Section], most: int, where: str) -> str:
    """`top` and the sections under their headings, in at most `most` characters.

    Where room is short whole sections are cut, those with the largest `spare` first; each says how
    long it was and where it is. `top` is cut last, at the end of a line.
    """
    parts = [Cuttable(s.spare, f"### {heading(s.title)}\n\n", body)
             for s in sections if (body := section(s))]  # fmt: skip
    length = len(top) + sum(len(p.head) + len(p.body) + 2 for p in parts)
    # First what is said to be spared, of that the last, and nothing that would not help.
    order = sorted(
        range(len(parts)), key=lambda i: (len(parts[i].body) <= 400, -parts[i].spare, -i)
    )
    for number in order:
        if length <= most:
            break
        part = parts[number]
        said = f"Cut here ({len(part.body):,} characters): {where}."
        length += len(said) - len(part.body)
        parts[number] = replace(part, body=said)
    if length > most:
        return _shortened(top, len(parts), most, where)
    return "\n".join([top, *(f"{p.head}{p.body}\n" for p in parts)])


@dataclass(frozen=True)
class Cuttable:
    """A section in Markdown: its heading, and its body, which may be cut."""

    spare: int
    head: str
    body: str


def _shortened(top: str, sections: int, most: int, where: str) -> str:
    """`top` alone and the number of sections: even their headings are too much."""
    said = f"\nCut here ({sections:,} sections): {where}.\n"
    room = most - len(said)
    return (top if len(top) <= room else top[:room].rpartition("\n")[0] + "\n") + said


def heading(title: str) -> str:
    """A title, escaped, as it may stand behind `#`."""
    return markdown(title)


def section(found: Section) -> str:
    """The blocks of a section; nothing where none can be shown in Markdown."""
    return "\n\n".join(filter(None, map(block, found.blocks)))


def block(found: Block) -> str:
    """One block."""
    if isinstance(found, Paragraph):
        return line(found.line)
    if isinstance(found, Alert):
        return alert(found)
    if isinstance(found, Bullets):
        return "\n".join(f"- {line(item)}" for item in found.items)
    if isinstance(found, Table):
        return _table(found)
    if isinstance(found, Chart):
        drawn = chart.render(found)
        return "\n\n".join(filter(None, [drawn, drawn and markdown(found.caption)]))
    assert isinstance(found, Pictures)
    return ""


def alert(found: Alert) -> str:
    """A GitHub alert."""
    return f"> [!{found.kind.upper()}]\n> {line(found.line)}"


def _table(found: Table) -> str:
    marks = ["---:" if n in found.numbers else "---" for n in range(len(found.head))]
    rows = [_cells(map(markdown, found.head)), _cells(marks)]
    for cells in found.rows:
        filled = zip_longest(cells, found.head, fillvalue=())
        rows.append(_cells(line(c) for c, _ in list(filled)[: len(found.head)]))
    return "\n".join(rows)


def _cells(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def line(parts: Line) -> str:
    """Inline parts, all text escaped."""
    return "".join(map(_inline, parts)).strip()


def _inline(part: Inline) -> str:
    if isinstance(part, Code):
        return markdown_code(part.text)
    if isinstance(part, Strong):
        return _strong(part.text)
    if isinstance(part, Badge):
        return f"{SIGNS[part.verdict]} {part.verdict.value}"
    if isinstance(part, Interval):
        return f"{show(part.low, signed=True)} to {show(part.high, signed=True)}"
    return markdown(part)


def _strong(text: str) -> str:
    shown = markdown(text).strip()
    # Beside a quotation mark or a bracket two asterisks may open or close nothing.
    if shown[:1].isalnum() and shown[-1:].isalnum():
        return f"**{shown}**"
    return f"<strong>{shown}</strong>"
