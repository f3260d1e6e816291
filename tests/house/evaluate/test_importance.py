"""What a model leans on: the features that it reads, and no others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mainline.evaluate import importance
from mainline.train import bundle


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_task_has_it(room: Callable[..., Any], task: str) -> None:
    """Some feature matters, the most important comes first, and twice asked it says the same."""
    about = room(task=task).subject()
    found = importance.of(about)
    assert found is not None and found["metric"] == importance.METRICS[task][0]
    losses = [f["loss"] for f in found["features"]]
    assert losses == sorted(losses, reverse=True) and losses[0] > 0
    assert importance.of(about) == found


def test_the_feature_that_decides_is_the_most_important(
    room: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that reads one column alone leans on that one, and on no other at all."""
    about = room().subject()
    monkeypatch.setattr(
        bundle, "scores_of",
        lambda estimator, inputs, task: inputs[["b"]].fillna(0).to_numpy(float),
    )  # fmt: skip
    found = importance.of(about)
    assert found is not None
    losses = {f["name"]: f["loss"] for f in found["features"]}
    assert losses.pop("b") != 0
    assert set(losses.values()) == {0}


def test_one_class_alone_has_none(room: Callable[..., Any]) -> None:
    """Where no test row is positive there is nothing to lose."""
    about = room().subject()
    assert importance.of(dataclasses.replace(about, y=np.zeros_like(about.y))) is None
