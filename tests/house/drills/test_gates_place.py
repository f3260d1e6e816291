"""Where drills are held: what is taken along into a throw-away clone, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import git

from mainline.drill import place, rows


def test_of_a_large_table_whole_customers_are_left_out(
    sample_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third of the rows is kept, each customer whole or not at all, and in every part some."""
    monkeypatch.setattr(place, "MOST_ROWS", 1200)
    said = place.Place(sample_repository, tmp_path / "p").found()
    whole, kept = rows.read(sample_repository), rows.read(tmp_path / "p" / "base")
    assert said.startswith(f"{len(kept.raw)} of {len(whole.raw)} rows")
    assert 900 < len(kept.raw) < 1500
    of_all, of_kept = (r.raw["customer_id"].value_counts() for r in (whole, kept))
    assert of_all.reindex(of_kept.index).eq(of_kept).all()
    assert set(kept.part.dropna()) == {"train", "tune", "test"}


def test_a_small_table_comes_file_for_file(sample_repository: Path, tmp_path: Path) -> None:
    """The data digest, and so the model, is that of the checkout; history and tags stay behind."""
    here = place.Place(sample_repository, tmp_path / "p")
    assert here.found() == ""
    base = tmp_path / "p" / "base"
    assert (base / "data.dvc").read_text() == (sample_repository / "data.dvc").read_text()
    assert git(base, "tag") == ""
    cache = (base / ".dvc" / "config.local").read_text("utf-8")
    assert str(sample_repository) not in cache, "the cache of the checkout would be written to"


def test_nothing_of_ci_goes_into_a_drill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label on the pull request whose job runs the drills accepts none of them."""
    for name in ("GITHUB_TOKEN", "GITHUB_EVENT_PATH", "MAINLINE_UNDECIDED", "DVC_STAGE"):
        monkeypatch.setenv(name, "x")
    found = place.Place(tmp_path, tmp_path)._environment(tmp_path)
    assert not [n for n in found if n.startswith("GITHUB_")]
    assert not {"MAINLINE_UNDECIDED", "DVC_STAGE", "MAINLINE_ROOT"} & set(found)
    assert found["TMPDIR"] == str(tmp_path / "tmp")
