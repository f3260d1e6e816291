"""Your model, as it was trained.

The house proves the rest by itself, under the limits of `gate.model` in params.yaml: that it beats
a constant, learns, trains the same again, stands noise, missing and unseen values. Cases that must
come out right are lines of `cases.csv` beside this file: a name, what is expected (`expect`,
`min_score`, `max_score`), and the features that matter; an empty cell is a missing value, and a
feature without a column takes a usual one. What no line can say is a test here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mainline.data import schema
from mainline.train import bundle


@pytest.fixture(scope="module")
def model(trained: Path) -> bundle.Bundle:
    """The model in models/: `model.predict(frame)` gives scores, `model.decide` decisions."""
    return bundle.load(trained / "models", trained)


def test_nothing_personal_goes_in(trained: Path, model: bundle.Bundle) -> None:
    """The model asks for feature columns only: no personal data, id, entity, group or target."""
    rules = schema.load(trained)
    asked = {entry["name"] for entry in model.meta["raw"]}
    assert asked == {c.name for c in rules.features}
    assert not asked & rules.personal
