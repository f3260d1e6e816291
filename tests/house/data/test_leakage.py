"""A column that tells the target by itself, or that is known only later, does not get through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import tables

from mainline.data.leakage import check_alone, check_later, strength
from mainline.verdict import Check, Verdict

N = 2000
ALL = pd.Series(True, index=range(N))


def column(values: Any) -> pd.Series:
    """A column as a typed frame has it."""
    found = pd.Series(values)
    return found.astype("float64" if found.dtype.kind in "iuf" else object)


def alone(frame: pd.DataFrame, **gate: Any) -> dict[str, Check]:
    """What `check_alone` says, by name."""
    options = tables.settings(gate={"metric": "roc_auc", "delta": 0.01, "data": gate})
    keep = pd.Series(True, index=frame.index)
    return {c.name: c for c in check_alone(frame, keep, options, tables.schema())}


def test_a_sound_table_passes_with_its_strongest_column() -> None:
    """The strongest column is named, so that a reader sees how far from the limit it is."""
    found = alone(tables.typed(N))
    assert list(found) == ["leakage"]
    assert (found["leakage"].verdict, found["leakage"].scope) == (Verdict.PASS, "size")
    assert 0.5 < found["leakage"].value < 0.7


@pytest.mark.parametrize(
    ("noise", "verdict"), [(0.0, Verdict.FAIL), (0.1, Verdict.INCONCLUSIVE), (0.4, Verdict.PASS)]
)
def test_a_copy_of_the_target_is_refused_and_a_noisy_one_asked_about(
    noise: float, verdict: Verdict
) -> None:
    """A tenth of the labels thrown anew leaves a column that a person has to look at."""
    frame, rng = tables.typed(N), np.random.default_rng(1)
    other = np.where(rng.random(N) < noise, 1 - frame["y"], frame["y"])
    found = alone(frame.assign(size=other.astype(float)))
    said = found.get("size: leakage", found.get("leakage"))
    assert said is not None
    assert said.verdict is verdict


def test_being_filled_is_enough() -> None:
    """The lifeboat's number: whatever it says, who has one survived."""
    frame, rng = tables.typed(N), np.random.default_rng(1)
    has = (frame["y"] == 1) & (rng.random(N) < 0.97) | (frame["y"] == 0) & (rng.random(N) < 0.01)
    boat = np.where(has, rng.choice(["a", "b", "c"], N), None)
    found = alone(frame.assign(kind=boat))["kind: leakage"]
    assert found.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)
    assert found.value > 0.9


def test_a_column_that_is_named_as_strong_is_let_through() -> None:
    """And a limit of null refuses nothing; both show the figure."""
    frame = tables.typed(N).assign(size=lambda f: f["y"].astype(float))
    for gate in ({"strong": ["size"]}, {"leakage": None}):
        found = alone(frame, **gate)
        assert list(found) == ["leakage"]
        assert found["leakage"].value == 1.0


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks_stand_on_the_same_scale(task: str) -> None:
    """A copy is near 1, a noisy one in between, a stranger at 0, whatever the order of values."""
    rng = np.random.default_rng(2)
    values = rng.integers(0, 3, N) if task == "multiclass" else rng.lognormal(0, 2, N)
    y = values if task == "multiclass" else pd.Series(values).rank(pct=True).to_numpy()
    thrown = np.where(rng.random(N) < 0.1, rng.permutation(values), values)
    assert strength(column(values), y, task).value > 0.98
    assert strength(column(-values), y, task).value > 0.98
    assert 0.8 < strength(column(thrown), y, task).value < 0.97
    assert strength(column(rng.permutation(values)), y, task).value < 0.1


def test_a_value_that_is_its_own_group_predicts_nothing() -> None:
    """Out of fold a column of names, each there once, is no copy of the target."""
    y = np.random.default_rng(3).integers(0, 2, N)
    names = column([f"name {i}" for i in range(N)])
    assert strength(names, y, "binary").value < 0.1


def test_no_order_is_needed() -> None:
    """A target that is 1 in the middle of a column only is seen, too."""
    values = np.random.default_rng(4).normal(0, 1, N)
    y = (np.abs(values) < 0.5).astype(int)
    assert strength(column(values), y, "binary").value > 0.9


def test_few_rows_are_not_believed() -> None:
    """Twenty labels say nothing; that is no PASS."""
    assert alone(tables.typed(20))["leakage"].verdict is Verdict.INCONCLUSIVE


def later(frame: pd.DataFrame, keep: pd.Series = ALL, **changes: Any) -> dict[str, Check]:
    """What `check_later` says, by name."""
    return {
        c.name: c for c in check_later(frame, keep, tables.settings(), tables.schema(**changes))
    }


def test_a_column_that_waits_for_the_label_is_found() -> None:
    """Filled where the label is known, empty in the newest rows: it is known only afterwards."""
    frame = tables.typed(N)
    keep = pd.Series(np.arange(N) < 1800)
    assert later(frame, keep)["later"].verdict is Verdict.PASS
    empty = frame.assign(size=frame["size"].where(keep))
    assert later(empty, keep)["size: later"].verdict is Verdict.FAIL
    rng = np.random.default_rng(0)
    some = frame.assign(size=frame["size"].where(keep | (rng.random(N) < 0.6)))
    assert later(some, keep)["size: later"].verdict is Verdict.INCONCLUSIVE


def test_without_a_time_rows_without_label_are_asked_about_only() -> None:
    """They may be of another kind for good reasons."""
    frame, keep = tables.typed(N), pd.Series(np.arange(N) < 1800)
    frame = frame.assign(size=frame["size"].where(keep), y=frame["y"].where(keep))
    columns = [c for c in tables.COLUMNS if c["name"] not in ("at", "known")]
    found = later(frame, keep, time=None, known_at=None, columns=columns)
    assert found["size: later"].verdict is Verdict.INCONCLUSIVE


def test_a_column_that_is_filled_for_one_class_only_is_found() -> None:
    """The number of a body: too few have one to predict all, and it gives the class away."""
    frame, rng = tables.typed(N), np.random.default_rng(0)
    body = (frame["y"] == 0) & (rng.random(N) < 0.15)
    found = later(frame.assign(size=np.where(body, 1.0, np.nan)))
    assert found["size: one class"].verdict is Verdict.INCONCLUSIVE
    either = rng.random(N) < 0.15
    assert list(later(frame.assign(size=np.where(either, 1.0, np.nan)))) == ["later"]


def test_a_rare_class_that_is_absent_says_little() -> None:
    """Where a guess is right anyway, a column filled for the common class only is no finding."""
    frame = tables.typed(N).assign(y=(np.arange(N) % 50 == 0).astype(float))
    filled = np.where((frame["y"] == 0) & (np.arange(N) % 3 == 0), 1.0, np.nan)
    assert list(later(frame.assign(size=filled))) == ["later"]
