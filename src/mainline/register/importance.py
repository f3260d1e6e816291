"""Which features a model leans on: permutation importance on held-out rows.

How much worse the model becomes when one feature is shuffled among the rows (Breiman 2001, as in
scikit-learn). Of two features that say the same neither seems important.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mainline import settings
from mainline.data import schema
from mainline.errors import NotMeasured
from mainline.evaluate.metrics import measure as measured
from mainline.settings import Settings
from mainline.train import bundle
from mainline.train.train import Rows, usable_rows

# What is measured, and whether more of it is better.
METRICS = {"binary": ("average_precision", 1), "multiclass": ("accuracy", 1),
           "regression": ("mae", -1)}  # fmt: skip
MOST_ROWS, BATCH = 600, 20_000
MOST_CELLS = 60_000  # rows times features: a wide table is asked on fewer rows
REPEATS = 3
SECONDS = 300
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)


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


def apart(root: Path) -> Importance | None:
    """Like `measure`, in a process of its own that is handed no secret.

    The forker's features run in it, and a registration holds the key that signs. Raises NotMeasured
    with what that process said where it fails.
    """
    env = {k: v for k, v in os.environ.items() if not SECRET.search(k)}
    env["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "mainline.register.importance", str(root)], cwd=root, env=env,
        capture_output=True, text=True, encoding="utf-8", errors="replace", check=False,
        timeout=SECONDS,
    )  # fmt: skip
    try:
        found = json.loads(done.stdout.splitlines()[-1])
        return found and Importance(
            tuple(Feature(**f) for f in found["features"]), found["metric"], found["rows"]
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        said = (done.stderr.strip() or "no message").splitlines()[-1]
        raise NotMeasured(f"What the model leans on could not be measured: {said}") from error


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


def _main(root: Path) -> None:
    options = settings.load(root)
    found = measure(root, options, usable_rows(root, options, schema.load(root)))
    print(json.dumps(asdict(found) if found else None))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
