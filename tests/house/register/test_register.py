"""Registering: Git is the record, nobody pushes to main, and of two racers one wins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small import Ran, commit, dvc, edit, git

from mainline import registry
from mainline.files import digest_tree
from mainline.git import head

Call = Callable[..., Ran]
MODEL = "card-fraud"


@pytest.fixture
def approved(repository: Path, call: Call) -> Path:
    """The repository with a remote of its own, and a comparison that passed."""
    origin = repository.parent / "origin.git"
    git(repository, "init", "--quiet", "--bare", str(origin))
    git(repository, "remote", "add", "origin", str(origin))
    git(repository, "push", "--quiet", "origin", "main")
    assert call(repository, "compare").status == 0
    return repository


def test_a_version_is_an_annotated_tag_with_its_trailers(approved: Path, call: Call) -> None:
    """On the commit whose lock is in step, with the digests that were approved."""
    assert call(approved, "register").status == 0
    (version,) = registry.versions(approved, MODEL)
    assert (version.tag, version.commit) == (f"{MODEL}@v1.0.0", head(approved))
    assert version.digest == digest_tree(approved / "models")
    assert git(approved, "cat-file", "-t", version.tag) == "tag"
    assert set(version.trailers) == set(registry.TRAILERS)
    assert (version.trailers["Verdict"], version.trailers["Base"]) == ("PASS", "none")


def test_registering_again_changes_nothing(approved: Path, call: Call) -> None:
    """The same model is the same version, however often one asks."""
    assert call(approved, "register").status == 0
    before = git(approved, "show-ref")
    ran = call(approved, "register")
    assert (ran.status, "no new version" in ran.out) == (0, True)
    assert git(approved, "show-ref") == before


def test_a_lock_that_is_behind_makes_a_child_commit_and_main_stays(
    approved: Path, call: Call
) -> None:
    """The tag stands off the branch, on a commit that adds the lock and the report only."""
    git(approved, "rm", "--quiet", "--cached", "dvc.lock")
    git(approved, "commit", "--quiet", "--message", "No lock")
    git(approved, "push", "--quiet", "origin", "main")
    before = head(approved)
    assert call(approved, "register", "--push").status == 0
    (version,) = registry.versions(approved, MODEL)
    assert git(approved, "rev-parse", f"{version.commit}^") == before
    added = set(git(approved, "diff", "--name-only", str(before), version.commit).split())
    assert "dvc.lock" in added
    assert all(name == "dvc.lock" or name.startswith("reports/") for name in added)
    assert head(approved) == git(approved, "rev-parse", "origin/main") == before
    assert git(approved, "ls-remote", "origin", "main").split()[0] == before
    assert version.tag in git(approved, "ls-remote", "--tags", "origin")


def test_a_revert_is_the_version_that_was_there(approved: Path, call: Call) -> None:
    """The very same digest, and no new number."""
    first = digest_tree(approved / "models")
    assert call(approved, "register").status == 0
    edit(approved, "params.yaml", "max_iter: 150", "max_iter: 140")
    commit(approved, "Fewer trees")
    dvc(approved, "repro", "--quiet")
    commit(approved, "Lock")
    assert digest_tree(approved / "models") != first
    edit(approved, "params.yaml", "max_iter: 140", "max_iter: 150")
    commit(approved, "Back again")
    dvc(approved, "repro", "--quiet", "--force")
    git(approved, "push", "--quiet", "origin", "main")
    assert digest_tree(approved / "models") == first
    assert call(approved, "compare").status == 0
    ran = call(approved, "register")
    assert (ran.status, "since v1.0.0; no new version" in ran.out) == (0, True)
    assert len(registry.versions(approved, MODEL)) == 1


def test_verdicts_that_came_with_the_checkout_are_refused(approved: Path, call: Call) -> None:
    """A verdict is measured, not committed: with one in Git the gate is an ERROR."""
    git(approved, "add", "--force", "reports/verdicts/compare.json")
    git(approved, "commit", "--quiet", "--message", "It passed, believe me")
    assert call(approved, "gate").status == 12
    git(approved, "push", "--quiet", "origin", "main")
    assert call(approved, "register").status == 12


def test_another_model_in_the_folder_is_refused_by_the_gate(approved: Path, call: Call) -> None:
    """What is in models/ must be what was judged."""
    path = approved / "models" / "model.json"
    path.write_text(path.read_text() + " ")
    ran = call(approved, "gate")
    assert (ran.status, "not the one that was judged" in ran.out) == (12, True)
