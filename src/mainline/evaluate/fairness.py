"""Rates that groups should share, and whether scores mean what they say."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from mainline.evaluate.interval import at_most, jackknife, leave_out
from mainline.evaluate.subject import Subject
from mainline.limits import Fairness
from mainline.train.bundle import class_names
from mainline.verdict import Check, Verdict

LEAST = 30
MOST_GROUPS = 20
RATES = {
    "binary": ("alert_rate", "recall", "fpr", "precision", "accuracy"),
    "multiclass": ("accuracy",),
    "regression": ("mae", "bias"),
}


def check(subject: Subject) -> tuple[list[Check], list[dict[str, Any]]]:
    """Each entry of `fairness`: the largest gap between two groups with its interval."""
    checks, findings = [], []
    for entry in subject.limits.fairness:
        made, found = _gap(subject, entry)
        checks.append(made)
        findings.append(found)
    return checks, findings


def _gap(subject: Subject, entry: Fairness) -> tuple[Check, dict[str, Any]]:
    """The largest gap; groups with fewer than 30 rows under the rate are named and left out."""
    name = f"fairness: {entry.rate} by {entry.by}"
    found: dict[str, Any] = {"by": entry.by, "rate": entry.rate, "limit": entry.limit}
    wrong = _wrong(subject, entry)
    if wrong:
        return Check(name, Verdict.ERROR, f"params.yaml: gate.model.fairness: {wrong}"), found
    groups = class_names(subject.test[entry.by]).fillna("(missing)").to_numpy()
    values, under = _under(subject, entry.rate)
    names = [str(g) for g in np.unique(groups.astype(str))]
    sizes = {g: int(under[groups == g].sum()) for g in names}
    enough = [g for g in names if sizes[g] >= LEAST][:MOST_GROUPS]
    small = [g for g in names if g not in enough]
    rates = {g: float(values[under & (groups == g)].mean()) for g in enough}
    found |= {"rates": rates, "rows": sizes, "left_out": small}
    if len(enough) < 2:
        reason = f"Fewer than two groups of {entry.by!r} have {LEAST} rows for {entry.rate}"
        verdict = Verdict.PASS if entry.limit is None else Verdict.INCONCLUSIVE
        return Check(name, verdict, reason, limit=entry.limit), found
    low, high = _furthest(rates)

    def gap(keep: np.ndarray) -> float:
        with np.errstate(invalid="ignore", divide="ignore"):
            top, bottom = (_mean(values, keep & under & (groups == g)) for g in (high, low))
        return top - bottom

    pairs = len(enough) * (len(enough) - 1) // 2
    between = jackknife(leave_out(gap, subject.folds), pairs)
    found |= between.to_dict() | {"most": high, "least": low}
    what = (f"{entry.rate} is {rates[high]:.3g} in {high!r} and {rates[low]:.3g} in {low!r}, "
            f"a gap of {between}")  # fmt: skip
    if small:
        what += f"; too few rows in {', '.join(small[:5])}"
    n = sum(sizes[g] for g in enough)
    return at_most(name, between, entry.limit, what, n), found


def _wrong(subject: Subject, entry: Fairness) -> str | None:
    """What is wrong with an entry; None where nothing is."""
    column = subject.rules.by_name.get(entry.by)
    known = RATES[subject.task]
    if column is None or column.type in ("number", "datetime", "text"):
        return f"{entry.by!r} is no category, bool or integer column of schema.yaml"
    if entry.by in subject.rules.personal:
        return f"{entry.by!r} is personal: its values may not be shown"
    if entry.rate not in known:
        return f"{entry.rate!r} is no rate of a {subject.task} task; known are {', '.join(known)}"
    return None


def _under(subject: Subject, rate: str) -> tuple[np.ndarray, np.ndarray]:
    """The value (n,) of which the rate is the mean, and the rows (n,) of bool that it is over."""
    y, d = subject.y, subject.decisions
    every = np.ones(len(y), dtype=bool)
    if subject.task == "regression":
        return (np.abs(d - y), every) if rate == "mae" else (d - y, every)
    if rate == "accuracy":
        return (d == y).astype(float), every
    over = {"recall": y == 1, "fpr": y == 0, "precision": d == 1}.get(rate, every)
    return (y if rate == "precision" else d).astype(float), over


def _mean(values: np.ndarray, keep: np.ndarray) -> float:
    return float(values[keep].mean()) if keep.any() else float("nan")


def _furthest(rates: dict[str, float]) -> tuple[str, str]:
    """The two groups between which the gap is largest: the lower and the higher."""
    pair = max(combinations(sorted(rates), 2), key=lambda p: abs(rates[p[0]] - rates[p[1]]))
    low, high = sorted(pair, key=lambda g: rates[g])
    return low, high


def calibration(subject: Subject) -> tuple[list[Check], dict[str, Any] | None]:
    """The expected calibration error: how far scores are from the shares that they announce.

    It is the mean distance between score and observed share over ten equally filled bins; of more
    than two classes, of the score of the class that was chosen.
    """
    name, limit = "calibration", subject.limits.calibration
    if subject.task == "regression":
        if limit is None:
            return [], None
        reason = "params.yaml: gate.model.calibration is for classes; a regression has bias"
        return [Check(name, Verdict.ERROR, reason, limit=limit)], None

    found = jackknife(subject.own("calibration_error"))
    what = f"Scores are off by {found} on average from the share that they announce"
    check = at_most(name, found, limit, what, len(subject.y))
    return [check], {**found.to_dict(), "limit": limit}
