"""Evaluation: predictions in the pinned form, and checks that a broken model fails."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tables

from mainline.errors import NotMeasured
from mainline.evaluate import evaluate, predictions
from mainline.verdict import Verdict


def made(n: int = 50, scores: np.ndarray | None = None) -> predictions.Predictions:
    """Predictions for made-up rows."""
    frame = tables.typed(n)
    given = np.linspace(0, 1, n)[:, None] if scores is None else scores
    y = frame["y"].to_numpy(dtype=int)
    part = pd.Series("test", index=frame.index)
    return predictions.assemble(frame, tables.schema(), y, given, (given[:, 0] > 0.5) * 1, part)


def test_predictions_have_the_pinned_columns_and_order(tmp_path: Path) -> None:
    """row_id, entity, time, y, scores, decision, part; sorted by row_id; as they were written."""
    path = tmp_path / "predictions.parquet"
    predictions.write(made(), path)
    found = predictions.read(path)
    assert list(found.frame.columns) == [
        "row_id", "entity", "time", "y", "score_0", "decision", "part",
    ]  # fmt: skip
    assert found.frame["row_id"].is_monotonic_increasing
    assert found.scores.dtype == np.float64
    assert np.array_equal(found.scores, made().scores)
    assert found.scores.shape == (50, 1)


def test_more_than_ten_scores_keep_their_order() -> None:
    """score_10 comes after score_9."""
    scores = np.arange(50 * 12, dtype=float).reshape(50, 12)
    assert (np.diff(made(scores=scores).scores, axis=1) == 1).all()


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"not a table"])
def test_a_file_that_is_no_predictions_could_not_be_measured(
    tmp_path: Path, content: bytes | None
) -> None:
    """Missing or damaged: status 12."""
    path = tmp_path / "predictions.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NotMeasured):
        predictions.read(path)


def test_another_table_is_not_taken_for_predictions(tmp_path: Path) -> None:
    """A column that is gone is named."""
    path = tmp_path / "predictions.parquet"
    made().frame.drop(columns="y").to_parquet(path)
    with pytest.raises(NotMeasured, match="no column 'y'"):
        predictions.read(path)


@pytest.mark.parametrize(
    ("scores", "metrics", "verdict"),
    [
        (np.linspace(0, 1, 50), {"roc_auc": 0.9}, Verdict.PASS),
        (np.full(50, 0.3), {"roc_auc": 0.5}, Verdict.FAIL),
        (np.linspace(0, 1, 50), {"roc_auc": 0.4}, Verdict.FAIL),
        (np.linspace(0, 1, 50), {"recall": math.nan}, Verdict.INCONCLUSIVE),
    ],
    ids=["good", "constant", "worse than chance", "not measured"],
)
def test_a_broken_model_fails(scores: np.ndarray, metrics: dict, verdict: Verdict) -> None:
    """The same answer for every row, or worse than a coin; what has no number does not pass."""
    checks = evaluate.judge(made(scores=scores[:, None]), metrics, "binary")
    assert max(checks, key=lambda c: list(Verdict).index(c.verdict)).verdict is verdict


def test_the_report_files_of_the_sample(sample_repository: Path) -> None:
    """Metrics of both held-out parts and of each slice, curves and pictures."""
    reports = sample_repository / "reports"
    found = json.loads((reports / "metrics.json").read_text("utf-8"))
    assert set(found) == {"rows", "slices", "test", "tune"}
    assert set(found["slices"]) == {"age_band", "channel"}
    assert sum(s["n"] for s in found["slices"]["channel"].values()) == found["rows"]["n"]
    names = {f.name for f in (reports / "plots").iterdir()}
    assert {"roc.csv", "roc.png", "precision_recall.png", "calibration.png"} <= names
    whole = predictions.read(reports / "predictions.parquet").frame
    assert set(whole["part"]) == {"tune", "test"}
    assert not whole["row_id"].duplicated().any()
    assert "@" not in whole.to_csv()


def test_drawing_again_gives_the_same_bytes(sample_repository: Path, tmp_path: Path) -> None:
    """A plot that did not change makes no difference in Git or DVC."""
    from mainline.evaluate.plots import draw_all

    test = predictions.read(sample_repository / "reports" / "predictions.parquet").of("test")
    for folder in ("a", "b"):
        draw_all(tmp_path / folder, "binary", test.y, test.scores, test.decisions, ["0", "1"], 0.5)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks_are_drawn_too(task: str, tmp_path: Path) -> None:
    """Confusion and scores, or predicted against observed."""
    from mainline.evaluate.plots import draw_all

    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60) if task == "multiclass" else rng.normal(size=60)
    scores = rng.dirichlet([1, 1, 1], 60) if task == "multiclass" else y[:, None] + 0.1
    decisions = scores.argmax(axis=1) if task == "multiclass" else scores[:, 0]
    paths = draw_all(tmp_path, task, y, scores, decisions, ["a", "b", "c"], None)
    assert paths
    assert all(p.stat().st_size > 1000 for p in paths if p.suffix == ".png")
