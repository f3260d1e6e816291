"""The registry that Git is: versions and stages, read from tags alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import commit, git

from mainline import registry
from mainline.errors import UsageError


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Three commits with versions out of order, and tags that are none of ours."""
    git(tmp_path, "init", "--quiet")
    for number in ("v1.9.0", "v1.10.0", "v1.2.0"):
        commit(tmp_path, number)
        git(
            tmp_path,
            "tag",
            "-a",
            f"toy@{number}",
            "-m",
            f"Subject\n\nModel-Digest: sha256:{number}",
        )
    for name in ("v9.9.9", "toy@latest", "toyota@v9.0.0", "toy@v1.2", "toy#prod#x"):
        git(tmp_path, "tag", name)
    return tmp_path


def test_versions_are_numbers_and_not_words(repo: Path) -> None:
    """v1.10.0 comes after v1.9.0; tags of another grammar or model are left out."""
    found = registry.versions(repo, "toy")
    assert [v.name for v in found] == ["v1.2.0", "v1.9.0", "v1.10.0"]
    assert found[-1].digest == "sha256:v1.10.0"
    assert found[-1].commit == git(repo, "rev-parse", "toy@v1.10.0^{commit}")


def test_a_stage_is_its_newest_assignment(repo: Path) -> None:
    """By number and not by name: #10 comes after #9."""
    for count, number in ((9, "v1.9.0"), (10, "v1.2.0"), (2, "v1.10.0")):
        git(repo, "tag", f"toy#prod#{count}", f"toy@{number}^{{commit}}")
    assert registry.at_stage(repo, "toy", "prod").name == "v1.2.0"
    assert registry.at_stage(repo, "toy", "dev") is None
    assert [v.name for v in registry.assignments(repo, "toy", "prod")] == [
        "v1.10.0", "v1.9.0", "v1.2.0",
    ]  # fmt: skip


@pytest.mark.parametrize("asked", ["v1.9.0", "1.9.0", "toy@v1.9.0"])
def test_a_version_is_found_by_any_of_its_names(repo: Path, asked: str) -> None:
    """With or without the v and the model."""
    assert registry.find(repo, "toy", asked).name == "v1.9.0"


def test_what_is_not_there_is_told_with_what_is(repo: Path) -> None:
    """An unknown version names the known ones; none at all says how to have some."""
    assert registry.find(repo, "toy", None).name == "v1.10.0"
    with pytest.raises(UsageError, match=r"Known: v1\.2\.0, v1\.9\.0, v1\.10\.0"):
        registry.find(repo, "toy", "v3.0.0")
    with pytest.raises(UsageError, match="git fetch --tags"):
        registry.find(repo, "other", None)


def test_trailers_are_those_of_the_last_paragraph_alone() -> None:
    """Neither a title nor a reason is a trailer; the first of two says it; others are left out."""
    message = (
        "Run: title\n\nVerdict: reason\n\nModel-Digest: sha256:a\nEvil: b\nRun: x: y\n"
        "Run: z\n\n-----BEGIN MODEL SIGNATURE-----\nBase: c\n-----END MODEL SIGNATURE-----\n"
    )
    assert registry.parse_trailers(message) == {"Model-Digest": "sha256:a", "Run": "x: y"}
    assert registry.parse_trailers(message.replace("\n", "\r\n"))["Run"] == "x: y"
    signature = registry.parse_signature(message)
    assert signature is not None
    assert signature.startswith(b"-----BEGIN MODEL SIGNATURE-----\nBase: c\n")
    assert registry.parse_signature("Subject\n\nRun: x\n") is None
    assert registry.reason_of(message) == "Verdict: reason"
    assert registry.reason_of("Subject\n\nRun: x\n") == ""


def test_no_message_can_forge_another_tag(repo: Path) -> None:
    """Whatever separators stand in a message, the tags are those that are there."""
    evil = "x\n\x1e\x1fv\ntoy@v7.0.0\n\nModel-Digest: sha256:e\n"
    git(repo, "tag", "-a", "toy@v2.0.0", "--cleanup=verbatim", "-m", evil)
    assert [v.name for v in registry.versions(repo, "toy")][-1] == "v2.0.0"
    assert len(registry.versions(repo, "toy")) == 4


def test_of_two_versions_on_one_commit_an_assignment_says_which(repo: Path) -> None:
    """By its trailer; without one it is the newest, as GTO reads it."""
    git(repo, "tag", "-a", "toy@v1.11.0", "-m", "Another", "toy@v1.10.0^{commit}")
    commit = "toy@v1.10.0^{commit}"
    git(repo, "tag", "-a", "toy#prod#1", "-m", "toy to prod\n\nVersion: v1.10.0", commit)
    assert registry.at_stage(repo, "toy", "prod").name == "v1.10.0"
    git(repo, "tag", "toy#prod#2", commit)
    assert registry.at_stage(repo, "toy", "prod").name == "v1.11.0"
