"""An act: what it is about, the commands that were run, its pictures and its reports."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from mainline.loop import page_rollout, page_svg, page_watch
from mainline.report import html as house
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
        return house.badge(verdict)
    done = "done" if status in (0, None) else f"status {html(status)}"
    return f'<span class="quiet">{done}</span>'


def ending(act: Row) -> str:
    """The badge of an act, in words."""
    kind, expected, outcome = ended(act), act.get("expected"), act.get("outcome")
    if kind == OPEN:
        return '<span class="quiet">did not end</span>'
    words = str(expected) if expected and expected not in page_svg.VERDICTS else ""
    if kind == WELL:
        told = f"as expected: {words or outcome}" if expected else "PASS"
        return f'<span class="badge pass">✓ {html(told)}</span>'
    told = f"{outcome}, and the story expects {words or expected or 'PASS'}"
    return f'<span class="badge fail">✗ {html(told)}</span>'


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
    parts.append(steps(sorted(mine, key=lambda s: page_svg.number(s.get("at")) or 0.0)))
    parts += [_report(r) for r in rows(story, "reports") if r.get("act") == act.get("id")]
    return "".join(parts) + "</section>"


def _pictures(story: Row, name: str, css: str) -> list[str]:
    found = [r for r in rows(story, "rollouts") if r.get("act") == name]
    out = [page_rollout.rollout(r, f"rollout-{css}-{i}") for i, r in enumerate(found)]
    if not found and name in ("good-change", "broken-release"):
        out.append('<p class="absent">No rollout took place in this act.</p>')
    months = rows(story, "months")
    if name == "watch":
        out.append(page_watch.drift(rows(story, "windows"), _new(story).get("month")))
        out.append(page_watch.table(months))
    if name == "retrain":
        new = _new(story)
        out.insert(0, page_watch.recall(months, new.get("month"), new.get("version")))
    return out


def _new(story: Row) -> Row:
    """What is known of the retraining."""
    found = story.get("retrain")
    return found if isinstance(found, Mapping) else {}


def _retrain(story: Row, name: str) -> list[str]:
    """The pull request that the monitor opened, as it would appear."""
    found = _new(story)
    if name != "retrain" or not found.get("title"):
        return []
    body = str(found.get("body_html") or "")
    if not body and found.get("body"):
        lines = str(found["body"])[:MOST_BODY].splitlines()
        body = "<pre>" + "\n".join(html(line, 2000) for line in lines) + "</pre>"
    branch = f"<code>{html(found.get('branch') or '')}</code>" if found.get("branch") else ""
    return [f'<details class="paper"><summary><span>The pull request: {html(found["title"])}'
            f"</span>{branch}</summary><div>{body}</div></details>"]  # fmt: skip


def steps(found: Sequence[Row]) -> str:
    """The table of commands, in order, under the place where each was run."""
    if not found:
        return '<p class="absent">No command was run in this act.</p>'
    body = []
    for where, group in itertools.groupby(found, key=lambda s: str(s.get("where") or "main")):
        body.append(f'<tr class="where"><th colspan="4" scope="rowgroup">{html(where)}</th></tr>')
        body += map(_step, group)
    head = ('<th scope="col">Command</th><th scope="col">What it said</th><th scope="col">Verdict'
            '</th><th scope="col" class="n">Time</th>')  # fmt: skip
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Commands">'
        f'<table class="steps"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _step(step: Row) -> str:
    seconds = page_svg.number(step.get("seconds"))
    time = "–" if seconds is None else f"{seconds:.1f} s"
    return (
        f"<tr><td><code>{_command(step.get('command'))}</code></td>"
        f'<td class="said">{_says(step.get("says"))}</td>'
        f"<td>{badge(step.get('verdict'), step.get('status'))}</td>"
        f'<td class="n">{time}</td></tr>'
    )


def _command(command: Any) -> str:
    """A command that is broken between its words only."""
    return " ".join(f"<span>{html(w)}</span>" if len(w) < 48 else html(w)
                    for w in str(command or "?").split())  # fmt: skip


def _says(words: Any) -> str:
    """What a command printed: its first line, the rest to be opened."""
    lines = [html(line) for line in str(words or "").splitlines() if line.strip()]
    if not lines:
        return ""
    if len(lines) == 1:
        return lines[0]
    rest = lines[1:LINES]
    more = f"+{len(rest)} line{'s' if len(rest) > 1 else ''}"
    return (f"<details><summary>{lines[0]} <i>{more}</i></summary><pre>{chr(10).join(rest)}</pre>"
            "</details>")  # fmt: skip


def _report(report: Row) -> str:
    """A report as rendered by mainline.report.html, which has escaped it."""
    title = html(report.get("title") or "Report")
    body = report.get("html") or "<p>The report was not rendered.</p>"
    return (f'<details class="paper"><summary><span>The report: {title}</span>'
            f"{badge(report.get('verdict'))}</summary><div>{body}</div></details>")  # fmt: skip
