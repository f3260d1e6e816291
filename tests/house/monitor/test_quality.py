"""Streams of matured outcomes: what counts, when, and in which order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mainline.monitor import quality
from mainline.serve import known_labels
from mainline.train import profile


def rows(**columns: list) -> pd.DataFrame:
    """A few outcomes."""
    frame = pd.DataFrame(columns)
    frame["ts"] = pd.to_datetime(frame["ts"])
    frame["known_at"] = pd.to_datetime(frame["known_at"])
    return frame


def test_a_label_matures_when_it_is_known_and_its_row_is_old_enough():
    """Early reports wait for the day's other labels; late ones count when they come."""
    frame = rows(
        ts=["2024-01-02", "2024-01-01", "2024-01-01", "2024-01-01"],
        known_at=["2024-01-05", "2024-01-31", "2024-03-01", None],
        y=[1, 0, 1, 0],
    )
    found = known_labels.matured(frame, pd.Timestamp("2024-02-02"), 30)
    assert found["ts"].dt.day.tolist() == [1, 2]
    assert found["matured_at"].tolist() == [pd.Timestamp("2024-01-31"), pd.Timestamp("2024-02-01")]
    assert len(known_labels.matured(frame, pd.Timestamp("2024-03-02"), 30)) == 3


def matured(y, decision) -> pd.DataFrame:
    """Outcomes that matured one a day."""
    days = pd.date_range("2024-01-01", periods=len(y))
    return pd.DataFrame({"matured_at": days, "y": y, "decision": decision, "score": decision})


def test_binary_has_a_stream_of_positives_and_one_of_alerts():
    """A missed positive is bad in the first, a false alert in the second."""
    reference = profile.quality_reference(np.array([1, 0]), np.zeros((2, 1)), np.array([1, 1]),
                                          "binary")  # fmt: skip
    found = quality.streams(matured([1, 1, 0, 0], [1, 0, 1, 0]), reference)
    assert found["missed"]["bad"].tolist() == [False, True]
    assert found["false_alert"]["bad"].tolist() == [False, True]


def test_other_tasks_have_one_stream():
    """A wrong class; an error beyond the reference's ninth decile."""
    classes = profile.quality_reference(np.array([0, 1]), np.zeros((2, 1)), np.array([0, 1]),
                                        "multiclass")  # fmt: skip
    wrong = quality.streams(matured([0, 1, 2], [0, 2, 2]), classes)["wrong"]
    assert wrong["bad"].tolist() == [False, True, False]
    reference = {"task": "regression", "streams": {"large_error": {"limit": 1.0}}}
    found = quality.streams(matured([0.0, 0.0], [0.5, -2.0]), reference)["large_error"]
    assert found["bad"].tolist() == [False, True]


def test_a_fall_is_dated_by_the_label_that_showed_it():
    """fired_at is when that label matured, and stays although later outcomes are good."""
    rng = np.random.default_rng(0)
    y = np.ones(400, dtype=int)
    decision = np.r_[rng.random(150) < 0.2, np.ones(250, dtype=bool)].astype(int)
    caught = (np.arange(300) % 5 > 0).astype(int)
    reference = profile.quality_reference(np.ones(300), np.zeros((300, 1)), caught, "binary")
    missed = quality.watch(matured(y, decision), reference)[0]
    assert missed.name == "missed"
    assert missed.fired_at is not None
    assert missed.fired_at < pd.Timestamp("2024-01-01") + pd.Timedelta(days=100)
    assert "bound" in quality.sentence(missed)


def test_a_stream_without_reference_or_outcomes_says_nothing():
    """No reference positives: the bound is 1 and nothing ever fires; no outcome: no rate."""
    reference = profile.quality_reference(np.zeros(5), np.zeros((5, 1)), np.zeros(5), "binary")
    missed, false_alert = quality.watch(matured([1] * 50, [0] * 50), reference)
    assert missed.bound == 1.0
    assert missed.fired_at is None
    assert false_alert.rate is None
    assert "no matured label" in quality.sentence(false_alert)


def test_figures_are_none_where_they_are_not_defined():
    """No positives: no recall; nothing at all: no accuracy."""
    empty = np.zeros(0)
    found = quality.figures(np.zeros(3), np.zeros(3), "binary")
    assert found == {"positives": 0, "recall": None, "precision": None, "fpr": 0.0}
    assert quality.figures(empty, empty, "multiclass") == {"accuracy": None}
    assert quality.figures(np.array([1.0]), np.array([3.0]), "regression")["mae"] == pytest.approx(
        2
    )
