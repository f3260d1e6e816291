"""How the model behaves: what `reports/behaviour.json` says, as tables.

What is not known here (a newer step wrote it) is still shown, key by key.
"""

from __future__ import annotations

from typing import Any

from mainline.report.blocks import Block, Code, Inline, Line, Paragraph, Section
from mainline.report.facts import Facts
from mainline.report.numbers import NONE, count, dicts, inner, limit, number, show
from mainline.report.pieces import bounds, table, told, value_text

Row = tuple[Line, ...]
HEAD = ("what was tried", "found", "95% bounds", "limit")
OTHERS = {"dummy": "a constant answer", "linear": "a linear model"}
SHAKEN = {"noise": "numbers moved by a hundredth of their spread",
          "missing values": "one value missing", "extreme values": "one number far out",
          "unseen categories": "a category never seen"}  # fmt: skip
KNOWN = ("baselines", "overfit", "gap", "determinism", "robustness", "invariant", "directional",
         "calibration", "size", "fairness", "nearest_flip")  # fmt: skip
MOST_GROUPS, MOST_COLUMNS = 12, 8


def behaviour(facts: Facts) -> Section | None:
    """What the model was tried with, and what it did."""
    found = facts.behaviour
    if not found or facts.of("evaluate") is None:
        return None
    rows = [*_learning(found), *_shaken(found), *_declared(found), *_plain(found)]
    blocks: list[Block] = table(HEAD, rows, {1, 3}) if rows else []
    blocks += _fairness(dicts(found.get("fairness")))
    blocks += _flip(inner(found, "nearest_flip"))
    rest = {k: v for k, v in found.items() if k not in KNOWN}
    blocks += told(rest)
    return Section("How the model behaves", tuple(blocks), spare=2) if blocks else None


def _row(what: Line, entry: dict[str, Any], value: Any) -> Row:
    return what, (show(value),), (bounds(entry),), (limit(entry.get("limit")),)


def _learning(found: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    against = inner(found, "baselines")
    for kind, spoken in OTHERS.items():
        entry = inner(against, kind)
        if entry:
            gain = inner(entry, "gain")
            what: Line = (Code(str(against.get("metric"))), f" better than of {spoken}, by")
            rows.append(_row(what, {**gain, "limit": entry.get("limit")}, gain.get("value")))
    if learnt := inner(found, "overfit"):
        what = (f"learning {count(learnt.get('rows'))} rows by heart, 1 is perfect",)
        share = [s for k in ("share", "planted") if (s := number(learnt.get(k))) is not None]
        rows.append(_row(what, learnt, max(share, default=None)))
    if gap := inner(found, "gap"):
        what = (Code(str(gap.get("metric"))), " better on training than on test rows")
        rows.append(_row(what, gap, gap.get("value")))
    if again := inner(found, "determinism"):
        word = "the same" if again.get("same") is True else "another model"
        rows.append((("trained once more",), (word,), (NONE,), ("the same",)))
    return rows


def _shaken(found: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for kind, entry in inner(found, "robustness").items():
        if not isinstance(entry, dict):
            continue
        columns = {c: s for c, v in inner(entry, "columns").items() if (s := number(v)) is not None}
        what: list[Inline] = [f"decisions that change with {SHAKEN.get(kind, kind)}"]
        if len(columns) > 1 and max(columns.values()) > 0:
            worst = max(columns, key=lambda c: columns[c])
            what += [", most with ", Code(worst), f" ({show(columns[worst])})"]
        if number(entry.get("share")) is not None:
            rows.append(_row(tuple(what), entry, entry.get("share")))
    return rows


def _declared(found: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for entry in dicts(found.get("invariant")):
        what: Line = ("decisions that change with ", Code(str(entry.get("column"))))
        rows.append(_row(what, entry, entry.get("share")))
    for entry in dicts(found.get("directional")):
        what = ("rows where more ", Code(str(entry.get("column"))),
                f" moves the score other than {entry.get('score')}")  # fmt: skip
        rows.append(_row(what, entry, entry.get("violations")))
    return rows


def _plain(found: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    if error := inner(found, "calibration"):
        rows.append(_row(("calibration error",), error, error.get("value")))
    if size := inner(found, "size"):
        rows.append(_row(("size of the model in MB",), size, size.get("megabytes")))
    return [r for r in rows if r[1] != (NONE,)]


def _fairness(entries: list[dict[str, Any]]) -> list[Block]:
    rows: list[Row] = []
    for entry in entries:
        rates, sizes = inner(entry, "rates"), inner(entry, "rows")
        shown = sorted(rates, key=lambda g: -(number(sizes.get(g)) or 0))[:MOST_GROUPS]
        groups: list[Inline] = []
        for group in shown:
            groups += [", " if groups else "", f"{group} {show(rates[group])}"]
        if len(rates) > len(shown):
            groups.append(f" and {len(rates) - len(shown)} more")
        name = (Code(str(entry.get("rate"))), " by ", Code(str(entry.get("by"))))
        rows.append((name, (show(entry.get("value")),), (bounds(entry),),
                     (limit(entry.get("limit")),), tuple(groups)))  # fmt: skip
    head = ("rate by group", "largest gap", "95% bounds", "limit", "groups")
    return table(head, rows, {1, 3}) if rows else []


def _flip(found: dict[str, Any]) -> list[Block]:
    columns = dicts(found.get("columns"))
    if number(found.get("rows")) is None:
        return []
    said = (f"Changing one column within its usual values flips {count(found.get('flipped'))} of "
            f"{count(found.get('rows'))} decisions nearest to the threshold")  # fmt: skip
    if not columns:
        return [Paragraph((said + ".",))]
    rows: list[Row] = [
        ((Code(str(c.get("column"))),), (count(c.get("rows")),), (_smallest(c.get("smallest")),))
        for c in columns[:MOST_COLUMNS]
    ]
    more = len(columns) - len(rows)
    return [Paragraph((said + ":",)),
            *table(("column", "rows that flip", "smallest change"), rows, {1}),
            *([Paragraph((f"… and {more} more columns.",))] if more else [])]  # fmt: skip


def _smallest(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {value_text(v)}" for k, v in value.items())
    return value_text(value)
