"""The story of the loop as one self-contained HTML page: no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mainline.files import write_text
from mainline.loop import page_acts, page_svg, page_timeline, page_watch
from mainline.loop.page_acts import rows
from mainline.loop.page_style import STYLE
from mainline.report import html as house
from mainline.report.escape import html
from mainline.rollout import course

Row = Mapping[str, Any]
COUNTS = ("No act", "One act", "Two acts", "Three acts", "Four acts", "Five acts", "Six acts",
          "Seven acts", "Eight acts")  # fmt: skip
COUNTS = ("No act", "One act", "Two acts", "Three acts", "Four acts", "Five acts", "Six acts",
          "Seven acts", "Eight acts")  # fmt: skip
# The page's own promise, held by the browser: inline styles, pictures in the page, nothing else.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"


def write(story: Row, path: Path) -> Path:
    """Write the page that tells `story` to `path` by atomic rename; returns `path`.

    Any part of `story` may be missing or empty: the page says so where it would have been.
    """
    write_text(path, render(story))
    return path


def render(story: Row) -> str:
    """The page. Everything is escaped but the reports, which their renderer has escaped."""
    model = str(story.get("model") or "the model")
    acts = rows(story, "acts")
    known = {a.get("id") for a in acts}
    rest = [s for s in rows(story, "steps") if s.get("act") not in known]
    parts = [
        page_svg.DEFINITIONS,
        '<a class="skip" href="#acts">To the acts</a>',
        _head(story, model, acts),
        '<div id="acts">',
        *(page_acts.section(story, act, i) for i, act in enumerate(acts, 1)),
        _others(rest),
        "</div>",
        _foot(story),
    ]
    return house.page(f"{model}: the whole loop", "".join(parts), STYLE)


def _head(story: Row, model: str, acts: list[dict[str, Any]]) -> str:
    chart = page_timeline.timeline(acts, rows(story, "steps"))
    return (
        '<header class="top"><p class="brand">Mainline</p>'
        f"<h1><code>{html(model)}</code>{_far(acts)}</h1>"
        f'<p class="lead">{_sentence(story, acts)}</p>{_numbers(story)}{_contents(acts)}'
        f"{chart or '<p class=absent>No command was recorded.</p>'}</header>"
    )


def _far(acts: list[dict[str, Any]]) -> str:
    whole = bool(acts) and acts[-1].get("id") == "retrain" and acts[-1].get("outcome")
    return ", from first release to retraining" if whole else ", as far as the story went"


def _sentence(story: Row, acts: list[dict[str, Any]]) -> str:
    """What happened, in a sentence or two: only what the record says."""
    commands = len(rows(story, "steps"))
    well = sum(page_acts.ended(a) == page_acts.WELL for a in acts)
    how = ("all of them ended as they should" if acts and well == len(acts)
           else f"{well} of them ended as they should")  # fmt: skip
    served = any(r.get("history") for r in rows(story, "rollouts"))
    real = "Git, DVC, BentoML and Envoy" if served else "Git and DVC"
    many = COUNTS[len(acts)] if len(acts) < len(COUNTS) else f"{len(acts)} acts"
    return (
        f"{many} of the life of a model, played in a throw-away clone with real {real}: {how}. "
        f"Each of the {commands} steps below is the very command that the workflows call."
    )


def _numbers(story: Row) -> str:
    """The key numbers; one that is not known is left out."""
    seconds = page_svg.number(story.get("seconds"))
    rollouts = rows(story, "rollouts")
    served = [course.client(r.get("client")) for r in rollouts]
    sent, lost = (sum(s.get(k, 0) for s in served) for k in ("sent", "lost"))
    back = sum(r.get("outcome") == "rolled back" for r in rollouts)
    blocked = sum(s.get("verdict") == "FAIL" and page_timeline.word(s.get("command")) == "gate"
                  for s in rows(story, "steps"))  # fmt: skip
    tiles = []
    if seconds is not None:
        tiles.append((f"{seconds:.0f} s", "from an empty clone to the last act"))
    if sent:
        tiles.append((f"{sent:,}", f"requests in the rollouts, {lost:,} lost"))
    if blocked or back:
        tiles.append((str(blocked + back), f"bad changes stopped: {blocked} by the gate, {back} by "
                      "the canary"))  # fmt: skip
    tiles += _recovered(rows(story, "months"))
    items = "".join(f"<div><dd>{html(a)}</dd><dt>{html(b)}</dt></div>" for a, b in tiles)
    return f'<dl class="numbers">{items}</dl>' if items else ""


def _recovered(months: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Recall of the last month with and without the new model, where both are known."""
    for month in reversed(months):
        now, old = (page_watch.value(month, "recall", s)
                    for s in ("production", "without_retraining"))  # fmt: skip
        if now is not None and old is not None and now != old:
            name = month.get("name") or "the last month"
            return [(f"{old:.0%} → {now:.0%}", f"of frauds caught in {name}: old model, new model")]
    return []


def _contents(acts: list[dict[str, Any]]) -> str:
    marks = {page_acts.WELL: "✓", page_acts.BADLY: "✗", page_acts.OPEN: "–"}
    items = "".join(
        f'<li><a href="#act-{page_svg.slug(a.get("id") or i)}">{html(a.get("title") or i)}</a>'
        f' <span class="{page_acts.ended(a)}">{marks[page_acts.ended(a)]}</span></li>'
        for i, a in enumerate(acts, 1)
    )
    return f'<nav aria-label="Acts"><ol>{items}</ol></nav>' if items else ""


def _others(rest: list[dict[str, Any]]) -> str:
    if not rest:
        return ""
    title = "<header><h2>Other steps</h2></header>"
    return f'<section class="act">{title}{page_acts.steps(rest)}</section>'


def _foot(story: Row) -> str:
    seed = story.get("seed")
    again = "./mainline loop" + (f" --seed {seed}" if seed is not None else "")
    facts = [f"Mainline {story['version']}" if story.get("version") else "", _when(story),
             str(story.get("machine") or "")]  # fmt: skip
    told = " · ".join(html(f) for f in facts if f)
    return (
        f"<footer><p>Play it again: <code>{html(again)}</code></p>"
        f"<p>The data are simulated: a year of card payments. {told}</p></footer>"
    )


def _when(story: Row) -> str:
    given = str(story.get("when") or "")
    try:
        return f"{datetime.fromisoformat(given):%d %B %Y, %H:%M}".lstrip("0")
    except ValueError:
        return given
