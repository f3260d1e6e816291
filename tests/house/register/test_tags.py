"""Tags reach origin or nowhere, and every fault between leaves one version in the end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import faked
import pytest
from faked import MODEL, listed, local
from small import git

from mainline import registry
from mainline.errors import DataError, RaceError, RemoteError
from mainline.register import lifecycle, register, tags

FIRST = f"{MODEL}@v1.0.0"
HERE = Path(__file__).resolve().parent


def others(shop: Path, *names: str) -> list[Path]:
    """Clones without tags."""
    return [faked.clone(shop, shop.parent / name) for name in names]


def names(root: Path) -> list[str]:
    """The versions that origin has."""
    return sorted(n for n in listed(root) if "@" in n)


def test_a_clone_names_a_tag_only_once_origin_has_it(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the push is under way no tag stands here that would be a lie if it failed."""
    seen = []

    def pushed(root: Path, *rest: object) -> bool:
        seen.append(local(root))
        return real(root, *rest)

    real = tags._push
    monkeypatch.setattr(tags, "_push", pushed)
    assert register.run(shop, push=True)["created"]
    assert seen == [{}]
    assert list(local(shop)) == [FIRST]
    assert local(shop) == listed(shop)


def test_a_clone_with_old_tags_takes_no_number_that_is_taken(shop: Path) -> None:
    """Origin's tags are fetched before a number is chosen, by name and object."""
    (late,) = others(shop, "late")
    register.run(shop, push=True)
    git(late, "tag", "--annotate", FIRST, "--message", "of another model")  # stale
    faked.data(late, "two")
    faked.push(late)
    done = register.run(late, push=True)
    assert (done["version"], done["created"]) == ("v1.0.1", True)
    assert local(late) == listed(shop)


def test_of_two_that_decide_alike_one_wins_and_the_other_decides_again(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loser, whose number was free when it looked, ends with the next one and no leftovers."""
    (late,) = others(shop, "late")
    faked.data(late, "two")
    faked.push(late)
    real, calls = tags._push, []

    def pushed(root: Path, *rest: object) -> bool:
        if root == late and not calls:
            calls.append(1)
            register.run(shop, push=True)  # in the very moment between look and push
        return real(root, *rest)

    monkeypatch.setattr(tags, "_push", pushed)
    done = register.run(late, push=True)
    assert (done["version"], names(shop)) == ("v1.0.1", [FIRST, f"{MODEL}@v1.0.1"])
    assert local(late) == listed(shop)


def test_a_decision_on_an_old_view_is_not_written_under_another_number(shop: Path) -> None:
    """One model, two numbers: the guard refuses the second though its own number is free."""
    old = tags.look(shop, MODEL, push=True)
    register.run(shop, push=True)
    second = tags.Wanted(f"{MODEL}@v2.0.0", git(shop, "rev-parse", "HEAD"), "x")
    assert not tags.write(shop, old, second)
    assert (names(shop), list(local(shop))) == ([FIRST], [FIRST])


def test_the_same_holds_among_processes_of_one_clone(shop: Path) -> None:
    """Without a push the guard is this clone's own."""
    old = tags.look(shop, MODEL, push=False)
    register.run(shop)
    second = tags.Wanted(f"{MODEL}@v2.0.0", git(shop, "rev-parse", "HEAD"), "x")
    assert not tags.write(shop, old, second)
    assert list(local(shop)) == [FIRST]
    assert listed(shop) == {}


def test_whoever_always_loses_says_so_and_changes_nothing(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 24 only after several tries."""
    calls: list[int] = []
    monkeypatch.setattr(tags, "PAUSE", 0)
    monkeypatch.setattr(tags, "_push", lambda *_: bool(calls.append(1)))
    with pytest.raises(RaceError, match="16 times") as raised:
        register.run(shop, push=True)
    assert (raised.value.status, len(calls), local(shop)) == (24, tags.TRIES, {})


def test_a_version_registered_here_is_pushed_later(shop: Path) -> None:
    """First without, then with --push: one version, the same on both sides; then nothing."""
    assert register.run(shop)["version"] == "v1.0.0"
    assert listed(shop) == {}
    assert register.run(shop, push=True)["created"]
    assert local(shop) == listed(shop) != {}
    assert not register.run(shop, push=True)["created"]


def test_a_tag_left_here_under_a_stale_number_goes(shop: Path) -> None:
    """A checkout without tags began again at v1.0.0; pushed, it is what origin's tags make it."""
    for word in ("two", "three"):
        register.run(shop, push=True)
        faked.data(shop, word)
        faked.push(shop)
    (blank,) = others(shop, "blank")
    assert register.run(blank)["version"] == "v1.0.0"
    git(blank, "tag", "v1.4.0-of-a-person")
    assert register.run(blank, push=True)["version"] == "v1.0.2"
    mine = local(blank)
    mine.pop("v1.4.0-of-a-person")
    assert mine == listed(shop)
    assert len(names(shop)) == 3


@pytest.mark.parametrize("after", ["object", "push"])
def test_killed_between_tag_and_push_the_next_run_ends_in_one_version(
    shop: Path, after: str
) -> None:
    """kill -9 once the tag is made, or once origin has it and this clone does not know."""
    code = KILLED.format(after={"object": "_object", "push": "_push"}[after])
    ended = subprocess.run([sys.executable, "-c", code, str(shop)], check=False,
                           env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert ended.returncode == -signal.SIGKILL
    assert local(shop) == {}
    assert len(listed(shop)) == (after == "push")
    again = register.run(shop, push=True)
    assert again["created"] == (after == "object")
    assert names(shop) == [FIRST]
    assert local(shop) == listed(shop)


KILLED = """
import os, signal, sys
from pathlib import Path
from unittest import mock
import faked
from mainline.register import register, tags
real = tags.{after}
def ended(*arguments):
    real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
tags.{after} = ended
faked.passing(mock.Mock(setattr=setattr))
register.run(Path(sys.argv[1]), push=True)
"""


def test_a_tag_that_another_tool_left_and_never_pushed_is_made_anew(shop: Path) -> None:
    """GTO killed before its push: its tag has no digest, and stands in the way."""
    git(shop, "tag", "--annotate", FIRST, "--message", "Registering artifact")
    assert register.run(shop, push=True)["version"] == "v1.0.0"
    (version,) = registry.versions(shop, MODEL)
    assert version.digest is not None
    assert local(shop) == listed(shop)


def test_a_remote_that_refuses_is_told_with_its_reason(shop: Path) -> None:
    """Status 21 with what the hook said; at once, and no tag stands here."""
    hook = Path(git(shop, "config", "remote.origin.url")) / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'tags are made by the release job' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(RemoteError, match="tags are made by the release job") as raised:
        register.run(shop, push=True)
    assert (raised.value.status, local(shop), listed(shop)) == (21, {}, {})
    hook.unlink()
    assert register.run(shop, push=True)["version"] == "v1.0.0"


@pytest.mark.parametrize("arrives", [True, False])
def test_a_push_whose_answer_is_lost_counts_where_it_arrived(
    shop: Path, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    """What origin has decides, not what the connection said; else status 21 with Git's words."""
    real = tags.ask_git

    def cut(root: Path, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        if words[0] != "push":
            return real(root, *words, **more)
        if arrives:
            real(root, *words, **more)
        return subprocess.CompletedProcess(words, 128, "", "fatal: the remote end hung up\n")

    monkeypatch.setattr(tags, "ask_git", cut)
    if arrives:
        assert register.run(shop, push=True)["created"]
        assert local(shop) == listed(shop) != {}
    else:
        with pytest.raises(RemoteError, match="the remote end hung up"):
            register.run(shop, push=True)
        assert (local(shop), listed(shop)) == ({}, {})


def test_a_remote_that_is_gone_is_named(shop: Path) -> None:
    """Status 21 before anything is written."""
    git(shop, "remote", "set-url", "origin", str(shop.parent / "nowhere.git"))
    with pytest.raises(RemoteError, match="'origin' cannot be asked") as raised:
        register.run(shop, push=True)
    assert (raised.value.status, local(shop)) == (21, {})


def test_without_a_remote_the_clone_is_the_registry(shop: Path) -> None:
    """Versions and stages are tags of this clone; --push says what is missing."""
    git(shop, "remote", "remove", "origin")
    assert register.run(shop)["version"] == "v1.0.0"
    assert lifecycle.assign(shop, "v1.0.0", "prod")["changed"]
    with pytest.raises(RemoteError):
        lifecycle.assign(shop, "v1.0.0", "dev", push=True)


def test_a_clone_that_cannot_be_written_is_no_endless_race(shop: Path) -> None:
    """A folder of refs that is none: one sentence and status 20, not twenty tries."""
    git(shop, "pack-refs", "--all")
    shutil.rmtree(shop / ".git" / "refs" / "tags")
    (shop / ".git" / "refs" / "tags").write_text("")
    with pytest.raises(DataError, match="could not be written into this clone"):
        register.run(shop)


def test_a_clone_that_cannot_be_written_after_the_push_says_that_origin_has_it(
    shop: Path,
) -> None:
    """Nothing is lost: another clone finds the version there."""
    git(shop, "pack-refs", "--all")
    shutil.rmtree(shop / ".git" / "refs" / "tags")
    (shop / ".git" / "refs" / "tags").write_text("")
    with pytest.raises(DataError, match="origin has it, this clone has not"):
        register.run(shop, push=True)
    (other,) = others(shop, "other")
    assert not register.run(other, push=True)["created"]
    assert list(local(other)) == [FIRST]


def test_a_tag_deleted_on_the_remote_is_registered_anew(shop: Path) -> None:
    """Who deletes a version's tag takes the version back; this commit then lacks one again."""
    register.run(shop, push=True)
    lifecycle.assign(shop, "v1.0.0", "prod", push=True)
    git(shop, "push", "--quiet", "origin", f":refs/tags/{MODEL}#prod#1")
    assert lifecycle.assign(shop, "v1.0.0", "prod", push=True)["tag"] == f"{MODEL}#prod#1"
    git(shop, "push", "--quiet", "origin", f":refs/tags/{FIRST}")
    assert register.run(shop, push=True)["created"]
    assert local(shop) == listed(shop)


def test_a_guard_that_somebody_deleted_is_made_again(shop: Path) -> None:
    """It records nothing: without it the next write is the first one."""
    register.run(shop, push=True)
    git(shop, "push", "--quiet", "origin", f":{tags.GUARD}{MODEL}")
    assert lifecycle.assign(shop, "v1.0.0", "prod", push=True)["changed"]
    assert local(shop) == listed(shop)


def test_a_shallow_clone_is_told_to_fetch_the_rest(shop: Path) -> None:
    """Its history cannot say what is on main, so nothing is registered or promoted."""
    register.run(shop, push=True)
    thin = shop.parent / "thin"
    faked.data(shop, "two")
    faked.push(shop)
    origin = git(shop, "config", "remote.origin.url")
    git(shop, "clone", "--quiet", "--depth", "1", f"file://{origin}", str(thin))
    for call in (register.run, register.plan, lambda r: lifecycle.assign(r, "v1.0.0", "prod")):
        with pytest.raises(RemoteError, match="git fetch --unshallow --tags"):
            call(thin)


def test_gto_reads_these_tags_as_its_own(shop: Path) -> None:
    """`gto show` and `gto history` know versions, stages, authors and commits."""
    import gto.api

    register.run(shop, push=True)
    lifecycle.assign(shop, "v1.0.0", "staging", push=True)
    lifecycle.assign(shop, "v1.0.0", "prod", push=True, reason="it is good")
    faked.data(shop, "two")
    faked.push(shop)
    register.run(shop)
    lifecycle.assign(shop, "v1.0.1", "prod")
    (found,) = gto.api.show(str(shop), f"{MODEL}#prod")
    assert found["version"] == "v1.0.1"
    events = gto.api.history(str(shop), MODEL, ascending=True)
    seen = [(e["event"].split(".")[-1], e["version"], e["stage"], e["author"]) for e in events]
    assert [s for s in seen if s[0] != "commit"] == [
        ("registration", "v1.0.0", None, "Ann"), ("assignment", "v1.0.0", "staging", "Ann"),
        ("assignment", "v1.0.0", "prod", "Ann"), ("registration", "v1.0.1", None, "Ann"),
        ("assignment", "v1.0.1", "prod", "Ann"),
    ]  # fmt: skip
