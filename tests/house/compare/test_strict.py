"""Loosened limits and tests: main's are tried on the candidate too."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import commit, edit, git

from mainline import settings
from mainline.compare import policy, strict
from mainline.data import schema
from mainline.verdict import Check, Verdict

PASS, INCONCLUSIVE, FAIL, ERROR = Verdict
TEST = '''"""A test of main."""


def test_trees(root):
    """As many trees as were agreed."""
    assert "max_iter: NUMBER," in (root / "params.yaml").read_text("utf-8")
'''


def with_test(root: Path, folder: str, number: int) -> None:
    """A test on main that asks for so many trees, and a branch on which it asks for nothing."""
    git(root, "switch", "--quiet", "main")
    path = root / "tests" / folder / "test_trees.py"
    path.write_text(TEST.replace("NUMBER", str(number)), encoding="utf-8")
    commit(root, "A test")
    git(root, "switch", "--quiet", "--create", "looser")
    path.write_text(TEST.replace("NUMBER,", ""), encoding="utf-8")
    commit(root, "A looser test")


def found(root: Path) -> dict[str, Check]:
    """What main's limits and tests say of this branch."""
    own, rules = settings.load(root), schema.load(root)
    by = policy.find(root, git(root, "rev-parse", "main"))
    _, changes = policy.judge(root, by, own)
    return {c.name: c for c in strict.check(root, by, own, rules, changes)}


@pytest.mark.parametrize("folder", ["data", "model"])
def test_a_test_that_was_loosened_fails_as_main_has_it(branch: Path, folder: str) -> None:
    """The change and the test that forbids it come in one pull request."""
    with_test(branch, folder, 150)
    edit(branch, "params.yaml", "max_iter: 150", "max_iter: 151")
    bad = {n: c for n, c in found(branch).items() if c.verdict is not PASS}
    (check,) = [c for n, c in bad.items() if "test_trees" in n]
    assert check.verdict is FAIL
    assert check.name.startswith("main's tests/")
    assert "Loosen it in a pull request of its own" in check.reason


def test_what_fails_on_main_as_well_is_for_a_person(branch: Path) -> None:
    """Else a test that has become wrong could never be mended."""
    with_test(branch, "data", 149)
    (check,) = [c for n, c in found(branch).items() if "test_trees" in n]
    assert check.verdict is INCONCLUSIVE
    assert "main itself fails this" in check.reason


def test_what_holds_is_counted_once(branch: Path) -> None:
    """One line, however many tests and limits passed."""
    with_test(branch, "data", 150)
    checks = found(branch)
    assert [(c.name, c.verdict) for c in checks.values()] == [("main's data checks", PASS)]


def test_limits_that_were_loosened_are_those_of_main(branch: Path) -> None:
    """A share of missing classes that main forbids: its limit is tried on these data."""
    git(branch, "switch", "--quiet", "main")
    edit(branch, "params.yaml", "gate:\n", "gate:\n  data: {class_share: 0.4}\n")
    commit(branch, "A limit that these data break")
    git(branch, "switch", "--quiet", "--create", "looser")
    edit(branch, "params.yaml", "  data: {class_share: 0.4}\n", "")
    commit(branch, "Without it")
    checks = found(branch)
    bad = [c for c in checks.values() if c.verdict is not PASS]
    assert [c.verdict for c in bad] == [INCONCLUSIVE], "main itself breaks it"
    assert bad[0].limit == 0.4 * 3600


def test_nothing_is_run_where_nothing_was_loosened(branch: Path) -> None:
    """Neither limits nor tests changed: no check, no time."""
    edit(branch, "params.yaml", "delta: 0.03", "delta: 0.3")
    assert found(branch) == {}


def test_tests_come_from_the_commit(branch: Path, tmp_path: Path) -> None:
    """As they were, with what they share, and nothing of the branch."""
    (branch / "tests" / "data" / "test_mine.py").write_text("")
    target = strict.extract(branch, git(branch, "rev-parse", "HEAD"), "tests/data", tmp_path / "t")
    names = {f.relative_to(target).as_posix() for f in target.rglob("*") if f.is_file()}
    assert names == {"tests/conftest.py", "tests/data/test_data.py"}
    nothing = strict.extract(branch, git(branch, "rev-parse", "HEAD"), "tests/none", tmp_path / "n")
    assert not (nothing / "tests" / "none").exists()
