"""What a pull request does to the data: rows and labels that came, went and changed.

The rows are compared by their ids with those of main where the branch left it. A loss of rows,
other labels and a shift of the target are INCONCLUSIVE beyond the limits in `gate.data`: a person
may want them, and nobody should get them unseen. Losses and other labels are measured among all
rows and among main's test rows, there by class too: few of all rows can be most of a test.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline.compare import past
from mainline.compare.policy import Policy
from mainline.data import table
from mainline.data.schema import Schema
from mainline.data.split import assign
from mainline.errors import MainlineError
from mainline.git import dirty
from mainline.limits import DataLimits
from mainline.settings import Settings
from mainline.train.bundle import class_names
from mainline.verdict import Check, Verdict

TOLD = 5
MONTH = "30D"
LEAST_ROWS = 30
MOST_CLASSES = 20
# One or two labels of a small class are corrected now and then.
LEAST_TESTED = 3


@dataclass(frozen=True)
class Target:
    """How the target is spread over n rows: the share of each class, or the mean of a number.

    Each with its two-sided 95% interval; for a number, all in its own unit.
    """

    n: int
    values: dict[str, tuple[float, float, float]]


@dataclass(frozen=True)
class Tested:
    """What became of main's test rows: of those of the class `name`, or of all (None)."""

    name: str | None
    rows: int
    removed: int
    changed: int
    relabelled: int


@dataclass(frozen=True)
class Changed:
    """Rows by what became of them; each with the ids of a few.

    `test` has all test rows of main first and then each class; nothing where main has none.
    """

    base_rows: int
    rows: int
    added: int
    removed: int
    changed: int
    relabelled: int
    labelled: int
    names: dict[str, list[str]]
    before: Target | None = None
    came: Target | None = None
    shift: float | None = None
    usual: float | None = None
    test: tuple[Tested, ...] = ()


def check(
    root: Path, policy: Policy, own: Settings, limits: DataLimits, rules: Schema
) -> tuple[list[Check], dict[str, Any]]:
    """The checks on what became of the rows, and the numbers for `comparison.json`."""
    commit = policy.commit
    here = past.pointer_at(root, None)
    there = past.pointer_at(root, commit) if commit else None
    if there is None or here is None:
        return [], {"since": commit, "same": None}
    if here == there:
        reason = "The data are those of main, file for file"
        return [Check("data changes", Verdict.PASS, reason)], {"since": commit, "same": True}
    assert commit is not None
    try:
        with past.data_at(root, commit) as folder:
            old = past.typed(folder, rules)
        found = changed(old, past.typed(root, rules), own, rules, policy.settings)
    except MainlineError as error:
        reason = (f"The data changed, and the rows before cannot be had, so what was lost is not "
                  f"known: {error}")  # fmt: skip
        verdict = Verdict.PASS if policy.merged else Verdict.INCONCLUSIVE
        return [Check("data changes", verdict, reason)], {"since": commit, "same": False}
    checks = judge(found, limits, own)
    if policy.merged and not dirty(root, "data.dvc"):
        checks = [_merged(c) for c in checks]
    return checks, {"since": commit, "same": False, **document(found)}


def _merged(check: Check) -> Check:
    """On main a person has merged the change already."""
    if check.verdict is Verdict.PASS:
        return check
    return replace(check, verdict=Verdict.PASS, reason=f"Merged already: {check.reason}")


def changed(
    old: pd.DataFrame, new: pd.DataFrame, own: Settings, rules: Schema,
    main: Settings | None = None,
) -> Changed:  # fmt: skip
    """What became of the rows of `old`, and what came; both are indexed by row id. Pure.

    A label that was not known before and is now is none that changed. The settings of `main`
    (else `own`) say which rows of `old` are test rows.
    """
    added, removed = new.index.difference(old.index), old.index.difference(new.index)
    both = old.index.intersection(new.index)
    late = {rules.target, rules.known_at, *(c.name for c in rules.columns
                                            if c.available == "later")}  # fmt: skip
    names = [c for c in old.columns if c in new.columns and c not in late]
    hashes = (pd.util.hash_pandas_object(f.loc[both, names], index=False).to_numpy()
              for f in (old, new))  # fmt: skip
    other = both[np.not_equal(*hashes)] if len(both) else both
    before, now = old.loc[both, rules.target], new.loc[both, rules.target]
    known = before.notna().to_numpy()
    same = before.eq(now).fillna(False).to_numpy(dtype=bool)
    relabelled, labelled = both[known & ~same], both[~known & now.notna().to_numpy()]
    lists = {"added": added, "removed": removed, "changed": other, "relabelled": relabelled}
    told = {k: [str(i) for i in sorted(v[:1000])[:TOLD]] for k, v in lists.items()}
    found = Changed(len(old), len(new), len(added), len(removed), len(other), len(relabelled),
                    len(labelled), told,
                    test=tested(old, (removed, other, relabelled), main or own, rules))  # fmt: skip
    return _with_targets(found, old, new, added.union(labelled), own, rules)


def tested(
    old: pd.DataFrame, lists: tuple[pd.Index, pd.Index, pd.Index], main: Settings, rules: Schema
) -> tuple[Tested, ...]:
    """How many of main's test rows are in each of `lists` (removed, changed, relabelled).

    Of all, and by the class that they had on main. Nothing where `old` cannot be split. Pure.
    """
    try:
        rows = old[table.usable(old, main, rules)]
        target = rows.loc[assign(rows, main, rules) == "test", rules.target]
    except (MainlineError, KeyError):
        return ()
    hits = [target.index.isin(ids) for ids in lists]
    groups: list[tuple[str | None, np.ndarray]] = [(None, np.ones(len(target), dtype=bool))]
    if main.model.task != "regression":
        names = class_names(target)
        groups += [(str(n), (names == n).to_numpy()) for n in sorted(names.unique())]
    return tuple(Tested(name, int(inside.sum()), *(int((h & inside).sum()) for h in hits))
                 for name, inside in groups)  # fmt: skip


def _with_targets(
    found: Changed, old: pd.DataFrame, new: pd.DataFrame, came: pd.Index, own: Settings,
    rules: Schema,
) -> Changed:  # fmt: skip
    """Only rows whose labels have matured: a positive is often known before a negative."""
    own = own.model_copy(update={"train": own.train.model_copy(update={"window_days": None})})
    first = old[table.usable(old, own, rules)]
    late = new[table.usable(new, own, rules)]
    late = late[late.index.isin(came)]
    task = own.model.task
    if len(first) < 2 or len(late) < 2:
        return found
    before, after = (_as_seen(f[rules.target], task) for f in (first, late))
    usual = None
    if rules.time and first[rules.time].notna().all():
        usual = usual_shift(before, (first[rules.time] - pd.Timestamp(0)) // pd.Timedelta(MONTH))
    spread = float(before.std()) if task == "regression" else None
    sides = target(before), target(after)
    return replace(found, before=sides[0], came=sides[1], shift=shift(*sides, spread), usual=usual)


def _as_seen(values: pd.Series, task: str) -> pd.Series:
    return values.astype(float) if task == "regression" else class_names(values)


def target(values: pd.Series) -> Target:
    """Mean or shares of `values` (numbers, or class names) with intervals.

    Wilson 1927 for a share; for a mean 1.96 standard errors.
    """
    n = len(values)
    if values.dtype == float:
        mean, reach = float(values.mean()), 1.96 * float(values.std(ddof=1)) / np.sqrt(n)
        return Target(n, {"mean": (mean, mean - reach, mean + reach)})
    counts = values.value_counts().sort_index()
    out = {}
    for name, count in counts.items():
        p, z = count / n, 1.96
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        reach = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        out[str(name)] = (float(p), float(max(middle - reach, 0)), float(min(middle + reach, 1)))
    return Target(n, out)


def shift(before: Target, after: Target, spread: float | None = None) -> float:
    """How far the target surely moved: from `before` to the nearest end of the interval `after`.

    For shares Cohen's h, 2 |asin sqrt p - asin sqrt q|, of the class that moved most: a rise from
    2% to 12% counts more than one from 45% to 55%. For a number, in standard deviations (`spread`)
    of the rows before. 0 where chance may have moved it.
    """
    moved = [0.0]
    for name in {*before.values, *after.values}:
        was, _, _ = before.values.get(name, (0.0, 0.0, 0.0))
        _, low, high = after.values.get(name, (0.0, 0.0, 3.84 / (after.n + 3.84)))
        nearest = min(max(was, low), high)
        if spread is not None:
            moved.append(abs(nearest - was) / max(spread, 1e-12))
        else:
            moved.append(2 * abs(np.arcsin(np.sqrt(nearest)) - np.arcsin(np.sqrt(was))))
    return float(max(moved))


def usual_shift(values: pd.Series, months: pd.Series) -> float | None:
    """The largest shift of one month from the others among the rows before; None below three.

    A target that has seasons moves each month, and that is nothing to ask a person about.
    """
    sizes = months.value_counts()
    own = sizes[sizes >= LEAST_ROWS].index
    if len(own) < 3:
        return None
    spread = float(values.std()) if values.dtype == float else None
    inside = [(months == m).to_numpy() for m in own]
    return max(shift(target(values[~i]), target(values[i]), spread) for i in inside)


def judge(found: Changed, limits: DataLimits, own: Settings) -> list[Check]:
    """Rows lost, labels changed, and the shift of the target, against `gate.data`. Pure."""
    lost = (found.removed + found.changed) / max(found.base_rows, 1)
    gone = [f"{n:,} {what}{_such(found.names[what])}"
            for what, n in (("removed", found.removed), ("changed", found.changed))
            if n]  # fmt: skip
    reason = (f"Of {found.base_rows:,} rows {' and '.join(gone) or 'none was lost or changed'}, "
              f"{found.added:,} came")  # fmt: skip
    parts = {t: t.removed + t.changed for t in found.test}
    what = "are gone or changed" if found.changed else "are gone"
    worst = _worst(lost, reason, found.base_rows, parts, what)
    checks = [_limited("rows lost", *worst, limit=limits.removed)]
    share = found.relabelled / max(found.base_rows, 1)
    such = _such(found.names["relabelled"])
    reason = (f"{found.relabelled:,} of {found.base_rows:,} rows have another label{such}, "
              f"{found.labelled:,} got their first")  # fmt: skip
    parts = {t: t.relabelled for t in found.test}
    worst = _worst(share, reason, found.base_rows, parts, "have another label")
    checks.append(_limited("relabelled", *worst, limit=limits.relabelled))
    if found.shift is not None and found.came is not None and found.before is not None:
        limit = limits.label_shift
        if limit is not None and found.usual is not None:
            limit = max(limit, found.usual)
        reason = f"The target of {found.came.n:,} new rows: {_moved(found.before, found.came)}"
        checks.append(_limited("label shift", found.shift, reason, found.came.n, limit=limit))
    return checks


def _worst(
    share: float, reason: str, n: int, parts: dict[Tested, int], what: str
) -> tuple[float, str, int]:
    """The share of all `n` rows, or the largest of a group of test rows where that is larger."""
    shares = {t: count / t.rows for t, count in parts.items() if count >= LEAST_TESTED}
    worst = max(shares, key=lambda t: shares[t], default=None)
    if worst is None or shares[worst] <= share:
        return share, reason, n
    such = "" if worst.name is None else f" of class {worst.name!r}"
    reason += f"; {parts[worst]:,} of {worst.rows:,} test rows{such} of main {what}"
    return shares[worst], reason, worst.rows


def _such(names: list[str]) -> str:
    return f" (such as {names[0]!r})" if names else ""


def _moved(before: Target, after: Target) -> str:
    """The class (or number) that moved most, before and after."""

    def reach(name: str) -> float:
        return abs(after.values.get(name, (0.0,))[0] - before.values.get(name, (0.0,))[0])

    name = max(sorted({*before.values, *after.values}), key=reach)
    was, (now, low, high) = before.values.get(name, (0.0,))[0], after.values.get(name, (0.0,) * 3)
    if name == "mean":
        return f"mean {was:.4g} -> {now:.4g} ({low:.4g} to {high:.4g})"
    return f"{name!r} {was:.1%} -> {now:.1%} ({low:.1%} to {high:.1%})"


def _limited(name: str, value: float, reason: str, n: int, *, limit: float | None) -> Check:
    verdict = Verdict.PASS
    if limit is not None and value > limit:
        verdict = Verdict.INCONCLUSIVE
        reason = f"{reason}: {value:.3g} is beyond {limit:.3g}, so a person decides"
    return Check(name, verdict, reason, value=round(value, 6), limit=limit, n=n)


def document(found: Changed) -> dict[str, Any]:
    """`found` for `comparison.json`: counts, ids of a few, and the target before and of new rows.

    `label` holds, of the rows before and of those that came, n and for each class (or `mean`)
    value, low and high; `shift` is how far they surely are apart, `usual` what months did before.
    `test` counts main's test rows and what became of them; null where they are not known.
    """
    plain = asdict(found)
    whole = next(iter(plain.pop("test")), None)
    plain["test"] = whole and {k: n for k, n in whole.items() if k != "name"}
    label = {"shift": plain.pop("shift"), "usual": plain.pop("usual")}
    for side in ("before", "came"):
        spread = plain.pop(side)
        if spread:
            most = sorted(spread["values"].items(), key=lambda v: -v[1][0])[:MOST_CLASSES]
            values = {k: dict(zip(("value", "low", "high"), v, strict=True)) for k, v in most}
            label[side] = {"n": spread["n"], "values": values}
    return {**plain, "label": label}
