"""What is inconclusive passes where a person who may write accepts it for this very commit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakehub
import pytest

from mainline.report import acceptance, gate
from mainline.report.acceptance import LABEL, Asked
from mainline.verdict import Check, StepVerdict, Verdict

PASS, UNSURE, FAIL, ERROR = Verdict
OLD, SHA = "0a" * 20, "ab" * 20
BEFORE, STARTED, AFTER, LATER = (f"2026-01-01T12:0{n}:00Z" for n in range(4))


@pytest.fixture
def hub() -> Iterator[fakehub.Hub]:
    """Pull request 7 at SHA, whose run has started; `rev` may write, `ann` made it and may not."""
    with fakehub.serving() as made:
        made.open(7, "change", SHA)
        made.began(SHA, "change", STARTED)
        made.permissions.update(rev="write", boss="admin", ann="read", robot="write")
        yield made


def environment(hub: fakehub.Hub, tmp_path: Path, **event: Any) -> dict[str, str]:
    """What the gate's step sees in a run of pull request 7."""
    place = tmp_path / "event.json"
    document = event or {"pull_request": {"number": 7, "head": {"sha": SHA}}}
    place.write_text(json.dumps(document), "utf-8")
    name = "workflow_dispatch" if "inputs" in event else "pull_request"
    return {"GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(place), "GITHUB_SHA": SHA,
            "GITHUB_REPOSITORY": "acme/fraud", "GITHUB_TOKEN": hub.token,
            "GITHUB_API_URL": hub.url}  # fmt: skip


@pytest.mark.parametrize("who", ["rev", "boss"])
def test_a_person_who_may_write_accepts(hub: fakehub.Hub, tmp_path: Path, who: str) -> None:
    """Who, when, for which commit and under which event is kept."""
    hub.label(7, LABEL, who, AFTER)
    found = acceptance.read(environment(hub, tmp_path))
    assert found is not None
    assert (found.who, found.when, found.commit, found.pull) == (who, AFTER, SHA, 7)
    assert found.label == hub.events[7][-1]["id"]


def test_a_dispatched_run_accepts_for_the_pull_request_that_it_names(
    hub: fakehub.Hub, tmp_path: Path
) -> None:
    """The input `pr` names it; without it, or at another commit, nothing is accepted."""
    hub.label(7, LABEL, "rev", AFTER)
    for given in ("7", " #7 "):
        assert acceptance.read(environment(hub, tmp_path, inputs={"pr": given}))
    assert acceptance.ask(environment(hub, tmp_path, inputs={"pr": ""})) == Asked()
    elsewhere = environment(hub, tmp_path, inputs={"pr": "7"}) | {"GITHUB_SHA": OLD}
    assert "moved on" in acceptance.ask(elsewhere).why


def by_a_bot(hub: fakehub.Hub) -> None:
    """A bot that may write puts the label on."""
    hub.label(7, LABEL, "robot", AFTER, kind="Bot")


def by_its_author(hub: fakehub.Hub) -> None:
    """The author, who may not write, puts the label on."""
    hub.label(7, LABEL, "ann", AFTER)


def by_nobody_known(hub: fakehub.Hub) -> None:
    """Somebody without any right puts the label on."""
    hub.label(7, LABEL, "stranger", AFTER)


def before_the_run(hub: fakehub.Hub) -> None:
    """The label was there before the run began."""
    hub.label(7, LABEL, "rev", BEFORE)


def in_the_same_second(hub: fakehub.Hub) -> None:
    """The label came with the run."""
    hub.label(7, LABEL, "rev", STARTED)


def then_a_new_commit(hub: fakehub.Hub) -> None:
    """The label is for the commit before this one."""
    hub.runs.clear()
    hub.began(OLD, "change", BEFORE)
    hub.label(7, LABEL, "rev", STARTED)
    hub.began(SHA, "change", AFTER)


def then_set_back(hub: fakehub.Hub) -> None:
    """The label is for another commit; then the branch was set back to one that had run before."""
    hub.began(OLD, "change", AFTER)
    hub.label(7, LABEL, "rev", AFTER)
    hub.began(SHA, "change", LATER)


def only_elsewhere(hub: fakehub.Hub) -> None:
    """The commit ran on other branches, in a fork and in another workflow only."""
    hub.runs.clear()
    hub.began(SHA, "other", BEFORE)
    hub.began(SHA, "change", BEFORE, repository="someone/fraud")
    hub.began(SHA, "change", BEFORE, workflow="check.yml")
    hub.label(7, LABEL, "rev", AFTER)


def told_twice(hub: fakehub.Hub) -> None:
    """The pull request still shows a label that its events say was taken off."""
    hub.label(7, LABEL, "rev", AFTER)
    hub.unlabel(7, LABEL, "rev", LATER)
    hub.pull(7)["labels"] = [{"name": LABEL}]


def refused(path: str, status: int = 403) -> Callable[[fakehub.Hub], None]:
    """GitHub does not answer to one path."""

    def spoil(hub: fakehub.Hub) -> None:
        hub.label(7, LABEL, "rev", AFTER)
        hub.refused[path] = status

    return spoil


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (by_a_bot, "not a person"),
        (by_its_author, "ann .* may not write"),
        (by_nobody_known, "stranger .* may not write"),
        (before_the_run, "older than the run .* put it on again"),
        (in_the_same_second, "older than the run"),
        (then_a_new_commit, "older than the run"),
        (then_set_back, "older than the run"),
        (only_elsewhere, "no run of train.yml"),
        (told_twice, "does not tell who put"),
        (refused("pulls/7"), "answered 403 to GET pulls/7"),
        (refused("issues/7/events"), "answered 403"),
        (refused("collaborators", 500), "answered 500"),
        (refused("actions/workflows", 404), "answered 404"),
        (lambda hub: hub.label(7, LABEL, "rev", AFTER) or hub.events[7].clear(), "who put"),
        (lambda hub: hub.label(7, LABEL, "rev", "yesterday"), "times were not understood"),
        (lambda hub: hub.label(7, LABEL, "rev", AFTER) or hub.events[7][0].pop("actor"),
         "not understood"),
        (lambda hub: hub.label(7, LABEL, "rev", AFTER) or hub.pull(7)["head"].update(sha=OLD),
         "moved on"),
    ],
)  # fmt: skip
def test_what_does_not_count_says_why(
    hub: fakehub.Hub, tmp_path: Path, spoil: Callable[[fakehub.Hub], None], why: str
) -> None:
    """Nothing but a person's label after this commit's run counts; an error never does."""
    import re

    spoil(hub)
    asked = acceptance.ask(environment(hub, tmp_path))
    assert asked.acceptance is None
    assert re.search(why, asked.why), asked.why


def test_a_label_that_was_taken_off_or_never_put_on_is_not_spoken_of(
    hub: fakehub.Hub, tmp_path: Path
) -> None:
    """Nobody tried, so there is nothing to explain."""
    assert acceptance.ask(environment(hub, tmp_path)) == Asked()
    hub.label(7, LABEL, "rev", AFTER)
    hub.unlabel(7, LABEL, "rev", LATER)
    hub.label(7, "other", "rev", LATER)
    assert acceptance.ask(environment(hub, tmp_path)) == Asked()


def test_a_label_that_was_put_on_again_counts(hub: fakehub.Hub, tmp_path: Path) -> None:
    """The last time is what counts, and who did it."""
    hub.label(7, LABEL, "rev", BEFORE)
    hub.unlabel(7, LABEL, "rev", STARTED)
    hub.label(7, LABEL, "boss", AFTER)
    found = acceptance.read(environment(hub, tmp_path))
    assert found is not None
    assert found.who == "boss"


@pytest.mark.parametrize("gone", ["GITHUB_TOKEN", "GITHUB_REPOSITORY", "GITHUB_EVENT_PATH"])
def test_outside_a_workflow_nothing_is_accepted(
    hub: fakehub.Hub, tmp_path: Path, gone: str
) -> None:
    """No token, no repository, no event: not accepted, and no error."""
    hub.label(7, LABEL, "rev", AFTER)
    env = environment(hub, tmp_path)
    del env[gone]
    assert acceptance.read(env) is None
    assert acceptance.read({}) is None
    assert acceptance.ask(env | {"GITHUB_EVENT_NAME": "push"}) == Asked()


def test_a_label_behind_many_events_and_runs_is_found(hub: fakehub.Hub, tmp_path: Path) -> None:
    """Lists are read to their last page."""
    for _ in range(120):
        hub.label(7, "noise", "rev", STARTED)
        hub.began(SHA, "change", AFTER)
    hub.label(7, LABEL, "rev", AFTER)
    assert acceptance.read(environment(hub, tmp_path))


def found(*verdicts: Verdict) -> StepVerdict:
    return StepVerdict("gate", tuple(Check(f"c{n}", v, "because") for n, v in enumerate(verdicts)))


ACCEPTED = Asked(acceptance.Acceptance("rev", AFTER, SHA, 7, 5000))


def test_the_gate_lifts_what_is_inconclusive_and_says_who_did() -> None:
    """A check `accepted` names who, when and the commit, and the verdict file reads as a PASS."""
    done = gate.lift(found(PASS, UNSURE, UNSURE), ACCEPTED)
    assert done.verdict is PASS
    told = next(c for c in done.checks if c.name == "accepted")
    for part in ("rev", AFTER, SHA[:12], "#7"):
        assert part in told.reason
    assert done.checks[1].reason == "because; inconclusive, and accepted"


@pytest.mark.parametrize("worse", [FAIL, ERROR])
def test_a_label_lifts_neither_fail_nor_error(worse: Verdict) -> None:
    """Beside one of these nothing is lifted."""
    before = found(PASS, UNSURE, worse)
    assert gate.lift(before, ACCEPTED) == before


def test_what_passed_needs_nobody() -> None:
    """A label on what passed leaves no mark."""
    assert gate.lift(found(PASS), ACCEPTED) == found(PASS)


def test_the_gate_says_why_a_label_did_not_count() -> None:
    """It stays INCONCLUSIVE, with one more reason."""
    done = gate.lift(found(UNSURE), Asked(why="the label is older"))
    assert done.verdict is UNSURE
    assert done.checks[-1].reason == "Not accepted: the label is older"
    assert gate.lift(found(UNSURE), Asked()) == found(UNSURE)


@pytest.mark.parametrize("spoil", [lambda s: "was not written", lambda s: replace(s, inputs={})])
def test_a_missing_or_stale_verdict_is_never_lifted(
    tmp_path: Path, spoil: Callable[[StepVerdict], StepVerdict | str]
) -> None:
    """Three that passed and one that is not there is an ERROR with a label as without."""
    given = {"code": "sha256:c", "data": "d", "split": "s", "model": "m"}
    steps: dict[str, StepVerdict | str] = {
        name: StepVerdict(name, (Check("c", UNSURE, "because"),), given) for name in gate.REQUIRED
    }
    assert gate.lift(gate.decide(steps, "sha256:c"), ACCEPTED).verdict is PASS
    for name in gate.REQUIRED:
        one = steps[name]
        assert isinstance(one, StepVerdict)
        spoilt = gate.decide({**steps, name: spoil(one)}, "sha256:c")
        assert gate.lift(spoilt, ACCEPTED).verdict is ERROR
