"""Which features a model leans on: permutation importance on held-out rows.

How much worse the model becomes when one feature is shuffled among the rows (Breiman 2001, as in
scikit-learn). Of two features that say the same neither seems important.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mainline.settings import Settings
from mainline.train import bundle
from mainline.train.train import Rows

SCORING = {"binary": "average_precision", "multiclass": "accuracy",
           "regression": "neg_mean_absolute_error"}  # fmt: skip
SPOKEN = {"average_precision": "average precision", "accuracy": "accuracy",
          "neg_mean_absolute_error": "mean absolute error"}  # fmt: skip
MOST_ROWS = 1000
MOST_CELLS = 60_000  # rows times features: a wide table is asked on fewer rows
REPEATS = 3


@dataclass(frozen=True)
class Feature:
    """A feature and how much the metric loses without it: mean and sd over the shuffles."""

    name: str
    loss: float
    spread: float


@dataclass(frozen=True)
class Importance:
    """All features, the most important first, by what metric and on how many test rows."""

    features: tuple[Feature, ...]
    metric: str
    rows: int


def measure(root: Path, options: Settings, rows: Rows) -> Importance | None:
    """The importance of each feature of models/ on a sample of the test rows; None without any."""
    from sklearn.inspection import permutation_importance

    model = bundle.load(root / "models", root)
    names = [f["name"] for f in model.meta["features"]]
    test = np.flatnonzero((rows.part == "test").to_numpy())
    most = max(100, min(MOST_ROWS, MOST_CELLS // max(1, len(names))))
    rng = np.random.default_rng(options.train.seed)
    chosen = np.sort(rng.choice(test, size=min(most, len(test)), replace=False))
    y = rows.y[chosen]
    if not len(y) or (model.task == "binary" and len(np.unique(y)) < 2):
        return None
    raw = bundle.raw_inputs(rows.frame.iloc[chosen].reset_index(drop=True), model.meta["raw"])
    inputs = bundle.build_features(model.build, raw)[names]
    scoring = SCORING[model.task]
    found = permutation_importance(model.estimator, inputs, y, scoring=scoring, n_repeats=REPEATS,
                                   random_state=options.train.seed)  # fmt: skip
    features = [Feature(n, float(m), float(s)) for n, m, s in
                zip(names, found.importances_mean, found.importances_std, strict=True)]  # fmt: skip
    features.sort(key=lambda f: (-f.loss, f.name))
    return Importance(tuple(features), SPOKEN[scoring], len(chosen))
