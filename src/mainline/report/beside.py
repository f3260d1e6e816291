"""What stands beside the numbers: policy, origin, cost, production. Facts in, sections out."""

from __future__ import annotations

from typing import Any

from mainline.report.blocks import Alert, Block, Code, Line, Paragraph, Section
from mainline.report.facts import Facts
from mainline.report.numbers import MINUS, NONE, dicts, inner, number
from mainline.report.pieces import table


def policy(facts: Facts) -> Section | None:
    """Limits, split, tests and workflows that are not those of the base."""
    changed = dicts((facts.comparison or {}).get("policy"))
    if not changed:
        return None
    rows: list[tuple[Line, ...]] = [
        ((Code(str(c.get("what"))),), _side(c.get("base")), _side(c.get("candidate")))
        for c in changed
    ]
    said = "What decides is changed here. The base's limits and tests were used."
    return Section(
        "Policy", (Paragraph((said,)), *table(("what", "base", "candidate"), rows, set()))
    )


def _side(value: Any) -> Line:
    return (NONE,) if value is None else (Code(str(value)),) if str(value) else ("(empty)",)


def origin(facts: Facts) -> Section | None:
    """Whether the model is the one that came along, and whether it was in production before."""
    document = facts.comparison or {}
    blocks: list[Block] = []
    back = document.get("revert")
    if isinstance(back, str) and back:
        said = f"This is a way back: the model is {back}, which was healthy in production."
        blocks.append(Alert("note", (said,)))
    compared = facts.of("compare")
    again = [
        c
        for c in (compared.checks if compared else ())
        if c.name in ("reproduction", "base reproduced")
    ]
    blocks += [Paragraph((f"{c.reason}.",)) for c in again]
    return Section("Where the model comes from", tuple(blocks), spare=1) if blocks else None


COSTS = (("seconds", "seconds of training", "{:,.1f}"), ("peak_mb", "peak memory in MB", "{:,.0f}"),
         ("latency_ms", "milliseconds for one row", "{:,.1f}"),
         ("size_mb", "size of the model in MB", "{:,.3g}"))  # fmt: skip


def cost(facts: Facts) -> Section | None:
    """What training and one row cost, beside the base's where that is known."""
    # Without a verdict of this run the file is that of an earlier one.
    if facts.of("train") is None:
        return None
    known = inner(facts.comparison, "cost")
    own = {**(facts.cost or {}), **inner(known, "candidate")}
    base = inner(known, "base")
    rows: list[tuple[Line, ...]] = []
    for key, said, form in COSTS:
        past, now = number(base.get(key)), number(own.get(key))
        if now is not None:
            before = NONE if past is None else form.format(past)
            rows.append(((said,), (before,), (form.format(now),), (_times(past, now),)))
    head = ("cost", "base", "candidate", "change")
    return Section("Cost", tuple(table(head, rows, {1, 2, 3}))) if rows else None


def _times(past: float | None, now: float) -> str:
    if not past:
        return NONE
    share = now / past - 1
    return "the same" if abs(share) < 0.005 else f"{'+' if share > 0 else MINUS}{abs(share):.0%}"


def production(facts: Facts) -> Section | None:
    """The last look at production, where there was one."""
    if facts.monitor is None:
        return None
    asked, day = inner(facts.monitor, "trigger"), str(facts.monitor.get("as_of"))[:10]
    trigger = f"{asked.get('kind')}: {asked.get('reason')}" if asked else "no trigger"
    said = f"As of {day}: drift {facts.monitor.get('level')}; {trigger}."
    return Section("Production", (Paragraph((said,)),), spare=2)
