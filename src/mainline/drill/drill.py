"""`mainline drill`: faults on purpose, in throw-away clones; which gate blocks which."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mainline import console, settings
from mainline.drill import catalogue, place
from mainline.drill.kinds import AS_IT_IS, WORSE, Drill, Outcome, Result, judge
from mainline.git import require_history

AT_ONCE = 2
FAILED = 10


def run(
    root: Path, names: tuple[str, ...] = (), *, list_: bool = False, markdown: bool = False
) -> dict[str, Any]:
    """Hold the drills `names` (all) on what is committed in `root`; `status` is 0 or 10.

    The checkout is not touched. Raises UsageError for an unknown name and DrillFailed when what is
    committed does not pass its own pipeline.
    """
    drills = catalogue.chosen(names)
    if list_:
        return {"drills": [_described(d) for d in drills], "text": _listed(drills)}
    require_history(root)
    began = time.monotonic()
    with place.opened(root) as here:
        console.progress(f"In throw-away clones of HEAD ({here.folder}); nothing here is touched.")
        left_out = here.found()
        if left_out:
            console.progress(f"A large table: {left_out}.")
        outcomes = hold(here, drills, settings.load(root).gate.metric, _tell)
    good = all(o.result.good for o in outcomes)
    if left_out:
        left_out = f"\n{left_out}."
    text = table(outcomes) if markdown else f"{plain(outcomes)}\n{summary(outcomes)}"
    console.progress(f"{len(outcomes)} drills in {time.monotonic() - began:.0f} s")
    return {"drills": [{**asdict(o), "result": o.result.value} for o in outcomes],
            "status": 0 if good else FAILED, "text": text + left_out}  # fmt: skip


def hold(
    here: place.Place, drills: Iterable[Drill], metric: str,
    told: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:  # fmt: skip
    """Train the bases that are needed, hold the drills two at a time; outcomes in their order."""
    drills = [named(d, metric) for d in drills]
    before = {AS_IT_IS: here.train(AS_IT_IS)}
    outcomes: dict[str, Outcome] = {}
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        if any(d.base == WORSE for d in drills):
            before[WORSE] = here.train(WORSE)
        waiting = {pool.submit(here.hold, d): d for d in drills}
        for future in as_completed(waiting):
            drill = waiting[future]
            outcomes[drill.name] = judge(drill, future.result(), before[AS_IT_IS])
            told(outcomes[drill.name])
    except BaseException:
        here.stop()  # else the pool would wait for the drills that still run
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return [outcomes[d.name] for d in drills]


def named(drill: Drill, metric: str) -> Drill:
    """The drill with the gate's metric in the place of `{metric}`."""
    return replace(drill, expect=tuple(e.replace("{metric}", metric) for e in drill.expect))


def _described(drill: Drill) -> dict[str, Any]:
    return {"name": drill.name, "title": drill.title, "expect": list(drill.expect)}


def _listed(drills: list[Drill]) -> str:
    return "\n".join(
        f"{d.name:<20}{d.title:<66}{' or '.join(d.expect) or 'must pass'}" for d in drills
    )


def _tell(outcome: Outcome) -> None:
    console.progress(_line(outcome))


def _line(o: Outcome) -> str:
    shown = f"{o.by} ({o.verdict})" if o.by else o.verdict
    if not o.result.good or o.result is Result.NOT_APPLICABLE:
        shown = f"{shown}  {o.reason}".strip()
    return f"{o.name:<20}{o.result.value:<24}{shown}"


def plain(outcomes: list[Outcome]) -> str:
    """One line a drill, for a terminal."""
    return "\n".join(map(_line, outcomes))


def summary(outcomes: list[Outcome]) -> str:
    """How many ended in which way."""
    counts = {r: sum(o.result is r for o in outcomes) for r in Result}
    return ", ".join(f"{n} {r.value}" for r, n in counts.items() if n)


def table(outcomes: list[Outcome]) -> str:
    """The same as a Markdown table."""
    lines = ["| drill | change | ends as | by (step: check) | verdict |", "|---|---|---|---|---|"]
    for o in outcomes:
        cells = (o.name, o.title, o.result.value, o.by or _cell(o), o.verdict)
        lines.append("| " + " | ".join(_escaped(c) for c in cells) + " |")
    return "\n".join(lines)


def _cell(o: Outcome) -> str:
    return "" if o.result is Result.PASSED else o.reason


def _escaped(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())
