"""A rehearsal: whose offline answers it takes, where it runs, and what it may end."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from mainline.errors import DataError, RaceError, UsageError
from mainline.evaluate import predictions
from mainline.files import digest_tree
from mainline.rollout import state, versions


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


def rehearsed(root: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[Any]:
    """Which targets a rehearsal ends that meets `error` once it has begun."""
    ended: list[Any] = []

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setenv("MAINLINE_TARGET", "ssh://someone@production/srv")
    options = SimpleNamespace(model=SimpleNamespace(name="m"), rollout=SimpleNamespace(plan="auto"))
    monkeypatch.setattr(versions.settings, "load", lambda root: options)
    monkeypatch.setattr(versions.registry, "find", lambda *_: None)
    monkeypatch.setattr(versions.admit, "require", lambda *_: None)
    monkeypatch.setattr(versions, "bento_of", fail)
    monkeypatch.setattr(versions.rollout, "down", lambda root, target=None: ended.append(target))
    with pytest.raises(type(error)):
        versions.rehearse_version(root, "v1.0.0")
    return ended


def test_a_rehearsal_leaves_the_environment_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That nobody needs a key holds for its own services, and not for what comes after it."""
    monkeypatch.delenv("MAINLINE_KEYS", raising=False)
    rehearsed(tmp_path, monkeypatch, DataError("no model"))
    assert "MAINLINE_KEYS" not in os.environ


def test_a_rehearsal_ends_what_it_started_and_never_production(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a target set it is its own folder that is ended, and not what production serves."""
    (target,) = rehearsed(tmp_path, monkeypatch, DataError("no model"))
    assert target.folder == (tmp_path / "serving").resolve()


def test_a_rehearsal_that_is_refused_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another command is at work in serving/: what runs there is that command's."""
    assert rehearsed(tmp_path, monkeypatch, RaceError("another is at work")) == []


@pytest.mark.parametrize(("by", "refused"), [("ann@laptop", True), ("rehearsal", False)])
def test_a_rehearsal_keeps_off_a_folder_that_serves(by: str, refused: bool) -> None:
    """What a person started there would be superseded and ended; a rehearsal's leftovers may be."""
    here = SimpleNamespace(
        address="serving/", observe=lambda: {"up": True},
        read=lambda: state.State(version="v1.0.0"),
        history=lambda: [{"event": "started", "by": by}],
    )  # fmt: skip
    if not refused:
        versions._require_stage(here)  # type: ignore[arg-type]
        return
    with pytest.raises(UsageError, match=r"serves v1\.0\.0"):
        versions._require_stage(here)  # type: ignore[arg-type]
