"""Your model, as it was trained: better than a guess, reproducible, and sturdy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mainline import settings
from mainline.data import schema
from mainline.evaluate import evaluate
from mainline.evaluate.metrics import direction, measure
from mainline.train import bundle, train


@pytest.fixture(scope="module")
def model(trained: Path) -> bundle.Bundle:
    """The model in models/."""
    return bundle.load(trained / "models", trained)


@pytest.fixture(scope="module")
def test_rows(trained: Path) -> pd.DataFrame:
    """The rows of the part `test`."""
    frame, part = evaluate.held_out(trained, settings.load(trained), schema.load(trained))
    return frame[part == "test"].reset_index(drop=True)


def test_it_beats_a_guess(trained: Path, model: bundle.Bundle, test_rows: pd.DataFrame) -> None:
    """The gate's metric on the test part is better than that of a constant answer."""
    name = settings.load(trained).gate.metric
    y = bundle.encode_target(test_rows[model.meta["target"]], model.task, model.meta["classes"])
    scores = model.predict(test_rows)
    shares = (
        [y.mean()] if scores.shape[1] == 1 else np.bincount(y, minlength=scores.shape[1]) / len(y)
    )
    guess = np.tile(np.asarray(shares, dtype=float), (len(y), 1))
    own, dummy = (measure(model.task, [name], y, s, model.decide(s))[name] for s in (scores, guess))
    assert direction(name) * (own - dummy) > 0


def test_training_again_gives_the_same_model(trained: Path, model: bundle.Bundle) -> None:
    """The same estimator to the last byte, so what was approved can be made again."""
    from mainline.train import skops_file

    options, rules = settings.load(trained), schema.load(trained)
    rows = train.usable_rows(trained, options, rules)
    learn = (rows.part == "train").to_numpy()
    typed = bundle.raw_inputs(rows.frame, bundle.raw_columns(rules.features, rows.frame[learn]))
    with train.one_thread(trained, options):
        built = bundle.build_features(model.build, typed)
        again = [skops_file.dump(train.fit(built[learn], rows.y[learn], trained, options))
                 for _ in range(2)]  # fmt: skip
    assert again[0] == again[1]


def test_scores_are_finite(model: bundle.Bundle, test_rows: pd.DataFrame) -> None:
    """For every row that there is."""
    scores = model.predict(test_rows)
    assert scores.shape[0] == len(test_rows)
    assert np.isfinite(scores).all()


def test_unknown_and_missing_values_are_scored(model: bundle.Bundle) -> None:
    """A new category, or nothing at all in a row, must not stop the service."""
    row = model.meta["golden"][0]["row"]
    for entry in model.meta["raw"]:
        values = [None] if entry["type"] in ("number", "integer") else [None, "never seen"]
        for value in values:
            scores = model.predict(pd.DataFrame([{**row, entry["name"]: value}]))
            assert np.isfinite(scores).all(), (entry["name"], value)
    assert np.isfinite(model.predict(pd.DataFrame([dict.fromkeys(row)]))).all()


def test_nothing_personal_goes_in(trained: Path, model: bundle.Bundle) -> None:
    """The model asks for feature columns only: no personal data, id, entity, group or target."""
    rules = schema.load(trained)
    asked = {entry["name"] for entry in model.meta["raw"]}
    assert asked == {c.name for c in rules.features}
    assert not asked & rules.personal
