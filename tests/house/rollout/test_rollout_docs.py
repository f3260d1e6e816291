"""docs/rollout.md: its commands and settings are there, its pictures are real runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from copies import ROOT
from typer.testing import CliRunner

from mainline import cli
from mainline.rollout import plan
from mainline.settings import Rollout

PAGE = (ROOT / "docs" / "rollout.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, flags=re.DOTALL)
COMMANDS = sorted({line.partition("#")[0].strip() for _, block in BLOCKS
                   for line in block.splitlines() if line.startswith("./mainline ")})  # fmt: skip
SETTINGS = yaml.safe_load(next(b for kind, b in BLOCKS if kind == "yaml"))["rollout"]
PICTURES = re.findall(r"!\[[^\]]+\]\(([^)]+\.svg)\)", PAGE)


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_are_understood(line: str) -> None:
    """Each command of the page is one of the house, with the options that it is shown with."""
    words = shlex.split(line)[1:]
    options = [w for w in words if w.startswith("--")]
    group = words[:2] if words[0] in ("rollout", "host") else words[:1]
    said = CliRunner().invoke(cli.app, [*group, "--help"], env={"COLUMNS": "200"})
    assert said.exit_code == 0, said.output
    assert [o for o in options if o not in said.output] == []


def test_it_shows_all_commands_of_a_rollout() -> None:
    """No command that a person types is left out (the others are called by workflows)."""
    shown = {c.split()[2] for c in COMMANDS if c.split()[1] == "rollout"}
    by_workflows = {"plan", "dispatch", "undo", "propose-revert", "tell"}
    every = {c.name for c in cli.rollout.registered_commands if not c.hidden}
    assert shown == every - by_workflows


def test_it_says_who_moves_the_tag_and_what_a_rehearsal_shares() -> None:
    """Stage by stage no tag moves, and start and rehearsal have one folder where none is set."""
    part = PAGE.partition("## Stage by stage")[2].partition("\n## ")[0]
    assert "`./mainline promote v1.1.0 --push`" in part and "`deploy.yml` does it" in part
    assert "`serving/`" in part and "rehearsal" in part
    assert "After a promotion `abort` changes nothing" in part


def test_its_settings_are_valid_and_all_of_them() -> None:
    """The section of params.yaml is one that is read, with every key that there is."""
    policy = Rollout.model_validate(SETTINGS)
    assert set(SETTINGS) == set(Rollout.model_fields)
    assert len(plan.stages_of(policy, "canary")) == 5


def test_it_tells_of_each_plan_and_shows_it() -> None:
    """Every plan has its line in the table, and its picture from benchmarks/rollout/pictures.py."""
    for name in ("auto", *plan.PLANS):
        assert f"| `{name}` |" in PAGE
    drawn = {Path(p).stem for p in PICTURES}
    assert drawn == {*plan.PLANS, "canary-rolled-back"}


def test_the_requests_that_a_canary_takes_are_the_sum_of_its_stages() -> None:
    """14,000 requests: what the default stages need in all, shadow left aside."""
    stages = plan.stages_of(Rollout.model_validate(SETTINGS), "canary")
    needed = sum(s.requests * 100 / s.weight for s in stages if 0 < s.weight < 100)
    assert f"{needed:,.0f} of them" in PAGE


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_readable_in_git(name: str) -> None:
    """Each is an SVG of its own without script or address, and small enough for a repository."""
    text = (ROOT / "docs" / name).read_text("utf-8")
    assert text.startswith("<?xml") and "<script" not in text
    assert not re.search(r'href="(?!#)', text)
    assert len(text) < 200_000
