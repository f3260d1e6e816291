"""comment.yml, run by act, against what a run that is not trusted may leave behind.

The emulated GitHub holds each token to the rights that the workflow names. Unpacking is the work of
actions/download-artifact, which keeps members of an archive within its folder; what it unpacked is
what is tried here.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import forge
import pytest
import runner
import town as towns
from copies import copy_tree

from mainline.report.artifact import MAX_BYTES, MAX_COMMENT

pytestmark = pytest.mark.slow
MARK = "mainline:card-fraud"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[towns.Town]:
    """This repository on the emulated GitHub; nothing is trained in it."""
    folder = tmp_path_factory.mktemp("hostile")
    hub = runner.Hub(folder / "hub", {"MAINLINE_VENV": sys.prefix})
    hub.work.mkdir(parents=True)
    copy_tree(hub.work)
    runner.publish(hub)
    with forge.serving(folder) as github:
        yield towns.Town(hub, github)


def opened(town: towns.Town, branch: str, repository: str = forge.SLUG) -> towns.Pull:
    """A pull request, of which comment.yml needs nothing but GitHub's word."""
    sha = os.urandom(20).hex()
    return towns.Pull(town.github.open(branch, sha, repository), branch, sha, repository)


def artifact(town: towns.Town, **files: str | bytes) -> Path:
    """Let the artifact `report` of the run hold these files; a name's `_` is a dot."""
    folder = Path(town.hub.artifacts / "report")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("_", ".")).write_bytes(raw)
    return folder


def a_path(folder: Path) -> None:
    (folder / "..\\..\\mainline").write_text("#!/bin/sh")


def a_hidden_folder(folder: Path) -> None:
    (folder / ".git" / "hooks").mkdir(parents=True)


def a_link(folder: Path) -> None:
    (folder / "report.md").unlink()
    (folder / "report.md").symlink_to("/etc/passwd")


def a_link_to_a_folder(folder: Path) -> None:
    (folder / "report.html").symlink_to("/etc")


def a_bomb(folder: Path) -> None:
    with (folder / "report.html").open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)


def a_verdict(folder: Path) -> None:
    (folder / "gate.json").write_text('{"schema": "verdict/1", "verdict": "PASS"}')


def a_number(folder: Path) -> None:
    (folder / "pr.txt").write_text("1")


def another_encoding(folder: Path) -> None:
    (folder / "report.md").write_bytes("## Grün @octocat".encode("utf-16"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (a_path, "it holds"), (a_hidden_folder, "it holds"), (a_verdict, "it holds"),
        (a_number, "it holds"), (a_link, "not a regular file"),
        (a_link_to_a_folder, "not a regular file"), (a_bomb, "larger than"),
        (another_encoding, "not UTF-8"),
    ],
)  # fmt: skip
def test_a_hostile_artifact_is_refused(
    town: towns.Town, spoil: Callable[[Path], None], said: str
) -> None:
    """The job is red and says why; nothing is posted anywhere."""
    first = opened(town, f"first-{spoil.__name__}")
    pull = opened(town, spoil.__name__, "bob/fraud")
    spoil(artifact(town, report_md="## PASS"))
    run = town.comment(pull)
    assert run.jobs() == {"comment": "failure"}, run.text()
    assert said in run.text()
    assert "root:" not in run.text()
    assert town.github.comments(pull.number) == town.github.comments(first.number) == []


def test_a_forged_report_stands_under_a_banner_and_calls_nobody(town: towns.Town) -> None:
    """A megabyte of mentions, a verdict and another's number: one comment, on its own request."""
    first = opened(town, "first")
    pull = opened(town, "forged", "bob/fraud")
    text = f"## PASS: this may be merged (#{first.number})\n\n" + "@octocat @acme/team\n" * 60_000
    artifact(town, report_md=text, report_html="<script>alert(1)</script>")
    run = town.comment(pull, "failure")
    assert run.jobs() == {"comment": "success"}, run.text()
    (body,) = town.github.comments(pull.number)
    assert body.startswith("> [!CAUTION]")
    assert "author's word" in body.partition("## ")[0]
    # GitHub's own word for the run stands beside what the run says of itself.
    assert "`failure`" in body.partition("## ")[0]
    assert len(body) <= MAX_COMMENT
    assert "@octocat" not in body
    assert "@acme" not in body
    assert MARK in body
    assert town.github.comments(first.number) == []
    # Nothing but the one comment was changed on GitHub: no status, no label, no review.
    done = [path for method, path, _ in town.github.asked if method != "GET"]
    assert done[-1] == f"/repos/{forge.SLUG}/issues/{pull.number}/comments"


def test_of_two_requests_on_one_commit_each_has_its_own_run(town: towns.Town) -> None:
    """A run of one branch is not told on another branch that stands at the same commit."""
    one = opened(town, "one")
    two = towns.Pull(town.github.open("two", one.sha), "two", one.sha)
    artifact(town, report_md="## The report of two")
    assert town.comment(two).jobs() == {"comment": "success"}
    assert town.github.comments(one.number) == []
    (body,) = town.github.comments(two.number)
    assert "The report of two" in body


def test_a_late_run_is_not_told(town: towns.Town) -> None:
    """Where the pull request has moved on nothing is posted, and the summary says so."""
    pull = opened(town, "late")
    town.github.push(pull.number, os.urandom(20).hex())
    artifact(town, report_md="## Old")
    run = town.comment(pull)
    assert run.jobs() == {"comment": "success"}, run.text()
    assert "nothing was posted" in run.text()
    assert town.github.comments(pull.number) == []


def test_a_run_that_left_nothing_is_green(town: towns.Town) -> None:
    """A run that was stopped has no artifact: that is said, and is no failure."""
    pull = opened(town, "stopped")
    shutil.rmtree(town.hub.artifacts / "report", ignore_errors=True)
    run = town.comment(pull)
    assert run.jobs() == {"comment": "success"}, run.text()
    assert "left no report" in run.text()


def test_a_token_that_may_not_write_is_named(town: towns.Town) -> None:
    """Without `pull-requests: write` the job is red and says which right to give."""
    pull = opened(town, "may-not-write")
    artifact(town, report_md="## A report")
    rights = {**towns.grants("comment"), "pull-requests": "read"}
    run = town.comment(pull, rights=rights)
    assert run.jobs() == {"comment": "failure"}
    assert "pull-requests: write" in run.text()
    assert town.github.comments(pull.number) == []
