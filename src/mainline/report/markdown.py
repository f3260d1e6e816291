"""A report as GitHub's Markdown, cut by section where it is too long for a comment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
WHERE = "`reports/report.html`, in the artifact `report` of the run"
SIGNS = {Verdict.PASS: "🟢", Verdict.INCONCLUSIVE: "🟡", Verdict.FAIL: "🔴", Verdict.ERROR: "🟥"}
ALERTS = {Verdict.PASS: "tip", Verdict.INCONCLUSIVE: "warning", Verdict.FAIL: "caution",
          Verdict.ERROR: "caution"}  # fmt: skip


def render(report: Report, most: int = MOST) -> str:
    """The report in at most `most` characters; what was cut is named, and where it is."""
    top = f"## {SIGNS[report.verdict]} {report.verdict.value}: {markdown(report.model)}\n\n"
    top += alert(Alert(ALERTS[report.verdict], report.sentence)) + "\n"
    bodies = [(s, section(s)) for s in report.sections]
    bodies = [(s, body) for s, body in bodies if body]
    order = sorted(range(len(bodies)), key=lambda i: (-bodies[i][0].spare, -i))
    cut: set[int] = set()
    while True:
        text = _join(top, bodies, cut)
        if len(text) <= most or len(cut) == len(bodies):
            return text if len(text) <= most else text[:most].rpartition("\n")[0] + "\n"
        # First what is said to be spared, and of that nothing that would not help.
        left = [i for i in order if i not in cut]
        cut.add(next((i for i in left if len(bodies[i][1]) > 400), left[0]))


def _join(top: str, bodies: Sequence[tuple[Section, str]], cut: set[int]) -> str:
    parts = [top]
    for number, (found, body) in enumerate(bodies):
        if number in cut:
            body = f"Cut here ({len(body):,} characters): it is in {WHERE}."
        parts.append(f"### {markdown(found.title)}\n\n{body}\n")
    return "\n".join(parts)


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
        return chart.render(found)
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
