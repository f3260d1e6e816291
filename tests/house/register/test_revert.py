"""After a rollback: one pull request takes back what made the version, until a person has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import faked
import fakehub
import pytest
from faked import MODEL
from small import git

from mainline.register import lifecycle, register
from mainline.rollout import revert

BRANCH = f"revert/{MODEL}-v1.0.1"


@pytest.fixture
def github() -> Iterator[fakehub.Hub]:
    """GitHub, which knows a repository without a pull request."""
    with fakehub.serving() as made:
        yield made


@pytest.fixture
def bad(shop: Path) -> Path:
    """v1.0.0 in production, and v1.0.1 made by a merge of two commits."""
    register.run(shop, push=True)
    lifecycle.assign(shop, "v1.0.0", "prod", push=True)
    git(shop, "switch", "--quiet", "--create", "more")
    faked.data(shop, "two")
    faked.change(shop, "notes.md", "words")
    git(shop, "switch", "--quiet", "main")
    git(shop, "merge", "--quiet", "--no-ff", "--message", "Merge more", "more")
    faked.model(shop)
    faked.push(shop)
    register.run(shop, push=True)
    return shop


def run(root: Path, github: fakehub.Hub, **more: str) -> dict[str, object]:
    """Propose to take v1.0.1 back, as a workflow does."""
    environ = {"GITHUB_REPOSITORY": "acme/fraud", "GITHUB_TOKEN": github.token,
               "GITHUB_API_URL": github.url}  # fmt: skip
    return revert.run(root, "v1.0.1", environ=environ, **more)


def branch(root: Path) -> str:
    """The commit of the branch at the remote; empty where there is none."""
    return git(root, "ls-remote", "origin", f"refs/heads/{BRANCH}").partition("\t")[0]


def test_the_merge_is_taken_back_by_one_pull_request(bad: Path, github: fakehub.Hub) -> None:
    """The tree is again that of v1.0.0, train.yml runs on it, and the second time changes none."""
    done = run(bad, github, reason="<b>500</b> only")
    assert (done["action"], done["commit"]) == ("branch", branch(bad))
    git(bad, "fetch", "--quiet", "origin")
    before = git(bad, "rev-parse", f"{MODEL}@v1.0.0^{{tree}}")
    assert git(bad, "rev-parse", f"origin/{BRANCH}^{{tree}}") == before
    (pull,) = github.pulls
    assert pull["title"] == f"Revert {MODEL}@v1.0.1"
    assert github.dispatched == [("train.yml", {"ref": BRANCH, "inputs": {"pr": "1"}})]
    commit = branch(bad)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revert.proposal, "open_pull_request",
                      lambda *a: revert.Opened(f"moved: {a[3]}"))  # fmt: skip
        assert "moved: False" in str(run(bad, github)["text"])
    assert branch(bad) == commit


def test_what_main_added_since_stays(bad: Path, github: fakehub.Hub) -> None:
    """Only the merge goes; the branch is made anew on the newest main."""
    first = run(bad, github)["commit"]
    faked.change(bad, "README.md", "more words")
    faked.push(bad)
    git(bad, "fetch", "--quiet", "origin")
    github.pulls.clear()
    second = run(bad, github)["commit"]
    assert second != first
    assert git(bad, "show", f"{second}:README.md") == "more words"
    assert git(bad, "rev-parse", f"{second}^") == git(bad, "rev-parse", "main")


def test_a_branch_that_a_person_touched_is_left_alone(bad: Path, github: fakehub.Hub) -> None:
    """Whatever came to main since; and a pull request that a person closed is not opened again."""
    run(bad, github)
    git(bad, "fetch", "--quiet", "origin")
    git(bad, "checkout", "--quiet", "--detach", f"origin/{BRANCH}")
    git(bad, "commit", "--quiet", "--allow-empty", "--message", "Mine")
    git(bad, "push", "--quiet", "origin", f"HEAD:refs/heads/{BRANCH}")
    mine = branch(bad)
    assert "holds work of a person" in str(run(bad, github)["text"])
    assert branch(bad) == mine


def test_a_pull_request_that_a_person_closed_stays_closed(bad: Path, github: fakehub.Hub) -> None:
    """That is a decision: the change stays, and is mended by another one."""
    run(bad, github)
    github.pulls[0]["state"] = "closed"
    github.pulls[0]["head"]["label"] = f"acme:{BRANCH}"
    done = run(bad, github)
    assert (done["action"], done["text"]) == (
        "none", f"Somebody closed #1, which takes {MODEL}@v1.0.1 back.",
    )  # fmt: skip


def test_what_is_taken_back_already_is_not_proposed(bad: Path, github: fakehub.Hub) -> None:
    """Neither after a person's own revert nor for the first version, which has none before it."""
    git(bad, "revert", "--no-edit", "-m", "1", "HEAD")
    faked.data(bad, "three")  # with which taking it back again would conflict
    faked.push(bad)
    assert run(bad, github)["action"] == "none"
    assert revert.run(bad, "v1.0.0", environ={})["action"] == "none"
    assert branch(bad) == ""


def test_a_conflict_is_told_in_an_issue(
    bad: Path, github: fakehub.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Main has built on it: the commands are there, and nothing is pushed."""
    merge = git(bad, "rev-parse", "HEAD")
    faked.data(bad, "three")
    faked.push(bad)
    told: list[str] = []

    def opened(title: str, body: str, environ: object) -> revert.Opened:
        told.extend([title, body])
        return revert.Opened("Issue #1 was opened")

    monkeypatch.setattr(revert, "open_issue", opened)
    done = run(bad, github)
    assert done["action"] == "issue"
    assert f"git revert -m 1 {merge}" in told[1]
    assert "data.dvc" in told[1]
    assert branch(bad) == ""
    assert git(bad, "worktree", "list").count("\n") == 0


def test_a_push_that_is_refused_is_told_in_an_issue(
    bad: Path, github: fakehub.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that may not change workflows, or a rule for branches."""
    hook = bad.parent / "origin.git" / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    hook.chmod(0o755)
    monkeypatch.setattr(revert, "open_issue", lambda *_: revert.Opened("Issue #1 was opened"))
    assert run(bad, github)["action"] == "issue"


def test_two_merges_that_made_one_version_are_both_taken_back(
    shop: Path, github: fakehub.Hub
) -> None:
    """The run for the first was dropped; a commit of words between them stays."""
    register.run(shop, push=True)
    for change in (lambda: faked.data(shop, "two"), lambda: faked.change(shop, "a.md", "words"),
                   lambda: faked.edit(shop, "params.yaml", "seed: 0", "seed: 1")):  # fmt: skip
        change()
    faked.push(shop)
    register.run(shop, push=True)
    (version,) = [v for v in revert.registry.versions(shop, MODEL) if v.name != "v1.0.0"]
    done = revert.run(shop, version.name, environ={})
    commit = str(done["commit"])
    assert git(shop, "diff", "--name-only", f"{MODEL}@v1.0.0", commit) == "a.md"
    assert git(shop, "show", "-s", "--format=%B", commit).count("This reverts commit") == 2
