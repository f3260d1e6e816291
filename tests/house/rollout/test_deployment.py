"""What a run of deploy.yml finds to do, whose fault a rollback was, and what is told of it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rollout.rig import policy, rig

from mainline import settings
from mainline.errors import MainlineError, RaceError, SettingsError
from mainline.registry import Move, Version
from mainline.rollout import deploy, tell, undo
from mainline.rollout.state import Arm, Stage, State, locked
from mainline.settings import Rollout
from mainline.verdict import Verdict

NAMES = ("shadow", "canary-5", "canary-25", "canary-50", "promote")
PLAN = tuple(Stage(n, w, 10) for n, w in zip(NAMES, (0, 5, 25, 50, 100), strict=True))
AT = 1_700_000_000.0  # 2023-11-14T22:13:20Z
EARLIER, LATER = "2023-11-14T22:00:00+00:00", "2023-11-14T23:00:00+00:00"


def version(name: str) -> Version:
    """A version of the model `m`."""
    number = tuple(int(n) for n in name[1:].split("."))
    return Version("m", number, "c" * 40, {"Pull-Request": "#7"})  # type: ignore[arg-type]


def move(stage: str, name: str, when: str = EARLIER, count: int = 1) -> Move:
    """An assignment of `name`."""
    return Move(stage, count, version(name), when)


def arm(name: str) -> Arm:
    """A service of `name`."""
    return Arm(name, f"sha256:{name}", 9, "p")


NOW = State(version="v1.1.0", status="running", plan=PLAN, stable=arm("v1.0.0"),
            canary=arm("v1.1.0"), entered=AT)  # fmt: skip
PROMOTED = replace(
    NOW, status="promoted", stable=arm("v1.1.0"), previous=arm("v1.0.0"), canary=None
)
BACK = replace(NOW, status="rolled-back", reason="slow")
OLD = [move("prod", "v1.0.0")]


def end(by: str = "guard", kind: str = "rolled-back", *, held: bool = False) -> deploy.Ending:
    """How a rollout went wrong."""
    return deploy.Ending(kind, by, "slow", AT, held)


@pytest.mark.parametrize(
    ("now", "moves", "ending", "jobs"),
    [
        (NOW, OLD, None, (*NAMES, "settle")),
        (replace(NOW, stage="canary-5"), OLD, None, (*NAMES[1:], "settle")),
        (replace(NOW, stage="canary-5", verdicts={"canary-5": {"verdict": "PASS"}}), OLD, None,
         (*NAMES[2:], "settle")),
        (replace(NOW, stage="canary-5", verdicts={"canary-5": {"verdict": "INCONCLUSIVE"}}), OLD,
         None, (*NAMES[1:], "settle")),
        (replace(NOW, paused={"by": "ann"}), OLD, None, ()),
        (replace(NOW, plan=PLAN[:1]), OLD, None, ("shadow",)),
        (PROMOTED, OLD, None, ("promote", "settle")),  # killed before the tag was pushed
        (PROMOTED, [*OLD, move("prod", "v1.1.0", LATER, 2)], None, ("settle",)),
        (PROMOTED, [*OLD, move("prod", "v0.9.0", LATER, 2)], None, ("settle",)),  # by a person
        (replace(PROMOTED, status="settled"), OLD, None, ("promote",)),
        (replace(PROMOTED, status="settled"), [move("prod", "v1.1.0")], None, ()),
        (BACK, OLD, end(), ("rollback",)),
        (BACK, OLD, end("ann (https://run)"), ("rollback",)),
        (BACK, OLD, end("watcher"), ()),  # the guard was dead, which is no fault of the version
        (BACK, [move("prod", "v1.1.0")], end("watcher"), ("rollback",)),
        (BACK, OLD, end(held=True), ()),  # nobody approved it
        (BACK, [move("prod", "v1.1.0")], end(held=True), ("rollback",)),
        (BACK, [*OLD, move("rejected", "v1.1.0", EARLIER, 2)], end(), ()),
        (BACK, [*OLD, move("staging", "v1.1.0", LATER, 2)], end(), ()),  # a person lifted it
        (BACK, [move("prod", "v1.1.0"), move("rejected", "v1.1.0", LATER, 2)], end(),
         ("rollback",)),
        (replace(BACK, status="aborted"), OLD, end(kind="aborted"), ()),
        (replace(NOW, status="observed"), OLD, None, ()),
        (State(), [], None, ()),
    ],
)  # fmt: skip
def test_what_is_left_to_do(
    now: State, moves: list[Move], ending: deploy.Ending | None, jobs: tuple[str, ...]
) -> None:
    """From any state that a killed, held or finished run leaves, the jobs that go on."""
    assert deploy.left(now, moves, ending).jobs == jobs


def test_a_new_rollout_has_the_jobs_of_its_plan() -> None:
    """By the rate, by the settings; a revert has no canary, and a shadow alone settles nothing."""
    policy = settings.Rollout(stages=[{"name": s.name, "weight": s.weight, "requests": s.requests}
                                      for s in PLAN])  # fmt: skip

    def jobs(rate: float | None = None, *, back: bool = False, **more: Any) -> tuple[str, ...]:
        return deploy.fresh(policy.model_copy(update=more), rate, "v1.1.0", back=back).jobs

    assert jobs(9.0) == (*NAMES, "settle")
    assert jobs() == jobs(9.0, plan="bake") == ("shadow", "promote", "settle")
    assert jobs(9.0, back=True) == jobs(plan="blue-green") == ("shadow", "promote", "settle")
    assert jobs(plan="shadow") == ("shadow",)


@pytest.mark.parametrize("names", [("canary-10", "promote"), ("shadow", "everything")])
def test_a_stage_without_a_job_is_refused(names: tuple[str, str]) -> None:
    """Before anything moves, with the names that there are."""
    stages = [{"name": n, "weight": w, "requests": 9} for n, w in zip(names, (5, 100), strict=True)]
    with pytest.raises(SettingsError, match="Call the stages shadow, canary-5"):
        deploy.fresh(Rollout(stages=stages), 9.0, "v1.1.0", back=True)


HISTORY = [
    {"t": 1, "event": "first", "version": "v1.0.0"},
    {"t": 2, "event": "started", "version": "v1.1.0"},
    {"t": 3, "event": "stage", "stage": "shadow"},
    {"t": 4, "event": "aborted", "by": "bea", "reason": "Superseded by v1.2.0"},
    {"t": 5, "event": "started", "version": "v1.2.0"},
    {"t": 6, "event": "promoted"},
    {"t": 7, "event": "rolled-back", "by": "guard", "reason": "wrong labels"},
    {"t": 8, "event": "refused", "version": "v1.3.0", "reason": "not ready", "by": "bea"},
]


def test_whose_fault_an_ending_was() -> None:
    """Each version's own last rollout: superseded is no fault, rolled back or refused is."""
    ends = {v: deploy.ending(HISTORY, v) for v in ("v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "v9")}
    assert {v: (e.kind, e.blames) for v, e in ends.items() if e} == {
        "v1.1.0": ("aborted", False), "v1.2.0": ("rolled-back", True), "v1.3.0": ("refused", True),
    }  # fmt: skip
    again = [*HISTORY, {"t": 9, "event": "started", "version": "v1.2.0"}]
    assert deploy.ending(again, "v1.2.0") is None
    failed = {"rehearse": {"result": "failure", "outputs": {"verdict": "FAIL"}}}
    assert undo.fault(ends["v1.1.0"], failed) is None
    assert undo.fault(ends["v1.2.0"], {}) == "wrong labels"
    assert undo.fault(None, failed) == "its rehearsal said FAIL"
    assert undo.fault(None, {"rehearse": {"result": "cancelled", "outputs": {}}}) is None


HELD = [
    {"t": 1, "event": "first", "version": "v1.0.0"},
    {"t": 2, "event": "started", "version": "v1.1.0"},
    {"t": 3, "event": "verdict", "verdict": "PASS", "by": "guard"},
    {"t": 4, "event": "rolled-back", "by": "guard", "held": True,
     "reason": "Nobody moved the stage canary-5 on in time"},
]  # fmt: skip


class Fixed:
    """A target that only tells what it is in."""

    def __init__(self, now: State, lines: list[dict[str, Any]]) -> None:
        self.now, self.lines = now, lines

    def read(self) -> State:
        """The state."""
        return self.now

    def observe(self) -> dict[str, Any]:
        """Nothing waits."""
        return {"rate": 9.0, "waiting": False}

    def history(self) -> list[dict[str, Any]]:
        """The record."""
        return self.lines


def test_a_version_that_nobody_moved_on_is_not_to_blame() -> None:
    """It is told, but neither rejected nor reverted, and may be started again."""
    found = deploy.ending(HELD, "v1.1.0")
    assert found is not None and found.held and not found.blames
    assert undo.fault(found, {}) is None
    for said in ("true", 1, None, False):
        other = deploy.ending([*HELD[:3], {**HELD[3], "held": said}], "v1.1.0")
        assert other is not None and other.blames, "anything but true is no excuse"
    what, why = tell.outcome("v1.1.0", tell.Course(BACK, tuple(HELD)), "")
    assert what == "rolled back" and "Nobody moved the stage canary-5 on" in why
    there: Any = Fixed(BACK, HELD)
    seen: Any = SimpleNamespace(moves=OLD)
    stages = [{"name": s.name, "weight": s.weight, "requests": s.requests} for s in PLAN]
    policy = Rollout.model_validate({"stages": stages})
    again = deploy._on_target(there, policy, seen, version("v1.1.0"), False, {})
    assert (again.version, again.jobs) == ("v1.1.0", (*NAMES, "settle"))
    assert deploy._on_target(there, policy, seen, None, False, {}).jobs == ()


def test_what_nobody_moved_on_is_not_put_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """`rollout undo` lets prod follow the traffic, and leaves the version and main alone."""
    for module, name in ((undo.lifecycle, "put_away"), (undo.revert, "run")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("it was not at fault"))
    monkeypatch.setattr(undo, "require_history", lambda _: None)
    options = SimpleNamespace(model=SimpleNamespace(name="m"))
    monkeypatch.setattr(undo.settings, "load", lambda _: options)
    monkeypatch.setattr(undo.registry, "find", lambda *_: version("v1.1.0"))
    moved: list[str] = []
    monkeypatch.setattr(undo, "_prod_back", lambda *given: moved.append(given[2]) or "prod is back")
    there = contextlib.nullcontext(Fixed(BACK, HELD))
    monkeypatch.setattr(undo, "target_of", lambda *_: there)
    done = undo.run(Path(), "v1.1.0", {"MAINLINE_TARGET": "ssh://a@b/c"})
    assert done["rejected"] is False and "is not to blame" in done["text"]
    assert moved == ["v1.0.0"]


def test_what_the_jobs_said_is_read_as_data() -> None:
    """Whatever is no JSON object of objects says nothing."""
    for text in ("", "[]", "{", '{"look": 7}'):
        assert undo.needed({"MAINLINE_NEEDS": text}) == {}
    assert undo.verdict_of({"outputs": "x"}) == ""


@pytest.mark.parametrize(
    ("address", "private", "found"),
    [("", False, deploy.HOSTED), ("ssh://a@b/c", False, deploy.HOSTED),
     ("self-hosted:gpu", True, ["self-hosted", "gpu"]), ("self-hosted:gpu", False, None),
     ("self-hosted:", True, None), ("self-hosted:a b", True, None)],
)  # fmt: skip
def test_a_self_hosted_runner_is_for_private_repositories(
    address: str, private: bool, found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a public one it would run strangers' code."""
    monkeypatch.setattr(deploy.GitHub, "private", lambda _: private)
    environ = {"GITHUB_REPOSITORY": "a/b", "GITHUB_TOKEN": "t"}
    if found is None:
        with pytest.raises(MainlineError):
            deploy.runner(address, environ)
    else:
        assert deploy.runner(address, environ) == found


@pytest.mark.parametrize(
    ("now", "history", "rehearsed", "words"),
    [
        (PROMOTED, [], True, "REHEARSED"), (PROMOTED, [], False, "deployed"),
        (replace(PROMOTED, status="settled"), [], False, "deployed and settled"),
        (replace(NOW, stage="canary-5"), [], False, "held at canary-5"),
        (replace(NOW, paused={"by": "ann"}, stage="canary-5"), [], False, "paused at canary-5"),
        (BACK, [{"event": "started", "version": "v1.1.0"},
                {"event": "rolled-back", "by": "guard", "reason": "slow"}], False, "rolled back"),
        (replace(NOW, version="v1.2.0"), [], False, "not deployed"),
        (replace(NOW, status="observed"), [], False, "observed"),
    ],
)  # fmt: skip
def test_what_came_of_it_in_words(
    now: State, history: list[Any], rehearsed: bool, words: str
) -> None:
    """One of few, with the reason beside it."""
    course = tell.Course(now, tuple(history), rehearsed)
    assert tell.outcome("v1.1.0", course, "")[0] == words
    assert tell.outcome("v1.1.0", None, "it is away") == (
        "nobody knows what came of it", "it is away",
    )  # fmt: skip


def test_the_comment_has_each_stage_with_its_numbers_and_escapes_them() -> None:
    """Names, verdicts and reasons come from a record that others wrote."""
    checks = [{"name": "errors", "verdict": "FAIL", "reason": "<b>|@all", "n": 1234}]
    now = replace(BACK, verdicts={"canary-5": {"verdict": "FAIL", "checks": checks}})
    needs = {"canary-5": {"result": "failure", "outputs": {}}, "look": {"result": "success"}}
    said = tell.body(version("v1.1.0"), tell.Course(now, ()), "", needs)
    assert "| canary-5 | 5% | FAIL | 1,234 |" in said
    assert "Jobs that did not end well: `canary-5` (failure)." in said
    for raw in ("<b>", "|@all", "@all"):
        assert raw not in said


def test_a_record_is_replaced_on_the_release_and_not_doubled() -> None:
    """The same content is left, another one replaces it; without a release it is said."""
    asked: list[tuple[str, str]] = []

    class Fake:
        """A GitHub with one release."""

        assets: tuple[dict[str, Any], ...] = ()

        def get_all(self, path: str) -> list[dict[str, Any]]:
            """The release."""
            return [{"tag_name": "m@v1.1.0", "draft": False, "assets": self.assets,
                     "upload_url": "u"}]  # fmt: skip

        def call(self, method: str, path: str) -> None:
            """Note it."""
            asked.append((method, path))

        def upload(self, url: str, name: str, content: bytes) -> None:
            """Keep it as the only file."""
            asked.append(("UPLOAD", name))
            self.assets = ({"id": 5, "name": name, "digest": tell.digest_bytes(content)},)

    github: Any = Fake()
    for lines in ([{"t": 1}], [{"t": 1}], [{"t": 1}, {"t": 2}]):
        tell._attach(github, version("v1.1.0"), lines)
    upload = ("UPLOAD", "rollout.jsonl")
    assert asked == [upload, ("DELETE", "releases/assets/5"), upload]
    assert "no release" in tell._attach(github, version("v1.2.0"), [{"t": 1}])


def test_only_the_last_rollout_of_the_version_is_kept() -> None:
    """A record of a host holds those of all versions."""
    assert [e["t"] for e in tell._own(HISTORY, "v1.2.0")] == [5, 6, 7]
    assert json.dumps(tell._own(HISTORY, "v9")) == "[]"


def test_a_newer_version_ends_the_wait_of_the_older_one(tmp_path: Path) -> None:
    """A job of the schedule waits on the target while a merge starts the next version."""
    with rig(tmp_path) as live:
        assert live.start("b", policy=policy()).verdict is Verdict.PASS
        waiting = live.waiting("shadow")
        assert live.start("c", policy=policy(), supersede=True).verdict is Verdict.PASS
        waiting.join(20)
        assert live.verdicts[-1].verdict is Verdict.FAIL
        assert "Superseded by c" in live.verdicts[-1].checks[0].reason
        with pytest.raises(RaceError, match="at work"), locked(live.target, "command.lock"):
            live.start("d", policy=policy(), supersede=False)
