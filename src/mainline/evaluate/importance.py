"""Which features a model leans on: permutation importance on held-out rows.

How much worse the model becomes when one feature is shuffled among the rows (Breiman 2001, as in
scikit-learn). Of two features that say the same neither seems important.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mainline.evaluate.metrics import measure
from mainline.evaluate.subject import SEED, Subject
from mainline.train import bundle

# What is measured, and whether more of it is better.
METRICS = {"binary": ("average_precision", 1), "multiclass": ("accuracy", 1),
           "regression": ("mae", -1)}  # fmt: skip
MOST_ROWS, BATCH = 600, 20_000
MOST_CELLS = 60_000  # rows times features: a wide table is asked on fewer rows
REPEATS = 3


def of(subject: Subject) -> dict[str, Any] | None:
    """What the metric loses without each feature, on a sample of the test rows.

    Returns `{"metric", "rows", "repeats", "features": [{"name", "loss", "sd"}]}`, the most
    important first, with mean and sd over the shuffles; None where there is nothing to measure on.
    It is shown and decides nothing.
    """
    model = subject.model
    names = [f["name"] for f in model.meta["features"]]
    most = max(100, min(MOST_ROWS, MOST_CELLS // max(1, len(names))))
    rng = np.random.default_rng([SEED, 11])
    chosen = np.sort(rng.choice(len(subject.test), min(most, len(subject.test)), replace=False))
    y = subject.y[chosen]
    if not len(y) or (subject.task == "binary" and len(np.unique(y)) < 2):
        return None
    raw = bundle.raw_inputs(subject.at(chosen), model.meta["raw"])
    inputs = bundle.build_features(model.build, raw)[names]
    orders = [rng.permutation(len(y)) for _ in range(REPEATS)]
    whole = _metric(subject, y, inputs)[0]
    shuffled = [
        inputs.assign(**{name: inputs[name].iloc[order].set_axis(inputs.index)})
        for name in names
        for order in orders
    ]
    found: list[float] = []
    # Many copies in one call: a call costs more than its rows.
    size = max(1, BATCH // len(y))
    for start in range(0, len(shuffled), size):
        together = pd.concat(shuffled[start : start + size], ignore_index=True)
        found += _metric(subject, y, together)
    lost = whole - np.array(found).reshape(len(names), REPEATS)
    features = [{"name": name, "loss": float(row.mean()), "sd": float(row.std())}
                for name, row in zip(names, lost, strict=True)]  # fmt: skip
    features.sort(key=lambda f: (-f["loss"], f["name"]))
    return {"metric": METRICS[subject.task][0], "rows": len(y), "repeats": REPEATS,
            "features": features}  # fmt: skip


def _metric(subject: Subject, y: np.ndarray, inputs: pd.DataFrame) -> list[float]:
    """The metric of each copy of the rows in `inputs`; more is better."""
    metric, sign = METRICS[subject.task]
    model, task = subject.model, subject.task
    scores = bundle.scores_of(model.estimator, inputs, task)
    parts = np.split(scores, len(inputs) // len(y))
    return [sign * measure(task, [metric], y, s, model.decide(s))[metric] for s in parts]
