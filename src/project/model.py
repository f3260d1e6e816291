"""The estimator: any that follows scikit-learn's interface."""

from __future__ import annotations

from typing import Any

from sklearn.ensemble import HistGradientBoostingClassifier


def build(seed: int, **args: Any) -> HistGradientBoostingClassifier:
    """An unfitted estimator; `args` and `seed` come from the section `train` of params.yaml."""
    return HistGradientBoostingClassifier(
        categorical_features="from_dtype", random_state=seed, **args
    )
