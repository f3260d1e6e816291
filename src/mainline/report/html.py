"""A report as HTML, and the pieces that every page of the house is made of.

Arguments called `body`, `caption` or `cells` are HTML already (made here or by `escape.html`);
all others are plain text.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path

from mainline.report import facts, verdicts
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
    Report,
    Section,
    Strong,
    Table,
)
from mainline.report.escape import html as escape
from mainline.report.numbers import show
from mainline.report.style import CSS
from mainline.verdict import Verdict

# Nothing may be fetched and no script may run, whatever came through.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
NAMES = {"roc": "ROC", "precision_recall": "Precision and recall"}


def page(title: str, body: str, style: str = "") -> str:
    """One self-contained page; `style` is CSS of its own, after the house's."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def badge(verdict: Verdict | str) -> str:
    """A verdict in its colour; any other word in grey."""
    known = verdict in set(Verdict)
    kind = str(verdict).lower() if known else "alert"
    return f'<span class="badge {kind}">{escape(verdict)}</span>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """A table of HTML `rows` that scrolls where it is too wide; `numbers` are aligned right."""
    right = frozenset(numbers)

    def cells(tag: str, values: Sequence[str]) -> str:
        kinds = [' class="n"' if n in right else "" for n in range(len(values))]
        inside = (f"<{tag}{k}>{v}</{tag}>" for k, v in zip(kinds, values, strict=True))
        return f"<tr>{''.join(inside)}</tr>"

    top = cells("th", [escape(h) for h in head])
    body = "".join(cells("td", row) for row in rows)
    # Reachable by keyboard, because it may scroll.
    return (f'<div class="scroll" tabindex="0"><table><thead>{top}</thead>'
            f"<tbody>{body}</tbody></table></div>")  # fmt: skip


def figure(body: str, caption: str = "") -> str:
    """A picture or an inline SVG, with a caption."""
    under = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure>{body}{under}</figure>"


def picture(path: Path, words: str) -> str:
    """A PNG file as an image within the page; empty where it is none."""
    content = path.read_bytes() if path.is_file() else b""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return ""
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{data}">'


def report_body(root: Path) -> str:
    """The report of the steps that ran in `root`, to be put into a page."""
    return render(verdicts.compose(facts.read(root)))


def render(report: Report) -> str:
    """The report without the page around it."""
    name = report.verdict.value.lower()
    top = (f'<p class="model">{escape(report.model)} {badge(report.verdict)}</p>\n'
           f'<p class="verdict {name}">{line(report.sentence)}</p>')  # fmt: skip
    body = "\n".join(map(_section, report.sections))
    return f'<article class="report">\n{top}\n{body}\n</article>'


def _section(found: Section) -> str:
    inside = "\n".join(map(block, found.blocks))
    return f"<section>\n<h2>{escape(found.title)}</h2>\n{inside}\n</section>"


def block(found: Block) -> str:
    """One block."""
    if isinstance(found, Paragraph):
        return f"<p>{line(found.line)}</p>"
    if isinstance(found, Alert):
        return f'<p class="alert {escape(found.kind)}">{line(found.line)}</p>'
    if isinstance(found, Bullets):
        return f"<ul>{''.join(f'<li>{line(i)}</li>' for i in found.items)}</ul>"
    if isinstance(found, Table):
        rows = ([line(c) for c in row] for row in found.rows)
        return table(found.head, rows, found.numbers)
    if isinstance(found, Chart):
        return ""
    shown = (figure(image) for p in found.paths if (image := picture(p, words(p))))
    return f'<div class="plots">{"".join(shown)}</div>'


def words(path: Path) -> str:
    """What a plot is called."""
    return NAMES.get(path.stem, path.stem.replace("_", " ").capitalize())


def line(parts: Line) -> str:
    """Inline parts, all text escaped."""
    return "".join(map(_inline, parts)).strip()


def _inline(part: Inline) -> str:
    if isinstance(part, Code):
        return f"<code>{escape(part.text)}</code>"
    if isinstance(part, Strong):
        return f"<strong>{escape(part.text)}</strong>"
    if isinstance(part, Badge):
        return badge(part.verdict)
    if isinstance(part, Interval):
        said = f"{show(part.low, signed=True)} to {show(part.high, signed=True)}"
        return f'<span class="interval">{interval_svg(part)}<span>{said}</span></span>'
    return escape(part)


def interval_svg(found: Interval, width: int = 120, height: int = 16) -> str:
    """A difference with its bounds: zero in the middle, dashes where the allowed loss ends."""
    ends = [abs(v) for v in (found.low, found.high, found.value, found.limit or 0.0)]
    reach = (found.reach or max(ends)) * 1.08 or 1.0

    def x(value: float) -> float:
        share = min(1.0, max(-1.0, value / reach))
        return round(width / 2 * (1 + share), 1)

    middle, top, bottom = height / 2, 2, height - 2
    limit = ""
    if found.limit:
        at = x(-found.limit)
        limit = (f'<line x1="{at}" x2="{at}" y1="{top}" y2="{bottom}" stroke="var(--limit)" '
                 'stroke-width="1.5" stroke-dasharray="3 2"/>')  # fmt: skip
    return (
        f'<svg viewBox="0 0 {width} {height}" aria-hidden="true">'
        f'<line x1="{x(0)}" x2="{x(0)}" y1="{top}" y2="{bottom}" stroke="var(--soft)"/>{limit}'
        f'<line x1="{x(found.low)}" x2="{x(found.high)}" y1="{middle}" y2="{middle}" '
        'stroke="var(--accent)" stroke-width="3" stroke-linecap="round" opacity=".55"/>'
        f'<circle cx="{x(found.value)}" cy="{middle}" r="3.5" fill="var(--accent)"/></svg>'
    )
