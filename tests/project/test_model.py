"""Your estimator: unfitted, seeded, and taking the arguments of params.yaml."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from project import model

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


def test_it_takes_the_arguments_of_params_yaml():
    """What `train.args` sets is an argument of the estimator."""
    train = yaml.safe_load(PARAMS.read_text("utf-8"))["train"]
    made = model.build(seed=train["seed"], **train["args"])
    assert train["args"].items() <= made.get_params().items()


def test_the_same_seed_gives_the_same_model():
    """Two fits on the same rows give the same scores, categories and missing values included."""
    rng = np.random.default_rng(0)
    kinds = pd.Categorical(rng.choice(["a", "b"], 400))
    x = pd.DataFrame(
        {"size": np.where(rng.random(400) < 0.1, np.nan, rng.random(400)), "kind": kinds}
    )
    y = (x["size"].fillna(0) > 0.5).astype(int)
    one, two = (model.build(seed=3, max_iter=20).fit(x, y).predict_proba(x) for _ in range(2))
    assert (one == two).all()
