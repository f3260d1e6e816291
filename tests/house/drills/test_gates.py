"""Each gate must block what it is there for, and let harmless changes through."""

from __future__ import annotations

from pathlib import Path

import pytest
import tasks
from drills.gates import Held, place_on

from mainline.drill import catalogue
from mainline.drill.kinds import Result

QUICK = ("leaked-target", "constant-model", "comment")
DRILLS = [pytest.param(d.name, marks=() if d.name in QUICK else pytest.mark.slow)
          for d in catalogue.ALL]  # fmt: skip
# What makes no sense for a table; everything else must be held.
LACKING = {
    "sample": {"broken-slice"},
    "bike_hour.csv": {"declared-future", "inverted-class", "renamed-variable", "shared-rows"},
    # Its islands are too large or have too few rows.
    "penguins.csv": {"declared-future", "inverted-class", "renamed-variable", "broken-slice"},
}
ELSEWHERE = ("leaked-target", "future-feature", "shuffled-labels", "poisoned-labels", "half-gone",
             "inverted-labels", "constant-model", "worse-model", "broken-slice", "schema-change",
             "emails", "unfixed-seed", "shared-rows", "inverted-class", "memorised-lock",
             "refactoring", "better-model")  # fmt: skip


@pytest.fixture(scope="session")
def sample(sample_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Held:
    """The small sample, its base trained."""
    return place_on(sample_repository, tmp_path_factory.mktemp("drills"))


@pytest.fixture(scope="session", params=["bike_hour.csv", "penguins.csv"])
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Held:
    """A regression split by weeks, and a multiclass table of few rows."""
    root = tasks.repository(tmp_path_factory.mktemp("table") / "r", request.param)
    return place_on(root, tmp_path_factory.mktemp("drills"))


@pytest.mark.parametrize("name", DRILLS)
def test_the_gate_that_is_named_blocks_it(sample: Held, name: str) -> None:
    """On the sample: each fault is blocked by its own gate, each harmless change passes."""
    ended_well(sample, name, LACKING["sample"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ELSEWHERE)
def test_and_on_other_tasks(other: Held, name: str, request: pytest.FixtureRequest) -> None:
    """The drills derive their change from whatever schema and rows there are."""
    table = request.node.callspec.params["other"]
    ended_well(other, name, LACKING[table])


def ended_well(held: Held, name: str, lacking: set[str]) -> None:
    """Assert that the drill ended as it should, and is not called off without leave."""
    outcome = held.hold(name)
    assert outcome.result.good, outcome
    assert (outcome.result is Result.NOT_APPLICABLE) == (name in lacking), outcome.reason
