"""Regression and multiclass on real tables: a first release, and pull requests of each kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tasks
from small import Ran, commit, edit, git, run

pytestmark = pytest.mark.slow

COMMENT = ("src/project/features.py", "    return frame", "    # As they are.\n    return frame")
WORSE = ("params.yaml", "{max_iter: 60}", "{max_iter: 2, learning_rate: 0.02}")
LOOSER = {
    "penguins.csv": ("params.yaml", "delta: 0.08", "delta: 0.2"),
    "bike_hour.csv": ("params.yaml", "delta: 5", "delta: 50"),
}


@pytest.fixture(scope="module", params=tasks.TABLES)
def released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository on a real table, whose first model was proved by all gates and registered."""
    root = tasks.repository(tmp_path_factory.mktemp("task") / request.param, request.param)
    for step in ("check", "register"):
        ran = run(root, step)
        assert ran.status == 0, f"{step}: {ran.out}{ran.err}"
    commit(root, "The lock")
    return root


def proposed(released: Path, branch: str, *change: str) -> tuple[Ran, dict[str, Any], str]:
    """What `mainline check` says of one change on a branch, its comparison and its report."""
    root = Path(shutil.copytree(released, released.parent / branch, symlinks=True))
    git(root, "switch", "--quiet", "--create", branch)
    edit(root, *change)
    commit(root, branch)
    ran = run(root, "check")
    found = json.loads((root / "reports" / "comparison.json").read_text("utf-8"))
    return ran, found, (root / "reports" / "report.md").read_text("utf-8")


def test_a_harmless_change_may_be_merged(released: Path) -> None:
    """A comment makes the model that is registered, and the report says so."""
    ran, found, report = proposed(released, "comment", *COMMENT)
    assert ran.status == 0, ran.out + ran.err
    assert (found["base"]["version"], found["verdict"]) == ("v1.0.0", "PASS")
    assert "This may be merged" in report


def test_a_worse_model_is_blocked(released: Path) -> None:
    """Hardly a tree: the gate's metric fails on the same rows, and the report shows by how much."""
    ran, found, report = proposed(released, "worse", *WORSE)
    assert ran.status == 10, ran.out + ran.err
    metric = next(m for m in found["metrics"] if m["name"] == found["metric"])
    assert (metric["verdict"], metric["high"] < 0) == ("FAIL", True)
    assert "This may not be merged" in report
    assert found["metric"] in report


def test_a_looser_limit_asks_a_person(released: Path) -> None:
    """Another delta alone is no better model, and no reason to pass."""
    ran, found, report = proposed(released, "looser", *LOOSER[released.name])
    assert ran.status == 11, ran.out + ran.err
    assert found["verdict"] == "INCONCLUSIVE"
    assert "gate.delta" in report
    assert "accept-inconclusive" in report
