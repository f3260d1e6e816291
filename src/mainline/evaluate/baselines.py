"""A constant and a linear model, and whether the model is better than they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mainline.evaluate.interval import at_least, jackknife
from mainline.evaluate.metrics import direction
from mainline.evaluate.subject import SEED, Subject
from mainline.train.bundle import decide, scores_of
from mainline.verdict import Check, Verdict

MOST_ROWS = 5000
# The metrics in which a constant can be beaten: it has the best recall, fpr or bias that there is.
FAIR = {
    "binary": ("average_precision", "roc_auc", "log_loss", "brier"),
    "multiclass": ("balanced_accuracy", "accuracy", "f1_macro", "log_loss"),
    "regression": ("mae", "rmse", "r2", "median_absolute_error"),
}
SPOKEN = {"dummy": "a constant answer", "linear": "a linear model"}


def baselines(
    train: pd.DataFrame, y: np.ndarray, test: pd.DataFrame, task: str
) -> dict[str, np.ndarray]:
    """Scores (n, k) on `test` of a dummy and a linear model fitted on `train` (raw inputs).

    At most 5,000 training rows are used: a linear model on raw columns learns little from more.
    """
    from sklearn.compose import ColumnTransformer, make_column_selector
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    train, y = _thinned(train, y, task)
    numbers = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    categories = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=30)
    encode = ColumnTransformer(
        [("numbers", numbers, make_column_selector(dtype_include="number")),
         ("categories", categories, make_column_selector(dtype_include="category"))]
    )  # fmt: skip
    regression = task == "regression"
    linear = Ridge() if regression else LogisticRegression(max_iter=1000)
    dummy = DummyRegressor() if regression else DummyClassifier(strategy="prior")
    return {
        "dummy": scores_of(dummy.fit(train, y), test, task),
        "linear": scores_of(make_pipeline(encode, linear).fit(train, y), test, task),
    }


def _thinned(train: pd.DataFrame, y: np.ndarray, task: str) -> tuple[pd.DataFrame, np.ndarray]:
    """At most 5,000 rows, and ten of each class where there are as many."""
    if len(y) <= MOST_ROWS:
        return train, y
    order = np.random.default_rng(SEED).permutation(len(y))
    keep = order[:MOST_ROWS]
    if task != "regression":
        rare = [order[y[order] == name][:10] for name in np.unique(y)]
        keep = np.unique(np.concatenate([keep, *rare]))
    return train.iloc[np.sort(keep)], y[np.sort(keep)]


def fair_metric(task: str, wanted: str) -> str:
    """The gate's metric, or another where a constant answer is best in it by saying nothing."""
    return wanted if wanted in FAIR[task] else {"binary": "roc_auc"}.get(task, FAIR[task][0])


def check(subject: Subject) -> tuple[list[Check], dict[str, Any]]:
    """Whether the model beats both by the margins `trivial` and `linear`; the numbers found."""
    name = fair_metric(subject.task, subject.options.gate.metric)
    test = (subject.rows.part == "test").to_numpy()
    try:
        others = baselines(subject.inputs[subject.learn], subject.rows.y[subject.learn],
                           subject.inputs[test], subject.task)  # fmt: skip
    except (ValueError, TypeError) as error:
        reason = f"The baselines could not be fitted: {str(error).splitlines()[0]}"
        return [Check("beats a constant answer", Verdict.INCONCLUSIVE, reason)], {}
    checks: list[Check] = []
    findings: dict[str, Any] = {"metric": name}
    sign, own = direction(name), subject.own(name)
    for kind, limit in (("dummy", subject.limits.trivial), ("linear", subject.limits.linear)):
        theirs = subject.values(name, others[kind], decide(others[kind], subject.task, 0.5))
        gain = jackknife(sign * (own - theirs))
        what = f"{name} is better than that of {SPOKEN[kind]} by {gain}"
        checks.append(at_least(f"beats {SPOKEN[kind]}", gain, limit, what, len(subject.y)))
        findings[kind] = {"value": float(theirs[0]), "gain": gain.to_dict(), "limit": limit}
    return checks, findings
