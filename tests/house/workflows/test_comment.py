"""One comment on the emulated GitHub, by CML where there is one and by our own client."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import forge
import pytest
import tools
import town

from mainline.errors import RemoteError
from mainline.report import post

MODEL = "card-fraud"
Post = Callable[..., post.Posted]


@pytest.fixture(scope="module")
def github(tmp_path_factory: pytest.TempPathFactory) -> Iterator[forge.Forge]:
    """The emulated GitHub, with the rights of real tokens."""
    with forge.serving(tmp_path_factory.mktemp("forge")) as made:
        yield made


@pytest.fixture(params=["own client", "CML"])
def poster(
    request: pytest.FixtureRequest, github: forge.Forge, tmp_path: Path
) -> Iterator[tuple[forge.Forge, Post]]:
    """`post(pull, words, permissions)` as comment.yml does it, by either way."""
    folder, event = tmp_path / "report", tmp_path / "event.json"
    folder.mkdir()

    def run(
        pull: town.Pull, words: str, permissions: dict[str, str] | None = None, **more: str
    ) -> post.Posted:
        (folder / "report.md").write_text(words, "utf-8")
        event.write_text(json.dumps(town.finished(pull)), "utf-8")
        token = github.token(permissions or town.grants("comment"))
        environ = {"GITHUB_EVENT_PATH": str(event), "GITHUB_REPOSITORY": forge.SLUG,
                   "GITHUB_API_URL": github.url, "GITHUB_TOKEN": token, "PATH": ""}  # fmt: skip
        return post.post(MODEL, folder, environ | more)

    if request.param == "own client":
        yield github, run
        return
    program = tools.cml()
    with forge.tls(github, tmp_path) as (url, certificate):
        path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
        more = {**os.environ, "PATH": path, "GITHUB_SERVER_URL": url, "CI": "true",
                "GITHUB_ACTIONS": "true", "NODE_EXTRA_CA_CERTS": str(certificate)}  # fmt: skip
        ours = {name: more[name] for name in ("PATH", "GITHUB_SERVER_URL", "CI", "HOME",
                                              "GITHUB_ACTIONS", "NODE_EXTRA_CA_CERTS")}  # fmt: skip
        yield github, lambda *words: run(*words, **ours)


def branch(request: pytest.FixtureRequest) -> str:
    """A branch of its own for each test."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)


def reports(github: forge.Forge, pull: town.Pull) -> list[str]:
    """The comments that hold a report."""
    return [body for body in github.comments(pull.number) if f"mainline:{MODEL}" in body]


def test_a_busy_pull_request_ends_with_one_comment(
    poster: tuple[forge.Forge, Post], request: pytest.FixtureRequest
) -> None:
    """After forty other comments and three updates there is one report, and it is the last one."""
    github, post_it = poster
    name, sha = branch(request), os.urandom(20).hex()
    pull = town.Pull(github.open(name, sha), name, sha)
    for number in range(40):
        github.say(pull.number, f"Comment {number} of a person")
    for words in ("First", "Second", "Third", "Fourth"):
        done = post_it(pull, f"## {words} report\n\nHello @octocat")
        assert f"#{pull.number}" in done.note
    (body,) = reports(github, pull)
    assert "Fourth report" in body
    assert "First report" not in body
    assert "@octocat" not in body
    assert len(github.comments(pull.number)) == 41


def test_a_young_pull_request_ends_with_one_comment(
    poster: tuple[forge.Forge, Post], request: pytest.FixtureRequest
) -> None:
    """Where the report is the first comment and people write below it, it is kept up to date."""
    github, post_it = poster
    name, sha = branch(request), os.urandom(20).hex()
    pull = town.Pull(github.open(name, sha), name, sha)
    post_it(pull, "First report")
    github.say(pull.number, "A person answers")
    post_it(pull, "Second report")
    (body,) = reports(github, pull)
    assert "Second report" in body
    assert len(github.comments(pull.number)) == 2


def test_a_token_without_the_right_gives_a_clear_error(
    poster: tuple[forge.Forge, Post], request: pytest.FixtureRequest
) -> None:
    """GitHub refuses a token that may only read, and the error says which right is lacking."""
    github, post_it = poster
    name, sha = branch(request), os.urandom(20).hex()
    pull = town.Pull(github.open(name, sha), name, sha)
    reading = dict.fromkeys(town.grants("comment"), "read")
    with pytest.raises(RemoteError) as refused:
        post_it(pull, "A report", reading)
    assert refused.value.status == 21
    assert "403" in str(refused.value) or "Forbidden" in str(refused.value)
    assert "pull-requests: write" in str(refused.value) or "token's rights" in str(refused.value)
    assert github.comments(pull.number) == []
    with pytest.raises(RemoteError):
        post_it(pull, "A report", {"contents": "read"})


def test_a_fork_has_its_banner_and_its_number_is_found(
    poster: tuple[forge.Forge, Post], request: pytest.FixtureRequest
) -> None:
    """A fork's request is found by its owner and branch, and its report is its author's word."""
    github, post_it = poster
    name, sha = branch(request), os.urandom(20).hex()
    pull = town.Pull(github.open(name, sha, "bob/fraud"), name, sha, "bob/fraud")
    post_it(pull, "## PASS")
    (body,) = reports(github, pull)
    assert body.startswith("> [!CAUTION]")
    github.push(pull.number, os.urandom(20).hex())
    assert "nothing was posted" in post_it(pull, "## late").note
    assert reports(github, pull) == [body]


def test_a_changed_workflow_is_named_above_the_report(
    poster: tuple[forge.Forge, Post], request: pytest.FixtureRequest
) -> None:
    """GitHub's list of changed files, not the report, says that the judge itself was changed."""
    github, post_it = poster
    name, sha = branch(request), os.urandom(20).hex()
    pull = town.Pull(github.open(name, sha), name, sha)
    patch = "@@ -1 +1 @@\n-        run: ./mainline gate\n+        run: ./mainline gate || true"
    train = ".github/workflows/train.yml"
    github.files[pull.number] = [{"filename": train, "status": "modified", "patch": patch}]
    post_it(pull, "## PASS")
    (body,) = reports(github, pull)
    assert body.startswith("> [!CAUTION]")
    assert train in body.partition("## ")[0]
