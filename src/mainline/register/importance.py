"""Which features a model leans on: permutation importance on held-out rows.

How much worse the model becomes when one feature is shuffled among the rows (Breiman 2001, as in
scikit-learn). Of two features that say the same neither seems important.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mainline.evaluate.metrics import measure as measured
from mainline.settings import Settings
from mainline.train import bundle
from mainline.train.train import Rows

# What is measured, and whether more of it is better.
METRICS = {"binary": ("average_precision", 1), "multiclass": ("accuracy", 1),
           "regression": ("mae", -1)}  # fmt: skip
MOST_ROWS, BATCH = 600, 20_000
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
    metric, sign = METRICS[model.task]
    orders = [rng.permutation(len(y)) for _ in range(REPEATS)]

    def score(frame: pd.DataFrame) -> list[float]:
        """The metric of each copy of the rows in `frame`."""
        scores = bundle.scores_of(model.estimator, frame, model.task)
        parts = np.split(scores, len(frame) // len(y))
        return [sign * measured(model.task, [metric], y, s, model.decide(s))[metric] for s in parts]

    whole = score(inputs)[0]
    shuffled = [
        inputs.assign(**{name: inputs[name].iloc[order].set_axis(inputs.index)})
        for name in names
        for order in orders
    ]
    found: list[float] = []
    # Many copies in one call: a call costs more than its rows.
    size = max(1, BATCH // len(y))
    for start in range(0, len(shuffled), size):
        found += score(pd.concat(shuffled[start : start + size], ignore_index=True))
    lost = whole - np.array(found).reshape(len(names), REPEATS)
    features = [Feature(name, float(row.mean()), float(row.std()))
                for name, row in zip(names, lost, strict=True)]  # fmt: skip
    features.sort(key=lambda f: (-f.loss, f.name))
    return Importance(tuple(features), metric.replace("_", " "), len(chosen))
