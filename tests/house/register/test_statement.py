"""The statement: one version on one commit, in bytes that are always the same."""

from __future__ import annotations

import json

import pytest

from mainline.register import statement
from mainline.registry import TRAILERS, Version


def version(number: tuple[int, int, int] = (1, 2, 3), **trailers: str) -> Version:
    """A version with every trailer."""
    return Version("card-fraud", number, "c" * 40, dict.fromkeys(TRAILERS, "x") | trailers)


def test_it_says_all_that_the_tag_says_but_who_signed() -> None:
    """Who signed is known only afterwards, and is checked against the signature itself."""
    found = statement.of(version())
    assert set(found) == {"schema", "model", "version", "commit", *TRAILERS} - {"Signed-By"}
    assert (found["schema"], found["version"], found["commit"]) == ("release/1", "v1.2.3", "c" * 40)


def test_its_bytes_do_not_depend_on_the_order_of_the_trailers() -> None:
    """A tag that was read again gives what was signed."""
    one = version()
    other = Version(one.model, one.number, one.commit, dict(reversed(one.trailers.items())))
    assert statement.content(statement.of(one)) == statement.content(statement.of(other))
    assert json.loads(statement.content(statement.of(one))) == statement.of(one)


@pytest.mark.parametrize("key", [k for k in TRAILERS if k != "Signed-By"])
def test_every_trailer_changes_it(key: str) -> None:
    """So no word of the tag can be edited under its signature."""
    edited = version(**{key: "y"})
    assert statement.content(statement.of(edited)) != statement.content(statement.of(version()))


def test_version_and_commit_change_it() -> None:
    """So a signature cannot be used for another."""
    content = statement.content(statement.of(version()))
    assert content != statement.content(statement.of(version((1, 2, 4))))
    moved = Version("card-fraud", (1, 2, 3), "d" * 40, version().trailers)
    assert content != statement.content(statement.of(moved))
