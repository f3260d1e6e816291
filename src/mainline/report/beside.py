"""What stands beside the numbers: policy, origin, cost, production. Facts in, sections out."""

from __future__ import annotations

from typing import Any

from mainline.report.blocks import Alert, Block, Code, Line, Paragraph, Section
from mainline.report.facts import Facts
from mainline.report.numbers import MINUS, NONE, count, dicts, inner, number
from mainline.report.pieces import table, told


def policy(facts: Facts) -> Section | None:
    """Limits, split, tests and workflows that are not those of the base."""
    changed = dicts((facts.comparison or {}).get("policy"))
    if not changed:
        return None
    rows: list[tuple[Line, ...]] = [
        ((Code(str(c.get("what"))),), _side(c.get("base")), _side(c.get("candidate")))
        for c in changed
    ]
    said = "The limits of the base were used. What decides is changed here, so that a person does:"
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
        said = f"This is a way back: the model is {back}, byte for byte, which was in production."
        blocks.append(Alert("note", (said,)))
    again = document.get("reproduction")
    blocks += told(again) if isinstance(again, dict) else []
    if isinstance(again, str) and again:
        blocks.append(Paragraph((again,)))
    return Section("Where the model comes from", tuple(blocks), spare=1) if blocks else None


def cost(facts: Facts) -> Section | None:
    """What training took, beside the base's where that is known."""
    # Without a verdict of this run the file is that of an earlier one.
    own = facts.cost or {}
    if number(own.get("seconds")) is None or facts.of("train") is None:
        return None
    base = inner(inner(facts.comparison, "cost"), "base")
    seconds, past = number(own.get("seconds")) or 0.0, number(base.get("seconds"))
    rows: list[tuple[Line, ...]] = []
    if past is None:
        peak = own.get("peak_mb")
        more = f" and {count(peak)} MB of memory at its peak" if number(peak) is not None else ""
        return Section("Cost", (Paragraph((f"Training took {seconds:.1f} s{more}.",)),))
    rows.append((("seconds",), (f"{past:.1f}",), (f"{seconds:.1f}",), (_times(past, seconds),)))
    peaks = number(base.get("peak_mb")), number(own.get("peak_mb"))
    rows.append((("peak memory in MB",), (count(peaks[0]),), (count(peaks[1]),),
                 (_times(*peaks),)))  # fmt: skip
    head = ("training", "base", "candidate", "change")
    return Section("Cost", tuple(table(head, rows, {1, 2, 3})))


def _times(past: float | None, now: float | None) -> str:
    if not past or now is None:
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
