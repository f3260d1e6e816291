"""What the tests of the workflows share: repositories on a small GitHub."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from copies import copy_tree, make_template, render

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # for the modules beside the tests

from runner import Hub, publish  # noqa: E402 - it is beside this file


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    """A repository with this one's files as its first commit, pushed to main."""
    made = Hub(tmp_path / "hub")
    made.work.mkdir(parents=True)
    copy_tree(made.work)
    return publish(made)


@pytest.fixture
def forked(tmp_path: Path) -> Hub:
    """A repository that copier rendered from this one, pushed to main."""
    made = Hub(tmp_path / "hub")
    (tmp_path / "template").mkdir()
    answers = {"project_name": "Customer churn", "owner": "acme"}
    render(make_template(tmp_path / "template"), made.work, answers)
    return publish(made)


@pytest.fixture
def stubbed(hub: Hub) -> Hub:
    """The same with a stub in the place of the launcher: only the workflows are tried."""
    shutil.copy2(HERE / "stub.py", hub.work / "mainline")
    (hub.work / "mainline").chmod(0o755)
    hub.commit("Stub")
    hub.push("refs/heads/main")
    (hub.folder / "calls").mkdir()
    hub.env["STUB"] = str(hub.folder / "calls")
    return hub
