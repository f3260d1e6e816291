"""Git by argument lists: names are data, and failures are sentences."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import commit

from mainline.errors import RemoteError, UsageError
from mainline.git import (
    GitError,
    dirty,
    git,
    head,
    is_repository,
    require_history,
    resolve,
    worktree,
)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with one commit, in a folder whose name is no simple word."""
    root = tmp_path / "a b'é"
    root.mkdir()
    git(root, "init", "--quiet")
    (root / "a.txt").write_text("1")
    commit(root, "One")
    return root


def test_a_failure_says_what_git_said(repo: Path) -> None:
    """The last line of Git, the subcommand, and a status."""
    with pytest.raises(GitError, match=r"git checkout failed: .*nowhere") as caught:
        git(repo, "checkout", "nowhere")
    assert caught.value.status == 21


def test_outside_of_a_repository(tmp_path: Path) -> None:
    """No repository, no commit: two sentences."""
    assert not is_repository(tmp_path)
    assert head(tmp_path) is None
    with pytest.raises(UsageError, match="not a Git repository"):
        require_history(tmp_path)
    git(tmp_path, "init", "--quiet")
    with pytest.raises(UsageError, match="no commit yet"):
        require_history(tmp_path)


def test_a_shallow_clone_is_known(repo: Path, tmp_path: Path) -> None:
    """And the remedy is the command that ends it."""
    commit(repo, "Two")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repo}", "shallow")
    with pytest.raises(RemoteError, match="--unshallow"):
        require_history(tmp_path / "shallow")
    require_history(repo)


@pytest.mark.parametrize("name", ["--help", "-x", "$(touch evil)", "; touch evil", "nowhere"])
def test_a_name_is_never_an_option_or_a_command(repo: Path, name: str) -> None:
    """A hostile branch name resolves to nothing and runs nothing."""
    assert resolve(repo, name) is None
    assert not (repo / "evil").exists()


def test_what_is_not_committed_is_listed_by_its_name(repo: Path) -> None:
    """Changed and new files, with blanks and other letters as they are."""
    assert dirty(repo) == []
    (repo / "a.txt").write_text("2")
    (repo / "ü b.txt").write_text("3")
    assert sorted(dirty(repo)) == ["a.txt", "ü b.txt"]
    assert dirty(repo, "ü b.txt") == ["ü b.txt"]


def test_a_worktree_is_gone_whatever_happened(repo: Path) -> None:
    """After success and after a failure inside."""
    with worktree(repo, "HEAD") as tree:
        assert (tree / "a.txt").read_text() == "1"
    assert not tree.exists()
    with pytest.raises(ZeroDivisionError), worktree(repo, "HEAD") as tree:
        raise ZeroDivisionError
    assert not tree.exists()
    assert len(git(repo, "worktree", "list").splitlines()) == 1
