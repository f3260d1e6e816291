"""One group that got worse is found, whatever the mean does; small groups are only shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import tables

from mainline.compare import slices
from mainline.compare.difference import Pair, differences
from mainline.verdict import Check, Verdict

N = 4000
METRIC = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "mae"}
DELTA = {"binary": 0.02, "multiclass": 0.02, "regression": 0.1}


def made(task: str, broken: bool, seed: int = 0) -> tuple[Pair, pd.DataFrame]:
    """A candidate that is better, but where `broken` for the tenth of the rows in group z."""
    rng = np.random.default_rng(seed)
    group = np.where(np.arange(N) % 10 == 0, "z", "x")
    bad = broken & (group == "z")
    frame = pd.DataFrame({"id": [f"r{i}" for i in range(N)], "group": group})
    if task == "binary":
        y = (rng.random(N) < 0.3).astype(int)
        base = y + rng.normal(0, 1, N)
        new = np.where(bad, rng.normal(0, 1, N), base + 0.5 * y)
        return Pair(task, y, base[:, None], base > 1, new[:, None], new > 1), frame
    if task == "multiclass":
        y = rng.integers(0, 3, N)
        base, new = (np.where(rng.random(N) < wrong, rng.integers(0, 3, N), y)
                     for wrong in (0.4, np.where(bad, 0.9, 0.3)))  # fmt: skip
        return Pair(task, y, np.eye(3)[base], base, np.eye(3)[new], new), frame
    y = rng.normal(0, 1, N)
    base, new = (y + rng.normal(0, 1, N) * spread for spread in (1.0, np.where(bad, 1.8, 0.8)))
    return Pair(task, y, base[:, None], base, new[:, None], new), frame


def judged(pair: Pair, frame: pd.DataFrame) -> tuple[list[Check], list[dict[str, Any]]]:
    """The checks on the slices by `group`, and their lines."""
    gate = {"metric": METRIC[pair.task], "delta": DELTA[pair.task]}
    model = {"name": "toy", "task": pair.task, "target": "y", "positive": 1}
    asked = {"metrics": [METRIC[pair.task]], "slices": ["group"]}
    options = tables.settings(model=model, gate=gate, evaluate=asked)
    told: dict[str, Any] = {"slices": []}
    found = slices.check(pair, frame["id"], frame, options, tables.schema(), options.gate, told)
    return found, told["slices"]


@pytest.mark.parametrize("task", METRIC)
def test_a_slice_that_is_broken_fails_while_the_mean_improves(task: str) -> None:
    """Of each task; the slice is named, and the others pass."""
    pair, frame = made(task, broken=True)
    assert differences(pair, [METRIC[task]], 50)[0].gain > 0
    found, lines = judged(pair, frame)
    assert [(c.verdict, c.scope) for c in found] == [(Verdict.FAIL, "group = z")]
    assert {s["slice"]: s["verdict"] for s in lines} == {"group = x": "PASS", "group = z": "FAIL"}


@pytest.mark.parametrize("task", METRIC)
def test_slices_that_hold_pass(task: str) -> None:
    """One check that counts them."""
    found, _ = judged(*made(task, broken=False))
    assert [(c.name, c.verdict, c.n) for c in found] == [("slices", Verdict.PASS, 2)]


def test_a_small_slice_is_shown_and_decides_nothing() -> None:
    """Ten rows, all of them worse."""
    pair, frame = made("regression", broken=False)
    frame.loc[:9, "group"] = "few"
    pair.scores[:10] += 100
    found, lines = judged(pair, frame)
    assert [c.verdict for c in found] == [Verdict.PASS]
    (few,) = [s for s in lines if s["slice"] == "group = few"]
    assert (few["verdict"], few["n"], few["low"]) == (None, 10, None)
    assert few["candidate"] > few["base"]


def test_equal_models_fail_no_slice_by_chance() -> None:
    """Twenty slices of one truth, ten times: with Holm's correction none is called worse."""
    for seed in range(10):
        pair, frame = made("binary", broken=False, seed=seed)
        rng = np.random.default_rng(seed)
        noise = rng.normal(0, 0.05, N)
        pair = Pair("binary", pair.y, pair.base_scores, pair.base_decisions,
                    pair.base_scores + noise[:, None], pair.base_decisions)  # fmt: skip
        frame["group"] = [f"g{i % 20}" for i in range(N)]
        assert [c.verdict for c in judged(pair, frame)[0]] == [Verdict.PASS], seed


def test_a_slice_of_one_entity_is_not_a_pass() -> None:
    """A hundred rows of one customer say nothing of how sure a difference is."""
    pair, frame = made("regression", broken=False)
    frame["group"] = np.where(np.arange(N) < 100, "one", "x")
    groups = np.where(np.arange(N) < 100, 0, np.arange(N))
    pair = Pair(pair.task, pair.y, pair.base_scores, pair.base_decisions, pair.scores,
                pair.decisions, groups)  # fmt: skip
    found, _ = judged(pair, frame)
    assert {(c.scope, c.verdict) for c in found} == {("group = one", Verdict.INCONCLUSIVE)}
