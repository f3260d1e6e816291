"""Faults in the code and in the model, whatever estimator and task there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline.data import table as stored
from mainline.drill import edits, rows
from mainline.drill.kinds import NotApplicable
from mainline.drill.rows import Rows
from mainline.evaluate import predictions
from mainline.evaluate.metrics import direction, measure
from mainline.git import git
from mainline.settings import Settings
from mainline.train.bundle import class_names, decide

# A binary model loses this much ROC AUC; any model this many times the delta of its gate.
LOST_AUC, LOST_DELTAS = 0.03, 1.5
HANDICAP = 0.3
TRIES = 20
LEAST_POSITIVES = 30

CONSTANT = '''

# ---- a drill: the same answer for every row ----
def {function}(seed, **args):
    """A constant answer."""
    from sklearn.dummy import {dummy}

    return {dummy}()
'''


def constant(root: Path) -> str:
    """The estimator answers every row alike."""
    path, function = edits.estimator(root)
    regression = rows.read(root).options.model.task == "regression"
    dummy = "DummyRegressor" if regression else "DummyClassifier"
    edits.append(path, CONSTANT.format(function=function, dummy=dummy))
    return f"the estimator is a {dummy}"


def unseeded(root: Path) -> str:
    """Random numbers without a seed in the features: no two trainings are the same."""
    typical = typical_row(rows.read(root))
    edits.blank(root, edits.BY_CHANCE, {"typical": typical, "share": 0.05})
    return "5% of the rows are blanked at random, without a seed"


def inverted_class(root: Path) -> str:
    """The settings name the other class as the positive one."""
    table = rows.read(root)
    if table.options.model.task != "binary":
        raise NotApplicable("only a binary task has a positive class")
    target = table.raw[table.rules.target]
    names = class_names(table.frame[table.rules.target].dropna())
    positive = table.options.model.positive
    own = str(positive).lower() if isinstance(positive, bool) else str(positive)
    other = next(n for n in names.unique() if n != own)
    value: Any = int(other) if isinstance(positive, int) and other.isdigit() else other
    if isinstance(positive, bool):
        value = not positive
    edits.params(root, {"model.positive": value})
    return f"model.positive: {positive!r} -> {value!r} ({len(target)} rows)"


def worse(root: Path) -> str:
    """Noise of the right size: in so many rows the inputs tell nothing that the loss is as asked.

    What the model would say of such a row is what it says on average, so the size can be found on
    the predictions of the base: binary 0.03 of ROC AUC, and for every task 1.5 deltas of the gate.
    """
    table = rows.read(root)
    found = predictions.read(root / "reports" / "predictions.parquet").of("test")
    share, lost = size_of_noise(found, table.options)
    edits.blank(root, edits.BY_VALUES, {"typical": typical_row(table), "share": share})
    told = ", ".join(f"{name} {value:+.3f}" for name, value in lost.items())
    return f"the inputs of {share:.0%} of the rows tell nothing (expected: {told})"


def size_of_noise(
    found: predictions.Predictions, options: Settings
) -> tuple[float, dict[str, float]]:
    """The least share of rows whose loss makes the model as bad as asked, and what is lost."""
    task, gate = options.model.task, options.gate
    names = list(dict.fromkeys([gate.metric, *(["roc_auc"] if task == "binary" else [])]))
    before = measure(task, names, found.y, found.scores, found.decisions)
    lost: dict[str, float] = {}
    for share in np.arange(0.02, 0.91, 0.02):
        after = [_blanked(found, task, names, float(share), seed) for seed in range(TRIES)]
        lost = {n: float(np.mean([a[n] for a in after])) - before[n] for n in names}
        enough = -direction(gate.metric) * lost[gate.metric] >= LOST_DELTAS * gate.delta
        if enough and (task != "binary" or -lost["roc_auc"] >= LOST_AUC):
            return float(share), lost
    raise NotApplicable(f"the model has not that much to lose: at most {lost}")


def _blanked(
    found: predictions.Predictions, task: str, names: list[str], share: float, seed: int
) -> dict[str, float]:
    rng = np.random.default_rng([rows.SEED, seed])
    chosen = rng.random(len(found.y)) < share
    scores = np.where(chosen[:, None], found.scores.mean(axis=0), found.scores)
    decisions = np.where(chosen, decide(scores, task, 1.0), found.decisions)
    return measure(task, names, found.y, scores, decisions)


def typical_row(table: Rows) -> dict[str, Any]:
    """The middle of each numeric feature and the most frequent value of the others."""
    learned = table.frame[(table.part == "train").to_numpy()]
    out: dict[str, Any] = {}
    for column in table.rules.features:
        values = learned[column.name].dropna()
        if values.empty:
            continue
        number = column.type in ("number", "integer")
        out[column.name] = float(values.median()) if number else values.value_counts().index[0]
    return out


# ---- on a base that is worse on purpose -------------------------------------------------------


def handicap(root: Path) -> str:
    """What makes the worse base: in 30% of the rows the inputs tell nothing."""
    edits.blank(root, edits.BY_VALUES, {"typical": typical_row(rows.read(root)), "share": HANDICAP})
    return f"the inputs of {HANDICAP:.0%} of the rows tell nothing"


def better(root: Path) -> str:
    """The project's own model against a base that has been handicapped."""
    _restore(root)
    return f"the base does not see {HANDICAP:.0%} of the rows, the candidate sees all"


def broken_slice(root: Path) -> str:
    """Better than its base on the whole, and blind in one slice."""
    table = rows.read(root)
    found = predictions.read(root / "reports" / "predictions.parquet").of("test")
    column, value = _slice(table, found)
    _restore(root)
    given = {"typical": typical_row(table), "column": column, "value": value}
    edits.blank(root, edits.BY_GROUP, given)
    return f"better on the whole, and blind where {column!r} is {value!r}"


def _slice(table: Rows, found: predictions.Predictions) -> tuple[str, str]:
    """The largest slice that can be judged by itself and is too small to pull the mean down."""
    options = table.options
    own = {c.name for c in table.rules.features}
    names = [n for n in options.evaluate.slices if n in own]
    if not names:
        raise NotApplicable("no column of evaluate.slices is a feature")
    ids = stored.row_ids(table.frame, table.rules)
    best: tuple[float, str, str] | None = None
    for name in names:
        values = pd.Series(class_names(table.frame[name]).to_numpy(), index=ids)
        values = values.reindex(found.frame["row_id"])
        heavy = found.y == 1 if options.model.task == "binary" else np.ones(len(found.y), bool)
        for value, count in values[heavy].value_counts().items():
            share = count / heavy.sum()
            if count >= LEAST_POSITIVES and share < HANDICAP * 0.8:
                best = max(best or (0.0, "", ""), (share, name, str(value)))
    if best is None:
        raise NotApplicable(
            f"no slice has {LEAST_POSITIVES} test rows that count and less than "
            f"{HANDICAP * 0.8:.0%} of all"
        )
    return best[1], best[2]


def _restore(root: Path) -> None:
    """Take back what made the base worse."""
    path, _ = edits.features(root)
    git(root, "checkout", "--quiet", "HEAD~1", "--", str(path.relative_to(root)))
