"""One column that tells the target by itself, or that is there only once the target is known.

How well a column alone predicts is put on one scale, 0 (no better than a constant) to 1 (always
right). Binary: the Gini index, `2 AUC - 1`, by the column's own order and by what rows of the same
value have in other folds. Multiclass: the share of a constant guess's errors that goes away
(Goodman and Kruskal's lambda), out of fold. Regression: the same share of the absolute error, on
the ranks of the target, so that no far-out value decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mainline.data.schema import Column, Schema
from mainline.data.table import as_text
from mainline.settings import Settings
from mainline.verdict import Check, Verdict

FOLDS, BINS, PRIOR = 5, 50, 2.0
MOST = {"binary": 6000, "multiclass": 10000, "regression": 10000}  # rows that are looked at
# From here on a person decides. A target of which a tenth was thrown anew stands at .79 to .90, a
# sound column of the tables that this was tried on at .57 at most, and carat of diamonds at .77.
SUSPECT = {"binary": 0.7, "multiclass": 0.7, "regression": 0.8}
FEW = 30  # rows on which nothing is said
FALLEN, HARDLY, MOSTLY = 0.25, 0.1, 0.5  # fill of waiting rows: lower, nearly gone; usual fill
NOTHING = 0.02  # share of the usual other classes that counts as none


@dataclass(frozen=True)
class Strength:
    """How well a column alone predicts the target, and by what."""

    value: float
    by: str


def check_alone(
    frame: pd.DataFrame, keep: pd.Series, options: Settings, rules: Schema
) -> list[Check]:
    """A check for each feature that predicts the target too well, else the strongest one.

    Rows where `keep` is False have no label yet. At the limit and beyond it is a FAIL, between
    SUSPECT and the limit a person decides; columns in `gate.data.strong` are shown only.
    """
    limits, task = options.gate.data, options.model.task
    rows = _sample(frame[keep], rules.target, task)
    if len(rows) < FEW or rows[rules.target].nunique() < 2:
        reason = f"{len(rows)} labelled rows are too few to say what one column alone predicts"
        return [Check("leakage", Verdict.INCONCLUSIVE, reason, n=len(rows))]
    y = _codes_of_target(rows[rules.target], task)
    found = {c.name: strength(rows[c.name], y, task) for c in rules.features}
    suspect = min(SUSPECT[task], limits.leakage) if limits.leakage is not None else None
    checks = []
    for name, one in found.items():
        if suspect is None or one.value < suspect or name in limits.strong:
            continue
        verdict = Verdict.FAIL if one.value >= (limits.leakage or 1) else Verdict.INCONCLUSIVE
        checks.append(Check(
            f"{name}: leakage", verdict,
            f"{name!r} alone predicts the target at {one.value:.2f} of 1 ({one.by}); from "
            f"{suspect:g} on it is suspected, from {limits.leakage:g} on refused. If it is known "
            "when the model is asked, name it in gate.data.strong; else give it the role drop",
            value=one.value, limit=limits.leakage, n=len(rows), unit="strength", scope=name,
        ))  # fmt: skip
    if not checks:
        name, one = max(found.items(), key=lambda pair: pair[1].value)
        reason = (
            f"The strongest column alone, {name!r}, predicts the target at {one.value:.2f} of 1"
        )
        checks.append(Check("leakage", Verdict.PASS, reason, value=one.value, limit=limits.leakage,
                            n=len(rows), unit="strength", scope=name))  # fmt: skip
    return checks


def strength(column: pd.Series, y: np.ndarray, task: str) -> Strength:
    """How well `column` (n,) alone predicts `y` (n,): classes 0..k-1, or ranks in (0, 1]."""
    fold = np.random.default_rng(0).permutation(len(y)) % FOLDS
    filled = column.notna().to_numpy()
    ways = [Strength(_by_group(_groups(column), y, fold, task), "by its values")]
    if 0 < filled.sum() < len(y):
        ways.append(Strength(_by_group(filled.astype(int), y, fold, task), "by being filled"))
    if column.dtype.kind == "f" and task != "multiclass" and filled.sum() > 1:
        ways.append(Strength(_by_order(column.to_numpy()[filled], y[filled], task)
                             * float(filled.mean()), "by its order"))  # fmt: skip
    best = max(ways, key=lambda way: way.value)
    return Strength(round(min(max(best.value, 0.0), 1.0), 6), best.by)


def _groups(column: pd.Series) -> np.ndarray:
    """A number for each row: its category, or its bin by rank; 0 where nothing is there."""
    if column.dtype.kind != "f":
        return pd.factorize(column)[0] + 1
    bins = int(np.clip(len(column) // 20, 4, BINS))
    return np.ceil(column.rank(pct=True).fillna(0).to_numpy() * bins).astype(int)


def _by_group(groups: np.ndarray, y: np.ndarray, fold: np.ndarray, task: str) -> float:
    """The strength of the mean of `y` over rows of the same group in the other folds."""
    if task == "binary":
        return _gini(_out_of_fold(groups, y.astype(float), fold), y)
    if task == "regression":
        return _error_saved(_out_of_fold(groups, y, fold), y)
    classes = range(int(y.max()) + 1)
    scores = [_out_of_fold(groups, (y == k).astype(float), fold) for k in classes]
    constant = np.bincount(y).max() / len(y)
    hits = float((np.argmax(scores, axis=0) == y).mean())
    return (hits - constant) / (1 - constant)


def _out_of_fold(groups: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """For each row the mean of `y` in its group over the other folds, drawn to the overall mean."""
    shape = (int(groups.max()) + 1, FOLDS)
    cell = groups * FOLDS + fold
    size = shape[0] * FOLDS
    rows = np.bincount(cell, minlength=size).reshape(shape)
    sums = np.bincount(cell, y, minlength=size).reshape(shape)
    others, total = rows.sum(1, keepdims=True) - rows, sums.sum(1, keepdims=True) - sums
    overall = total.sum(0) / np.maximum(others.sum(0), 1)
    return ((total + PRIOR * overall) / (others + PRIOR))[groups, fold]


def _by_order(values: np.ndarray, y: np.ndarray, task: str) -> float:
    """The strength of the order of `values` itself, rising or falling."""
    if task == "binary":
        return abs(_gini(values, y)) if 0 < y.sum() < len(y) else 0.0
    own, wanted = (pd.Series(v).rank(pct=True).to_numpy() for v in (values, y))
    return max(_error_saved(own, wanted), _error_saved(1 - own, wanted))


def _gini(scores: np.ndarray, y: np.ndarray) -> float:
    """`2 AUC - 1` from ranks; ties count half."""
    ranks = pd.Series(scores).rank().to_numpy()
    ones = int(y.sum())
    area = (ranks[y == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(y) - ones))
    return float(2 * area - 1)


def _error_saved(guess: np.ndarray, y: np.ndarray) -> float:
    constant = np.abs(y - np.median(y)).mean()
    return float(1 - np.abs(guess - y).mean() / constant) if constant > 0 else 0.0


def _codes_of_target(target: pd.Series, task: str) -> np.ndarray:
    if task == "regression":
        return target.rank(pct=True).to_numpy()
    return pd.factorize(as_text(target), sort=True)[0]


def _sample(rows: pd.DataFrame, target: str, task: str) -> pd.DataFrame:
    """At most MOST rows, the same ones each time; of a rare class as many as there are."""
    rng, most = np.random.default_rng(0), MOST[task]
    if len(rows) <= most:
        return rows
    if task != "binary":
        return rows.iloc[np.sort(rng.choice(len(rows), most, replace=False))]
    kept = [
        rng.choice(at, min(len(at), most // 2), replace=False)
        for at in rows.reset_index(drop=True).groupby(target).indices.values()
    ]
    return rows.iloc[np.sort(np.concatenate(kept))]


def pending(frame: pd.DataFrame, keep: pd.Series, rules: Schema) -> pd.Series:
    """Rows whose label is not known for sure yet: newer than the newest usable row.

    Without a time they are the rows without a label.
    """
    if rules.time is None:
        return frame[rules.target].isna()
    return ~keep & (frame[rules.time] > frame.loc[keep, rules.time].max())


def check_later(
    frame: pd.DataFrame, keep: pd.Series, options: Settings, rules: Schema
) -> list[Check]:
    """A check for each feature that is filled only once the event is over, by what the rows show.

    Either it is filled where the label is known and empty where it is not yet, or wherever it is
    filled the target is one and the same class.
    """
    waiting = pending(frame, keep, rules)
    columns = [c for c in rules.features if c.name not in options.gate.data.strong]
    checks = [_empty_before(frame, keep, waiting, c, rules) for c in columns]
    if options.model.task != "regression":
        classes = as_text(frame.loc[keep, rules.target])
        checks += [_one_class(frame.loc[keep, c.name].notna(), classes, c) for c in columns]
    found = [c for c in checks if c is not None]
    if not found:
        reason = (f"No feature is filled only where the label is known ({int(waiting.sum())} rows "
                  "without theirs)")  # fmt: skip
        found.append(Check("later", Verdict.PASS, reason, value=0, limit=0, n=int(waiting.sum()),
                           unit="columns"))  # fmt: skip
    return found


def _empty_before(
    frame: pd.DataFrame, keep: pd.Series, waiting: pd.Series, column: Column, rules: Schema
) -> Check | None:
    n = int(waiting.sum())
    if n < FEW or not keep.any():
        return None
    filled = frame[column.name].notna()
    known, yet = float(filled[keep].mean()), float(filled[waiting].mean())
    gone = yet <= HARDLY * known
    if not ((gone and known * n >= FEW) or known - yet >= FALLEN):
        return None
    # Without a time, rows without a label may be of another kind for good reasons.
    sure = gone and known >= MOSTLY and rules.time is not None
    return Check(
        f"{column.name}: later", Verdict.FAIL if sure else Verdict.INCONCLUSIVE,
        f"{column.name!r} is filled in {known:.1%} of the rows whose label is known and in "
        f"{yet:.1%} of the {n} rows that still wait for it: it is known only after the event "
        "(set available: later), or its feed has stopped",
        value=yet, limit=known, n=n, unit="share", scope=column.name,
    )  # fmt: skip


def _one_class(filled: pd.Series, classes: pd.Series, column: Column) -> Check | None:
    if filled.all() or not filled.any():
        return None
    overall = classes.value_counts(normalize=True)
    inside = classes[filled].value_counts(normalize=True)
    label, n = inside.index[0], int(filled.sum())
    wrong, wrong_inside = 1 - float(overall[label]), 1 - float(inside.iloc[0])
    # A guess that is hardly ever wrong anyway says nothing when it is right here.
    if wrong < 0.1 or wrong * n < FEW or wrong_inside > NOTHING * wrong:
        return None
    return Check(
        f"{column.name}: one class", Verdict.INCONCLUSIVE,
        f"Where {column.name!r} is filled ({n} rows) the target is always the same class, "
        f"elsewhere it is not: it may be known only after the event (set available: later), or "
        "name it in gate.data.strong",
        value=1 - wrong_inside, limit=1 - wrong, n=n, unit="share", scope=column.name,
    )  # fmt: skip
