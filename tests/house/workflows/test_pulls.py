"""Pull requests from end to end: act runs the workflows with the real commands, GitHub is emulated.

One small repository lives through all of it, so the tests stand in the order of its life.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import conftest
import forge
import pytest
import town as towns

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def town(sample_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[towns.Town]:
    """The repository, its remote and its GitHub."""
    folder = tmp_path_factory.mktemp("town")
    hub = towns.settle(conftest.Hub(folder / "hub"), sample_repository, folder / "remember")
    with forge.serving(folder) as github:
        yield towns.Town(hub, github)


def verdicts(town: towns.Town) -> dict[str, str]:
    """Step -> verdict, of the artifact that the last run left."""
    folder = town.hub.artifacts / "verdicts"
    found = (json.loads(path.read_text("utf-8")) for path in folder.iterdir())
    return {v["step"]: v["verdict"] for v in found}


def test_x(town):
    t = time.time()
    run = town.push("train")
    print(time.time() - t, run.jobs(), verdicts(town))
    print(run.text()[-3000:] if run.status else "")
    t = time.time()
    p = town.propose("words", {"src/project/features.py": ('"""', '"""A word more. ')})
    run = town.train(p)
    print(time.time() - t, run.jobs(), verdicts(town))
    print(town.report()[:3000])
    for name, edits in {
        "bad": {"params.yaml": ("max_iter: 150", "max_iter: 2")},
        "undecided": {"params.yaml": ("max_iter: 150", "max_iter: 140")},
        "undecided2": {"params.yaml": ("learning_rate: 0.06", "learning_rate: 0.05")},
        "policy": {"params.yaml": ("delta: 0.03", "delta: 0.05")},
    }.items():
        t = time.time()
        p = town.propose(name, edits)
        run = town.train(p)
        print(name, time.time() - t, run.jobs(), verdicts(town))
        print(town.report()[:1500])
    assert 0
