"""An act: what it is about, the commands that were run, its pictures and its reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mainline.loop import page_rollout, page_svg, page_watch
from mainline.report.escape import html

LINES = 12
MOST_BODY = 20_000  # characters of a pull request's text
Row = Mapping[str, Any]
# How an act of each kind ends well, where the story expected the verdict FAIL.
WELL, BADLY, OPEN = "well", "badly", "open"


def rows(story: Row, name: str) -> list[dict[str, Any]]:
    """`story[name]` as a list of mappings, whatever is there."""
    found = story.get(name)
    return [r for r in found if isinstance(r, dict)] if isinstance(found, list) else []


def ended(act: Row) -> str:
    """Whether an act ended as the story wants: WELL, BADLY, or OPEN where it did not end.

    `expected` is the verdict that was wanted, or words that say what a FAIL stands for here.
    """
    outcome, expected = act.get("outcome"), act.get("expected")
    if not outcome:
        return OPEN
    wanted = expected if expected in page_svg.VERDICTS else "FAIL" if expected else "PASS"
    return WELL if outcome == wanted else BADLY


def badge(verdict: Any, status: Any = 0) -> str:
    """A verdict as a badge; without one, whether the command worked."""
    if verdict in page_svg.VERDICTS:
        mark = page_svg.MARKS[verdict]
        css = page_svg.verdict_class(verdict)
        return f'<span class="badge {css}"><i aria-hidden="true">{mark}</i> {verdict}</span>'
    if status in (0, None):
        return '<span class="badge v-none">done</span>'
    return f'<span class="badge v-none">status {html(status)}</span>'


def ending(act: Row) -> str:
    """The badge of an act, in words."""
    kind, expected, outcome = ended(act), act.get("expected"), act.get("outcome")
    if kind == OPEN:
        return '<span class="badge v-none">did not end</span>'
    words = str(expected) if expected and expected not in page_svg.VERDICTS else ""
    if kind == WELL:
        told = f"as expected: {words or outcome}" if expected else "PASS"
        return f'<span class="badge v-pass"><i aria-hidden="true">✓</i> {html(told)}</span>'
    told = f"{outcome}, and the story expects {words or expected or 'PASS'}"
    return f'<span class="badge v-fail"><i aria-hidden="true">✗</i> {html(told)}</span>'


def section(story: Row, act: Row, place: int) -> str:
    """The whole act, the `place`-th (from 1)."""
    name = str(act.get("id") or place)
    css = page_svg.slug(name)
    parts = [
        f'<section class="act" id="act-{css}"><header><p class="ordinal">Act {place}</p>'
        f"<h2>{html(act.get('title') or name)}</h2>{ending(act)}</header>"
        f'<p class="lead">{html(act.get("text") or "")}</p>'
    ]
    if act.get("note"):
        parts.append(f'<p class="absent">{html(act["note"])}</p>')
    parts += _pictures(story, name, css)
    parts += _retrain(story, name)
    mine = [s for s in rows(story, "steps") if s.get("act") == act.get("id")]
    parts.append(steps(mine))
    parts += [_report(r) for r in rows(story, "reports") if r.get("act") == act.get("id")]
    return "".join(parts) + "</section>"


def _pictures(story: Row, name: str, css: str) -> list[str]:
    found = [r for r in rows(story, "rollouts") if r.get("act") == name]
    out = [page_rollout.rollout(r, f"rollout-{css}-{i}") for i, r in enumerate(found)]
    if not found and name in ("good-change", "broken-release"):
        out.append('<p class="absent">No rollout took place in this act.</p>')
    months = rows(story, "months")
    if name == "watch":
        out.append(page_watch.drift(rows(story, "windows")))
        out.append(page_watch.table(months))
    if name == "retrain":
        new = story.get("retrain")
        new = new if isinstance(new, Mapping) else {}
        out.insert(0, page_watch.recall(months, new.get("month"), new.get("version")))
    return out


def _retrain(story: Row, name: str) -> list[str]:
    """The pull request that the monitor opened, as it would appear."""
    found = story.get("retrain")
    if name != "retrain" or not isinstance(found, Mapping) or not found.get("title"):
        return []
    body = str(found.get("body_html") or "")
    if not body and found.get("body"):
        lines = str(found["body"])[:MOST_BODY].splitlines()
        body = "<pre>" + "\n".join(html(line, 2000) for line in lines) + "</pre>"
    branch = f"<code>{html(found.get('branch') or '')}</code>" if found.get("branch") else ""
    return [f'<details class="report"><summary><span>The pull request: {html(found["title"])}'
            f"</span>{branch}</summary><div>{body}</div></details>"]  # fmt: skip


def steps(found: Sequence[Row]) -> str:
    """The table of commands, in order."""
    if not found:
        return '<p class="absent">No command was run in this act.</p>'
    several = len({str(s.get("where") or "main") for s in found}) > 1
    head = ["Command", *(["Where"] if several else []), "Verdict", "Time"]
    cells = "".join(f'<th scope="col"{_right(h)}>{h}</th>' for h in head)
    body = "".join(_step(s, several) for s in found)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Commands">'
        f'<table class="steps"><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _right(head: str) -> str:
    return ' class="number"' if head == "Time" else ""


def _step(step: Row, several: bool) -> str:
    seconds = page_svg.number(step.get("seconds"))
    time = "–" if seconds is None else f"{seconds:.1f} s"
    where = f'<td class="nowrap">{html(step.get("where") or "main")}</td>' if several else ""
    return (
        f"<tr><td><code>{html(step.get('command') or '?')}</code>{_says(step.get('says'))}</td>"
        f"{where}<td>{badge(step.get('verdict'), step.get('status'))}</td>"
        f'<td class="number nowrap">{time}</td></tr>'
    )


def _says(words: Any) -> str:
    """What a command printed: its first line, the rest to be opened."""
    lines = [html(line) for line in str(words or "").splitlines() if line.strip()]
    if not lines:
        return ""
    if len(lines) == 1:
        return f'<p class="says">{lines[0]}</p>'
    rest = "\n".join(lines[1:LINES])
    return f'<details class="says"><summary>{lines[0]}</summary><pre>{rest}</pre></details>'


def _report(report: Row) -> str:
    """A report as rendered by mainline.report.html, which has escaped it."""
    title = html(report.get("title") or "Report")
    body = report.get("html") or "<p>The report was not rendered.</p>"
    return (f'<details class="report"><summary><span>The report: {title}</span>'
            f"{badge(report.get('verdict'))}</summary><div>{body}</div></details>")  # fmt: skip
