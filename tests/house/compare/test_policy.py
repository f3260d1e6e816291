"""What counts as a change of policy, what does not, and against which commit it is held."""

from __future__ import annotations

from pathlib import Path

import pytest
import vouched
from copies import ROOT
from small import commit, edit, git

from mainline import settings
from mainline.compare import policy
from mainline.compare.meaning import column_changes, of_file
from mainline.verdict import Verdict

PASS, INCONCLUSIVE = Verdict.PASS, Verdict.INCONCLUSIVE
FILES = {
    "tests/conftest.py": "import os\n",
    "tests/data/test_data.py": '"""Data."""\n\n\ndef test_it(rows):\n    """It holds."""\n'
    "    assert len(rows) > 100  # enough\n",
    "tests/model/cases.csv": "amount,expected\n10,low\n",
    ".github/workflows/train.yml": "on: pull_request  # each\njobs: {gate: {runs-on: here}}\n",
    "dvc.yaml": "stages:\n  train: {cmd: python mainline train}\n",
    "mainline": "#!/usr/bin/env python3\nimport sys\n\nsys.exit(0)\n",
    "pyproject.toml": '[project]\ndependencies = ["pandas"]\n\n[tool.ruff]\nline-length = 100\n',
    "src/mainline/gate.py": "def decide(x):\n    return x > 1\n",
    "src/project/features.py": "def build(frame):\n    return frame\n",
    "README.md": "Words\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small repository with a branch that leaves main; nothing is trained here."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name in ("params.yaml", "schema.yaml"):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"), encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "Main")
    git(tmp_path, "switch", "--quiet", "--create", "change")
    return tmp_path


def judged(root: Path, base: str | None = "main~0") -> tuple[Verdict, str]:
    """The verdict on the policy of the branch, and the sentence."""
    commit_ = git(root, "rev-parse", base) if base else None
    found, _ = policy.judge(root, policy.find(root, commit_), settings.load(root))
    return found.verdict, found.reason


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("params.yaml", "delta: 0.03", "delta: 0.3", "gate.delta: 0.03 -> 0.3"),
        ("params.yaml", "alert_rate: 0.02", "alert_rate: 0.9", "gate.guardrails.alert_rate"),
        ("params.yaml", "allow_skipped: []", "allow_skipped: [compare]", "gate.allow_skipped"),
        ("params.yaml", "salt: mainline-1", "salt: lucky", "split.salt: mainline-1 -> lucky"),
        ("params.yaml", "project.features:build", "project.other:build", "features.build"),
        ("params.yaml", "project.model:build", "project.other:build", "train.estimator"),
        ("params.yaml", "seed: 0", "seed: 0\n  trusted: [numpy.dtype]", "train.trusted"),
        ("params.yaml", "window_days: 240", "window_days: 20", "train.window_days: 240"),
        ("params.yaml", "[age_band, channel]", "[channel]", "evaluate.slices"),
        ("params.yaml", "value: 0.02}", "value: 0.2}", "evaluate.threshold.value: 0.02 -> 0.2"),
        ("params.yaml", "error_budget: 0.02", "error_budget: 0.5", "rollout.error_budget"),
        ("params.yaml", "maturity_days: 30", "maturity_days: 1", "monitor.maturity_days"),
        ("params.yaml", "positive: 1 ", "positive: 0 ", "model.positive: 1 -> 0"),
        ("schema.yaml", "hard: {min: 0, max: 23}", "hard: {min: 0, max: 99}", "hour.hard.max"),
        ("schema.yaml", "role: pii", "role: drop", "customer_email.role: pii -> drop"),
        ("tests/conftest.py", "import os", "import sys", "tests/conftest.py changed"),
        ("tests/data/test_data.py", "> 100", "> 1", "tests/data/test_data.py changed"),
        ("tests/model/cases.csv", "low", "high", "tests/model/cases.csv changed"),
        (".github/workflows/train.yml", "here", "there", "train.yml changed"),
        ("dvc.yaml", "mainline train", "other", "dvc.yaml changed"),
        ("mainline", "exit(0)", "exit(1)", "mainline changed"),
        ("pyproject.toml", "= 100", "= 400", "pyproject.toml changed"),
        ("src/mainline/gate.py", "x > 1", "True", "src/mainline/gate.py changed"),
    ],
)
def test_what_decides_over_a_merge_needs_a_person(
    tree: Path, name: str, old: str, new: str, said: str
) -> None:
    """Each of these is INCONCLUSIVE on a branch, and is named; committed or not."""
    edit(tree, name, old, new)
    assert judged(tree)[0] is INCONCLUSIVE, "before it is committed"
    commit(tree, "Looser")
    verdict, reason = judged(tree)
    assert verdict is INCONCLUSIVE
    assert said in reason
    assert "The limits of main were used" in reason


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("params.yaml", "# the largest loss that does not matter", "# may be lost"),
        ("params.yaml", "require_improvement: false\n  ", ""),
        ("params.yaml", "max_iter: 150", "max_iter: 200"),
        ("params.yaml", "cooldown_days: 14", "cooldown_days: 1"),
        ("schema.yaml", "# The data contract.", "# A contract."),
        ("schema.yaml", "role: time, max_missing: 0}", "max_missing: 0.0, role: time}"),
        ("schema.yaml", "role: drop, available: later", "allow_new: false, role: drop, available: "
         "later"),
        ("tests/data/test_data.py", "  # enough", ""),
        ("tests/data/test_data.py", "It holds.", "The rows are enough."),
        (".github/workflows/train.yml", "  # each", "  # every one"),
        (".github/workflows/train.yml", "on: pull_request", "on:  'pull_request'"),
        ("dvc.yaml", "{cmd: python mainline train}", "\n    cmd: python mainline train"),
        ("mainline", "import sys\n", "import sys  # the launcher\n"),
        ("pyproject.toml", '["pandas"]', '["pandas", "polars"]'),
        ("src/mainline/gate.py", "x > 1", "(x > 1)  # more"),
        ("src/project/features.py", "return frame", "return frame.copy()"),
        ("README.md", "Words", "Other words"),
    ],
)  # fmt: skip
def test_what_means_the_same_is_no_change_of_policy(
    tree: Path, name: str, old: str, new: str
) -> None:
    """Comments, format, docstrings, defaults written out, and the forker's own room."""
    edit(tree, name, old, new)
    commit(tree, "Other words")
    assert judged(tree)[0] is PASS, judged(tree)[1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tests/model/test_more.py", ""),
        ("conftest.py", "import os\n"),
        ("src/pandas.py", "x = 1\n"),
        (".github/actions/setup/action.yml", "name: x\n"),
    ],
)
def test_a_new_file_where_the_judges_live_is_a_change(tree: Path, name: str, text: str) -> None:
    """A module in src/ can take the place of any other, and an untracked file runs as well."""
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).write_text(text, encoding="utf-8")
    assert f"{name} added" in judged(tree)[1]
    commit(tree, "More")
    assert judged(tree)[0] is INCONCLUSIVE
    git(tree, "switch", "--quiet", "main")
    git(tree, "merge", "--quiet", "change")
    git(tree, "switch", "--quiet", "--create", "less")
    git(tree, "rm", "--quiet", name)
    commit(tree, "Less")
    assert f"{name} removed" in judged(tree)[1]


def test_many_changes_are_counted(tree: Path) -> None:
    """The sentence names three."""
    for old, new in (
        ("delta: 0.03", "delta: 1"),
        ("salt: mainline-1", "salt: x"),
        ("seed: 0", "seed: 0\n  trusted: [a.b]"),
        ("tune: 0.15", "tune: 0.2"),
    ):
        edit(tree, "params.yaml", old, new)  # fmt: skip
    reason = judged(tree)[1]
    assert reason.count(";") == 2
    assert "and 1 more" in reason


def test_a_policy_that_was_accepted_before_asks_nobody_again(tree: Path) -> None:
    """A branch is held against main where it left it, though production is older."""
    released = git(tree, "rev-parse", "HEAD")
    edit(tree, "params.yaml", "delta: 0.03", "delta: 0.02")
    commit(tree, "Narrower")
    assert judged(tree, released)[0] is INCONCLUSIVE
    git(tree, "switch", "--quiet", "main")
    git(tree, "merge", "--quiet", "change")
    verdict, reason = judged(tree, released)
    assert verdict is PASS, "merged, so a person has accepted it"
    assert "Changed and merged: gate.delta: 0.03 -> 0.02" in reason
    git(tree, "switch", "--quiet", "--create", "next")
    edit(tree, "params.yaml", "max_iter: 150", "max_iter: 200")
    commit(tree, "More trees")
    assert judged(tree, released)[0] is PASS
    found = policy.find(tree, released)
    assert policy.gate_of(found.settings, settings.load(tree)).delta == 0.02


def test_main_moves_on_and_the_branch_is_not_blamed(tree: Path) -> None:
    """What main changed after the branch left it is not the branch's change."""
    edit(tree, "README.md", "Words", "More words")
    commit(tree, "A change")
    git(tree, "switch", "--quiet", "main")
    edit(tree, "params.yaml", "delta: 0.03", "delta: 0.02")
    commit(tree, "Narrower")
    git(tree, "switch", "--quiet", "change")
    assert judged(tree)[0] is PASS
    assert policy.find(tree, "main").settings.gate.delta == 0.03


def test_an_edit_on_main_that_is_not_committed_is_not_merged(tree: Path) -> None:
    """Only what was committed on main counts as accepted; of the rest only that is named."""
    released = git(tree, "rev-parse", "main")
    git(tree, "switch", "--quiet", "main")
    edit(tree, "params.yaml", "delta: 0.03", "delta: 0.02")
    commit(tree, "Narrower")
    edit(tree, "params.yaml", "salt: mainline-1", "salt: x")
    verdict, reason = judged(tree, released)
    assert verdict is INCONCLUSIVE
    assert "split.salt" in reason
    assert "delta" not in reason


def test_limits_of_main_that_cannot_be_read_are_not_a_pass(tree: Path) -> None:
    """Else who breaks the reader of the settings would be judged by limits of their own."""
    git(tree, "switch", "--quiet", "main")
    edit(tree, "params.yaml", "gate:", "old_key: 1\n\ngate:")
    commit(tree, "A key that is no longer known")
    git(tree, "switch", "--quiet", "--create", "later")
    edit(tree, "params.yaml", "old_key: 1\n\n", "")
    commit(tree, "Without it")
    verdict, reason = judged(tree)
    assert verdict is INCONCLUSIVE
    assert "unreadable" in reason


def test_without_a_base_the_policy_is_the_candidates(tree: Path) -> None:
    """The first commit of a repository has nothing to be held against."""
    git(tree, "switch", "--quiet", "main")
    assert judged(tree, None) == (PASS, "There is no base yet, so the policy is the candidate's")


def test_files_that_cannot_be_parsed_are_compared_line_by_line() -> None:
    """Broken YAML, TOML or Python is never equal to something else."""
    for name in ("a.yml", "pyproject.toml", "a.py", "cases.csv"):
        assert of_file(name, "a: [") != of_file(name, "a: [1")
        assert of_file(name, "a: [") == of_file(name, "a: [")
    assert of_file("a.yml", "if: true") != of_file("a.yml", "if: 1")


def test_a_column_that_comes_or_goes_is_one_line() -> None:
    """With what it was said to be."""
    old = (ROOT / "schema.yaml").read_text("utf-8")
    new = "\n".join(line for line in old.splitlines() if "name: hour" not in line)
    (change,) = column_changes(old, new)
    assert change.name == "column hour"
    assert change.candidate is None
    assert "integer" in str(change.base)


def test_a_history_without_main_asks_a_person(tmp_path: Path) -> None:
    """What is not compared with anything is no first release because main was not fetched."""
    git(tmp_path, "init", "--quiet", "--initial-branch=work")
    own = settings.load(ROOT)
    commit(tmp_path, "One")
    assert policy.judge(tmp_path, policy.Policy(None), own)[0].verdict is Verdict.PASS
    commit(tmp_path, "Two")
    found, _ = policy.judge(tmp_path, policy.Policy(None), own)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "git fetch origin main" in found.reason


def test_who_may_sign_is_policy(tree: Path) -> None:
    """A swapped key, a key file of another name and a loosened rule each ask a person."""
    line = "release: {public_key: release.pub, unsigned: refuse}"
    git(tree, "switch", "--quiet", "main")
    (tree / "release.pub").write_text("one key\n", encoding="utf-8")
    vouched.set_release(tree, line)
    commit(tree, "Sign")
    git(tree, "switch", "--quiet", "change")
    git(tree, "merge", "--quiet", "main")
    assert judged(tree)[0] is PASS
    (tree / "release.pub").write_text("another key\n", encoding="utf-8")
    commit(tree, "Swap")
    verdict, said = judged(tree)
    assert (verdict, "release.pub changed" in said) == (INCONCLUSIVE, True), said
    git(tree, "revert", "--no-edit", "HEAD")
    vouched.set_release(tree, line.replace("refuse", "allow").replace("release.pub", "other.pub"))
    commit(tree, "Loosen")
    verdict, said = judged(tree)
    assert (verdict, "release.unsigned: refuse -> allow" in said) == (INCONCLUSIVE, True), said
    assert "release.public_key: release.pub -> other.pub" in said
