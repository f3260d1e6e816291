"""Whether training learns what it is given, the same each time, and not by heart."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pandas as pd

from mainline import inputs
from mainline.errors import MainlineError
from mainline.evaluate.interval import at_most, jackknife
from mainline.evaluate.metrics import direction, measure
from mainline.evaluate.subject import SEED, Subject
from mainline.train import skops_file, train
from mainline.train.bundle import build_features, decide, scores_of
from mainline.verdict import Check, Verdict

SMALL, LARGE = 500, 10_000
MOST_ROWS = 5000


def can_learn(subject: Subject) -> tuple[list[Check], dict[str, Any]]:
    """A model trained on 500 rows must tell those very rows apart: `overfit` of the way.

    Where it does not, the code may be sound: labels may be too noisy for a plain model, so it is
    trained once more on the same rows with their labels dealt out again in the order of one
    column, which any model can learn; and leaves may be meant for many rows, so both are tried
    with 10,000. Code that mixes up rows and labels fails at all.
    """
    name, limit = "learns a small sample", subject.limits.overfit
    found: dict[str, Any] = {}
    try:
        with train.one_thread(subject.root, subject.options):
            for most in (SMALL, LARGE):
                rows = _sample(subject, most)
                if len(rows) != found.get("rows"):
                    found = _tried(subject, rows, limit)
                if limit is None or found["best"] >= limit:
                    break
    except (MainlineError, ValueError, TypeError) as error:
        reason = f"A model could not be trained on few rows: {str(error).splitlines()[0]}"
        return [Check(name, Verdict.ERROR, reason)], {}
    best, n = found.pop("best"), found["rows"]
    what = f"Trained on {n} rows it goes {found['share']:.3g} of the way from a constant to perfect"
    if found["planted"] is not None:
        what += f" on them, and {found['planted']:.3g} with labels in the order of one column"
    verdict = Verdict.PASS if limit is None or best >= limit else Verdict.FAIL
    if verdict is Verdict.FAIL:
        what += f": it must be {limit:.3g}; look for rows and labels that are not in one order"
    check = Check(name, verdict, what, value=round(best, 6), limit=limit, n=n)
    return [check], {**found, "limit": limit}


def _tried(subject: Subject, rows: np.ndarray, limit: float | None) -> dict[str, Any]:
    """How far a model goes on `rows`, and on planted labels where that is not far enough."""
    x, y = subject.built.iloc[rows].reset_index(drop=True), subject.rows.y[rows]
    share, planted = _way(subject, x, y), None
    column = _ordering(x) if limit is not None and not share >= limit else None
    if column is not None:
        planted = _way(subject, x, _dealt(x[column], y))
    best = float(np.nanmax([share, -np.inf if planted is None else planted]))
    return {"rows": len(rows), "share": share, "planted": planted, "best": best}


def _sample(subject: Subject, most: int) -> np.ndarray:
    """Positions of at most `most` training rows, the classes as even as they can be, in order."""
    rng = np.random.default_rng(SEED)
    learn, y = np.flatnonzero(subject.learn), subject.rows.y
    if subject.task == "regression":
        return np.sort(rng.choice(learn, min(most, len(learn)), replace=False))
    names = np.unique(y[learn])
    each = max(most // len(names), 10)
    chosen = [rng.permutation(learn[y[learn] == name])[:each] for name in names]
    return np.sort(np.concatenate(chosen))


def _way(subject: Subject, x: pd.DataFrame, y: np.ndarray) -> float:
    """How far a model trained on x, y goes on them from a constant answer (0) to perfect (1).

    Binary: 2 AUC - 1. Multiclass: balanced accuracy above chance. Regression: R2.
    """
    estimator = train.fit(x, y, subject.root, subject.options)
    scores = scores_of(estimator, x, subject.task)
    name = {"binary": "roc_auc", "multiclass": "balanced_accuracy"}.get(subject.task, "r2")
    value = measure(subject.task, [name], y, scores, decide(scores, subject.task, 0.5))[name]
    chance = {"binary": 0.5, "multiclass": 1 / len(np.unique(y))}.get(subject.task, 0.0)
    return (value - chance) / (1 - chance)


def _ordering(x: pd.DataFrame) -> str | None:
    """The numeric input with the most distinct values; None where there is none."""
    counts = {c: x[c].nunique() for c in x.columns if pd.api.types.is_numeric_dtype(x[c])}
    return max(counts, key=lambda c: counts[c]) if counts else None


def _dealt(column: pd.Series, y: np.ndarray) -> np.ndarray:
    """The sorted labels `y` (n,) in the order of `column`; rows where it is missing come first."""
    order = np.argsort(column.fillna(-np.inf).to_numpy(dtype=float), kind="stable")
    dealt = np.empty_like(y)
    dealt[order] = np.sort(y)
    return dealt


def gap(subject: Subject) -> tuple[list[Check], dict[str, Any]]:
    """How much better the gate's metric is on rows that were trained on than on test rows."""
    name, task = subject.options.gate.metric, subject.task
    learn = np.flatnonzero(subject.learn)
    if len(learn) > MOST_ROWS:
        learn = np.sort(np.random.default_rng(SEED).choice(learn, MOST_ROWS, replace=False))
    scores = subject.model.predict(subject.rows.frame.iloc[learn])
    seen = measure(task, [name], subject.rows.y[learn], scores, subject.model.decide(scores))[name]
    found = jackknife(direction(name) * (seen - subject.own(name)))
    what = f"{name} is better on training rows than on test rows by {found}"
    check = at_most("gap between train and test", found, subject.limits.gap, what, len(learn))
    return [check], {"metric": name, "train": seen, **found.to_dict(), "limit": subject.limits.gap}


def determinism(subject: Subject) -> tuple[list[Check], dict[str, Any]]:
    """The model is trained again and must come out the same to the last byte.

    numpy's and Python's global random numbers are seeded otherwise than at first: a model that
    draws from them depends on whatever else drew before it. A model file of another platform or
    lock is not compared with; then the model is trained twice here.
    """
    meta, whole = subject.model.meta, subject.limits.determinism == "all"
    here = (train.platform_name(), inputs.lock_digest(subject.root))
    comparable = whole and (meta.get("platform"), meta.get("lock")) == here
    rows = np.flatnonzero(subject.learn)
    rows = rows if whole else rows[:MOST_ROWS]
    made = (subject.model.folder / "model.skops").read_bytes()
    with train.one_thread(subject.root, subject.options):
        stirred = _bytes(subject, rows, 1)
        first = made if comparable and stirred == made else _bytes(subject, rows, 0)
    again = f"Trained again on {len(rows)} rows it is"
    if stirred != first:
        verdict, reason = Verdict.FAIL, (
            f"{again} another model: give the estimator random_state=seed, and draw no random "
            "numbers in features.build")  # fmt: skip
    elif comparable and first != made:
        verdict, reason = Verdict.INCONCLUSIVE, (
            f"{again} not the one in models/: that is of another machine or of other code, or "
            "something differs between two processes (the order of a set)")  # fmt: skip
    else:
        verdict, reason = Verdict.PASS, f"{again} the same to the last byte"
    check = Check("trains the same again", verdict, reason, n=len(rows))
    return [check], {"rows": len(rows), "same": verdict is Verdict.PASS}


def _bytes(subject: Subject, rows: np.ndarray, stir: int) -> bytes:
    """The model file of a model trained on `rows` with features built again.

    `stir` is added to the seed of the global random numbers.
    """
    kept, also = random.getstate(), np.random.get_state()
    random.seed(stir)
    np.random.seed((subject.options.train.seed + stir) % 2**32)
    try:
        x = build_features(subject.model.build, subject.inputs)
        y = subject.rows.y[rows]
        return skops_file.dump(train.fit(x.iloc[rows], y, subject.root, subject.options, stir))
    finally:
        random.setstate(kept)
        np.random.set_state(also)
