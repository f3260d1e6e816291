"""The offline answers that replayed requests are held against."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mainline.evaluate import predictions
from mainline.files import digest_tree
from mainline.rollout import versions


def test_answers_of_evaluate_are_taken_of_the_same_model_and_rows_only(
    repository: Path, tmp_path: Path
) -> None:
    """Of another model, of a row that was not evaluated, or of a damaged file nothing is taken."""
    digest, kept = digest_tree(repository / "models"), tmp_path / "answers.parquet"
    left = repository / "reports" / "predictions.parquet"
    ids = predictions.read(left).frame["row_id"].head(20)
    assert not versions._evaluated(repository, "sha256:" + "0" * 64, ids, kept)
    assert not versions._evaluated(repository, digest, pd.Series([*ids, "another"]), kept)
    assert not kept.exists()
    assert versions._evaluated(repository, digest, ids, kept)
    assert kept.read_bytes() == left.read_bytes()
    kept.unlink()
    left.write_bytes(b"no table")
    assert not versions._evaluated(repository, digest, ids, kept)
