"""Bad input to a rollout: one sentence each, and traffic is what it was."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from copies import ROOT
from rollout.rig import Rig, argv, digest, policy, rig

from mainline import settings
from mainline.errors import MainlineError, PlatformError, RaceError, SettingsError, UsageError
from mainline.rollout import host, rollout, state
from mainline.verdict import Verdict


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One target with version a live."""
    with rig(tmp_path_factory.mktemp("bad")) as found:
        yield found


@pytest.fixture
def untouched(live: Rig) -> Iterator[Rig]:
    """The live target; what happens in between must not be seen by a client."""
    route, events = live.state().route, live.events()
    with live.traffic(rate=200) as client:
        yield live
        assert live.until(lambda: client.totals.ok > 20)
    assert (client.totals.lost, set(client.totals.codes)) == (0, {200})
    assert (live.state().route, live.answering()) == (route, {"a"})
    assert set(live.events()[len(events) :]) <= {"refused"}
    assert {n for n in host.programs(live.target) if n.startswith("model-")} == {
        live.arm("a").program
    }


def sentence(error: BaseException) -> str:
    """The message, which is one for people: no traceback, one line."""
    assert isinstance(error, MainlineError)
    assert "\n" not in str(error) and "Traceback" not in str(error)
    return str(error)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("weight: 25", "weight: 60", "must rise"),
        ("weight: 100", "weight: 90", "must have weight 100"),
        ("weight: 25", "weight: 105", "weight"),
        ("requests: 1000", "requests: 0", "without a request"),
        ("requests: 1000", "requests: many", "requests"),
        ("plan: auto", "plan: yolo", "plan"),
        ("plan: auto", "rates: 5", "rates"),
    ],
)
def test_a_plan_that_does_not_add_up_is_refused_before_anything_moves(
    tmp_path: Path, old: str, new: str, word: str
) -> None:
    """What is wrong in the section `rollout` of params.yaml is named."""
    text = (ROOT / "params.yaml").read_text("utf-8")
    assert text.count(old) >= 1, old
    head, mark, section = text.partition("\nrollout:")
    (tmp_path / "params.yaml").write_text(head + mark + section.replace(old, new, 1))
    with pytest.raises(SettingsError) as found:
        settings.load(tmp_path)
    assert word in str(found.value)
    assert found.value.status == 22


@pytest.mark.parametrize("name", ["envoy", "supervisor"])
def test_a_missing_wheel_is_named(
    untouched: Rig, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Without Envoy or supervisor nothing is started, and the status is 23."""
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PlatformError) as found:
        untouched.start("b")
    assert name in sentence(found.value).lower()


def test_a_command_that_is_not_there_is_refused(untouched: Rig) -> None:
    """A version whose service cannot even be started gets no traffic, and no process is left."""
    refused = rollout.start(untouched.root, "b", untouched.artifact, digest("b"),
                            command=["/no/such/program"], policy=policy())  # fmt: skip
    assert refused.verdict is Verdict.FAIL
    assert "No such file" in refused.checks[-1].reason


def unknown_stage(live: Rig) -> object:
    return live.stage("canary-42")


def nothing_to_go_back_to(live: Rig) -> object:
    return rollout.rollback(live.root)


def nothing_to_pause(live: Rig) -> object:
    return rollout.pause(live.root)


@pytest.mark.parametrize("ask", [unknown_stage, nothing_to_go_back_to, nothing_to_pause])
def test_a_command_out_of_place_says_so(untouched: Rig, ask: Callable[[Rig], object]) -> None:
    """Each is one sentence with what to do."""
    with pytest.raises(MainlineError) as found:
        ask(untouched)
    assert isinstance(found.value, UsageError) or found.value.status == 12
    sentence(found.value)


def test_two_commands_at_once_are_refused(untouched: Rig) -> None:
    """The lock of a command that is alive is respected, and said."""
    with state.locked(untouched.target, "command.lock"), pytest.raises(RaceError) as found:
        untouched.start("b")
    sentence(found.value)


@pytest.mark.parametrize("call", ["start", "up", "stage", "settle"])
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, call: str) -> None:
    """A file stands where the target's folder should be: whatever is asked, one sentence."""
    (tmp_path / "serving").write_text("not a folder")
    calls: dict[str, Callable[[], object]] = {
        "start": lambda: rollout.start(tmp_path, "a", tmp_path, digest("a"), policy=policy(),
                                       command=argv("a", "good")),
        "up": lambda: rollout.up(tmp_path),
        "stage": lambda: rollout.stage(tmp_path, "shadow"),
        "settle": lambda: rollout.settle(tmp_path),
    }  # fmt: skip
    with pytest.raises(MainlineError) as found:
        calls[call]()
    sentence(found.value)
    assert not host.marked(tmp_path / "serving")


def test_a_port_of_the_target_that_is_taken_is_named(tmp_path: Path) -> None:
    """Set up once, and the admin port taken since: said with its number, nothing left behind."""
    target = tmp_path / "serving"
    try:
        rollout.up(tmp_path)
        admin = host.ports(target)["admin"]
        rollout.down(tmp_path)
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", admin))
            taken.listen()
            with pytest.raises(MainlineError, match=f"{admin} .* taken") as found:
                rollout.up(tmp_path)
        sentence(found.value)
    finally:
        rollout.down(tmp_path)
    assert not host.marked(target)
