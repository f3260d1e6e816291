"""The picture of a rollout is kept with the version's release, beside the record."""

from __future__ import annotations

from typing import Any

import pytest

from mainline.registry import Version
from mainline.rollout import tell

LINES: list[dict[str, Any]] = [
    {"t": 1.0, "event": "started", "version": "v1.1.0", "weight": 0},
    {"t": 2.0, "event": "stage", "stage": "canary-5", "weight": 5},
    {"t": 9.0, "event": "promoted", "weight": 0},
]


@pytest.fixture
def registered() -> Version:
    """A version of the model m."""
    return Version("m", (1, 1, 0), "c" * 40, {})


class Fake:
    """A GitHub with one release, which keeps files by name."""

    def __init__(self, tag: str) -> None:
        self.tag, self.calls = tag, 0
        self.files: dict[str, bytes] = {}

    def get_all(self, path: str) -> list[dict[str, Any]]:
        """The release."""
        assets = [{"id": i, "name": n, "digest": tell.digest_bytes(c)}
                  for i, (n, c) in enumerate(self.files.items())]  # fmt: skip
        return [{"tag_name": self.tag, "draft": False, "assets": assets, "upload_url": "u"}]

    def call(self, method: str, path: str) -> None:
        """A file is deleted."""
        del self.files[list(self.files)[int(path.rpartition("/")[2])]]

    def upload(self, url: str, name: str, content: bytes) -> None:
        """Keep a file."""
        self.calls += 1
        self.files[name] = content


def test_the_picture_is_kept_beside_the_record(registered: Version) -> None:
    """The same record uploads nothing again; a longer one replaces both files."""
    github: Any = Fake(registered.tag)
    tell._attach(github, registered, LINES[:2])
    tell._attach(github, registered, LINES[:2])
    assert (sorted(github.files), github.calls) == (["rollout.jsonl", "rollout.svg"], 2)
    tell._attach(github, registered, LINES)
    assert github.calls == 4
    assert b"<svg" in github.files["rollout.svg"]


def test_a_record_that_shows_nothing_has_no_picture(registered: Version) -> None:
    """A version that was refused never had traffic: the record alone is kept."""
    github: Any = Fake(registered.tag)
    tell._attach(github, registered, [{"t": 1.0, "event": "refused", "version": "v1.1.0"}])
    assert sorted(github.files) == ["rollout.jsonl"]
