"""Stages: each move is one tag, twice is once, and a rollback goes back one step and no further."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import faked
import pytest
from faked import MODEL, listed, local
from small import Ran, git

from mainline import registry
from mainline.errors import RaceError, UsageError
from mainline.register import lifecycle, message, register, tags, verify
from mainline.register.trust import NotTrusted

Call = Callable[..., Ran]


@pytest.fixture
def three(shop: Path) -> Path:
    """v1.0.0, v1.0.1 and v1.0.2, each of which has stood at prod."""
    for word in ("two", "three", ""):
        name = register.run(shop, push=True)["version"]
        lifecycle.assign(shop, name, "prod", push=True)
        if word:
            faked.data(shop, word)
            faked.push(shop)
    return shop


def prod(root: Path) -> list[str]:
    """What stood at prod, first to last."""
    return [v.name for v in registry.assignments(root, MODEL, "prod")]


def test_a_stage_holds_what_was_assigned_last_and_twice_is_once(shop: Path) -> None:
    """Numbers count over all stages, as GTO counts them."""
    register.run(shop, push=True)
    for stage in ("dev", "staging", "prod", "dev"):
        lifecycle.assign(shop, "v1.0.0", stage, push=True)
    assert sorted(n for n in listed(shop) if "#" in n) == [
        f"{MODEL}#dev#1", f"{MODEL}#prod#3", f"{MODEL}#staging#2",
    ]  # fmt: skip
    again = lifecycle.assign(shop, "v1.0.0", "dev", push=True)
    assert (again["changed"], "already" in again["text"]) == (False, True)


def test_unknown_stages_and_versions_are_named(three: Path) -> None:
    """Wrong use of the command line, with what there is."""
    with pytest.raises(UsageError, match="dev, staging, prod"):
        lifecycle.assign(three, "v1.0.0", "moon")
    with pytest.raises(UsageError, match=r"no version 'v9\.0\.0'"):
        lifecycle.assign(three, "v9.0.0", "prod", push=True)
    with pytest.raises(UsageError, match="no version 'other@"):
        lifecycle.assign(three, "other@v1.0.0", "prod")


def test_a_rollback_goes_to_the_version_before_and_twice_is_once(three: Path) -> None:
    """The second one sees that it is done; the tag says from where."""
    done = lifecycle.rollback(three, push=True, reason="it answers slowly")
    assert (done["version"], done["changed"]) == ("v1.0.1", True)
    again = lifecycle.rollback(three, push=True)
    assert (again["version"], again["changed"]) == ("v1.0.1", False)
    assert "rolled back from v1.0.2" in again["text"]
    assert prod(three) == ["v1.0.0", "v1.0.1", "v1.0.2", "v1.0.1"]
    last = registry.moves(three, MODEL)[-1]
    assert (last.back_from, last.reason, last.by) == ("v1.0.2", "it answers slowly", "Ann")


def test_a_rollback_that_is_named_goes_where_it_is_told(three: Path) -> None:
    """Further back too, after a rollback too, and once."""
    lifecycle.rollback(three)
    assert lifecycle.rollback(three, "v1.0.0")["changed"]
    assert not lifecycle.rollback(three, "v1.0.0")["changed"]
    assert prod(three)[-2:] == ["v1.0.1", "v1.0.0"]


def test_after_a_new_promotion_one_can_roll_back_again(three: Path) -> None:
    """Only a rollback that still stands is not repeated."""
    lifecycle.rollback(three)
    lifecycle.assign(three, "v1.0.2", "prod")
    assert lifecycle.rollback(three)["version"] == "v1.0.1"


@pytest.mark.parametrize("away", registry.AWAY)
def test_a_version_that_was_put_away_is_not_chosen(three: Path, away: str) -> None:
    """A rollback passes over it, and one to it by name is refused; a promotion brings it back."""
    lifecycle.put_away(three, "v1.0.1", away, reason="it leaked the label")
    assert not lifecycle.put_away(three, "v1.0.1", away)["changed"]
    with pytest.raises(UsageError, match=f"is {away}"):
        lifecycle.rollback(three, "v1.0.1")
    assert lifecycle.rollback(three)["version"] == "v1.0.0"
    lifecycle.assign(three, "v1.0.1", "staging")
    assert registry.put_away(registry.moves(three, MODEL)) == {}


@pytest.mark.parametrize("away", registry.AWAY)
def test_what_stands_at_prod_is_not_put_away(three: Path, away: str) -> None:
    """Else nothing that should run would be left."""
    with pytest.raises(UsageError, match="is at prod"):
        lifecycle.assign(three, "v1.0.2", away)
    assert away not in " ".join(local(three))


def test_a_rollback_says_what_was_rolled_back(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a later step of the workflow, and the same when it is run again: that rejects it."""
    outputs = three.parent / "outputs"
    monkeypatch.setenv("GITHUB_OUTPUT", str(outputs))
    for _ in range(2):
        assert lifecycle.rollback(three, push=True)["from"] == "v1.0.2"
    assert outputs.read_text() == "version=v1.0.1\nfrom=v1.0.2\n" * 2
    assert lifecycle.put_away(three, "v1.0.2", "rejected", push=True, reason="wrong")["changed"]
    assert registry.put_away(registry.moves(three, MODEL)) == {"v1.0.2": "rejected"}
    with pytest.raises(UsageError, match="is rejected"):
        lifecycle.rollback(three, "v1.0.2")


def test_who_was_healthy(three: Path) -> None:
    """What stood at prod and gave way to something newer; not what was taken back or put away."""

    def good() -> list[str]:
        return [v.name for v in registry.healthy(registry.moves(three, MODEL))]

    assert good() == ["v1.0.2", "v1.0.1", "v1.0.0"]
    lifecycle.rollback(three)
    assert good() == ["v1.0.1", "v1.0.0"]
    lifecycle.put_away(three, "v1.0.0", "archived")
    assert good() == ["v1.0.1"]
    lifecycle.assign(three, "v1.0.2", "prod")
    assert good() == ["v1.0.2", "v1.0.1"]


def test_with_nothing_before_there_is_no_rollback(shop: Path) -> None:
    """Neither before the first version nor from it."""
    register.run(shop)
    with pytest.raises(UsageError, match="No version stands at prod"):
        lifecycle.rollback(shop)
    lifecycle.assign(shop, "v1.0.0", "prod")
    with pytest.raises(UsageError, match=r"Before card-fraud@v1\.0\.0 no version stood"):
        lifecycle.rollback(shop)


def test_of_two_rollbacks_at_once_one_goes_back(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slower one decides again, sees that it is done, and does not go back twice."""
    _meanwhile(monkeypatch, lambda: lifecycle.rollback(three, push=True))
    assert not lifecycle.rollback(three, push=True)["changed"]
    assert prod(three)[-2:] == ["v1.0.2", "v1.0.1"]


def test_a_rollback_does_not_take_back_what_came_meanwhile(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was meant for v1.0.2; a version promoted in that moment is another matter (24)."""
    _meanwhile(monkeypatch, lambda: lifecycle.assign(three, "v1.0.0", "prod", push=True))
    with pytest.raises(RaceError, match=r"v1\.0\.0 came to prod while .*v1\.0\.2"):
        lifecycle.rollback(three, push=True)
    assert prod(three)[-1] == "v1.0.0"


def test_a_version_that_comes_to_prod_meanwhile_is_not_archived(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two moves of one version under two names, of which the second sees the first."""
    _meanwhile(monkeypatch, lambda: lifecycle.assign(three, "v1.0.0", "prod", push=True))
    with pytest.raises(UsageError, match="is at prod"):
        lifecycle.put_away(three, "v1.0.0", "rejected", push=True)


def _meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let `act` be done by another process between the look and the push of the next command."""
    real, calls = tags._push, []

    def pushed(*arguments: object) -> bool:
        if not calls:
            calls.append(1)
            act()
        return real(*arguments)

    monkeypatch.setattr(tags, "_push", pushed)


def test_what_only_this_clone_assigned_does_not_count_when_pushing(three: Path) -> None:
    """Origin is the truth: a promotion that was never pushed is neither seen nor kept."""
    lifecycle.assign(three, "v1.0.0", "prod")
    lifecycle.assign(three, "v1.0.1", "prod")
    done = lifecycle.assign(three, "v1.0.2", "staging", push=True)
    assert done["tag"] == f"{MODEL}#staging#4"
    assert local(three) == listed(three)
    assert registry.at_stage(three, MODEL, "prod").name == "v1.0.2"


def test_a_version_that_is_only_here_is_not_promoted_on_origin(shop: Path) -> None:
    """It says what to do first."""
    register.run(shop)
    with pytest.raises(UsageError, match="register --push"):
        lifecycle.assign(shop, "v1.0.0", "prod", push=True)


def test_a_checkout_without_tags_promotes_by_those_of_origin(three: Path) -> None:
    """`--push` fetches them; without it one is told to."""
    blank = faked.clone(three, three.parent / "blank")
    with pytest.raises(UsageError, match="git fetch --tags"):
        lifecycle.assign(blank, "v1.0.0", "prod")
    assert lifecycle.assign(blank, "v1.0.0", "prod", push=True)["changed"]
    assert local(blank) == listed(three)


def test_an_unsigned_version_does_not_come_to_prod_where_main_refuses_it(shop: Path) -> None:
    """By promotion or by rollback; elsewhere it may stand."""
    register.run(shop)
    faked.data(shop, "two")
    faked.push(shop)
    register.run(shop)
    lifecycle.assign(shop, "v1.0.0", "prod")
    lifecycle.assign(shop, "v1.0.1", "prod")
    faked.edit(shop, "params.yaml", "unsigned: allow", "unsigned: refuse")
    faked.push(shop)
    for move in (
        lambda: lifecycle.assign(shop, "v1.0.0", "prod"),
        lambda: lifecycle.rollback(shop),
    ):
        with pytest.raises(NotTrusted, match="UNSIGNED"):
            move()
    assert lifecycle.assign(shop, "v1.0.0", "staging")["changed"]
    assert prod(shop) == ["v1.0.0", "v1.0.1"]


def test_a_clone_that_is_behind_promotes_what_was_merged_since(shop: Path) -> None:
    """The version's commit is on main, as origin has it; this clone has not heard of it yet."""
    late = faked.clone(shop, shop.parent / "late")
    faked.data(shop, "two")
    faked.push(shop)
    register.run(shop, push=True)
    assert lifecycle.assign(late, "v1.0.0", "prod", push=True)["changed"]
    assert git(late, "rev-parse", "origin/main") == git(shop, "rev-parse", "HEAD")


def test_what_stands_at_prod_already_is_not_asked_again(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing moves, so nothing is verified."""
    monkeypatch.setattr(verify, "require", lambda *_: pytest.fail("asked"))
    assert not lifecycle.assign(three, "v1.0.2", "prod")["changed"]


def test_the_history_tells_who_when_and_why_in_order(three: Path, call: Call) -> None:
    """Registrations and moves by time; the same for machines."""
    lifecycle.put_away(three, "v1.0.0", "archived", reason="too old")
    lifecycle.rollback(three, reason="slow")
    said = call(three, "history").out.splitlines()
    assert [line.split("  ", 1)[1].strip() for line in said] == [
        "v1.0.0    registered, by Ann", "v1.0.0    to prod, by Ann",
        "v1.0.1    registered, by Ann", "v1.0.1    to prod, by Ann",
        "v1.0.2    registered, by Ann", "v1.0.2    to prod, by Ann",
        "v1.0.0    archived, by Ann: too old",
        "v1.0.1    to prod, back from v1.0.2, by Ann: slow",
    ]  # fmt: skip
    events = json.loads(call(three, "history", "--json").out)["history"]
    assert [e["event"] for e in events[-3:]] == ["promoted", "archived", "rolled back"]
    assert (events[-1]["back_from"], events[-1]["count"]) == ("v1.0.2", 5)
    assert events[0]["digest"].startswith("sha256:")
    whens = [e["when"] for e in events]
    assert whens == sorted(set(whens)), "each tag is later than those before it"


def test_an_empty_history_says_so(shop: Path, call: Call) -> None:
    """Nothing is no error."""
    assert call(shop, "history").out == "Nothing of 'card-fraud' is registered here.\n"


def test_the_commands_call_all_this(three: Path, call: Call) -> None:
    """promote, rollback and archive with their reasons, by the command line."""
    assert call(three, "promote", "v1.0.0", "--to", "dev", "--reason", "try").status == 0
    assert "back" in call(three, "rollback", "--push", "--reason", "bad").out or prod(three)
    assert call(three, "archive", "v1.0.2", "--push").status == 0
    assert call(three, "reject", "v1.0.2", "--push", "--reason", "slow").status == 0
    assert "rejected, by Ann: slow" in call(three, "history").out
    assert call(three, "promote", "v1.0.1", "--to", "archived").status == 2
    assert prod(three)[-1] == "v1.0.1"


def test_a_reason_cannot_become_a_trailer(three: Path) -> None:
    """Line ends in it are blanks: nobody writes `Rolled-Back-From` by way of a reason."""
    evil = "fine\n\nVersion: v1.0.2\nRolled-Back-From: v9.9.9\x00\x1b[31m\u2028x"
    lifecycle.assign(three, "v1.0.0", "prod", reason=evil)
    last = registry.moves(three, MODEL)[-1]
    assert (last.version.name, last.back_from) == ("v1.0.0", "")
    assert last.reason == "fine Version: v1.0.2 Rolled-Back-From: v9.9.9 [31m x"
    assert message.one_line("a" * 999).endswith("…")


def test_moves_are_read_from_names_alone_too(shop: Path) -> None:
    """GTO's own tags, without trailers, and names that are none of ours."""
    register.run(shop)
    for name in ("prod#1", "prod#x", "prod!#2", "prod#2#3", "prod#²"):
        git(shop, "tag", "--annotate", f"{MODEL}#{name}", "--message", "by hand")
    (move,) = registry.moves(shop, MODEL)
    assert (move.stage, move.count, move.version.name, move.reason) == ("prod", 1, "v1.0.0", "")
