"""Multiclass and regression on real tables: pipeline, first comparison, and a worse candidate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tasks
from small import commit, edit, run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", tasks.TABLES)
def test_other_tasks_are_settings_and_no_changes(name: str, tmp_path: Path) -> None:
    """Pipeline, first comparison, register, a worse candidate that does not pass, gate."""
    root = tasks.repository(tmp_path / "r", name)
    for step in ("pipeline", "compare", "gate", "register"):
        ran = run(root, step)
        assert ran.status == 0, f"{step}: {ran.out}{ran.err}"
    commit(root, "The lock")
    edit(root, "params.yaml", "{max_iter: 60}", "{max_iter: 1, learning_rate: 0.01}")
    commit(root, "Hardly a tree")
    assert run(root, "pipeline").status == 10  # it is no better than a constant, or learns nothing
    ran = run(root, "compare")
    assert ran.status == 10, ran.out + ran.err
    found = json.loads((root / "reports" / "comparison.json").read_text("utf-8"))
    assert (found["base"]["version"], found["verdict"]) == ("v1.0.0", "FAIL")
    assert run(root, "gate").status == 10
