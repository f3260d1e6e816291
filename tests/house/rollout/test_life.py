"""Whether the versions that answer users live, and what comes back with the machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rollout.rig import digest

from mainline.rollout import host, life, memory
from mainline.rollout.envoy import HostHealth
from mainline.rollout.life import Life
from mainline.rollout.route import cluster_name
from mainline.rollout.state import Arm, Stage, State, held, swap

A, B = (Arm(n, digest(n), 1, f"model-{n}") for n in "ab")
PLAN = (Stage("canary-5", 5, 0), Stage("promote", 100, 0))
STAGE = State(status="running", stable=A, canary=B, stage="canary-5", plan=PLAN, started=1,
              limits={"memory_mb": 100})  # fmt: skip
PROMOTED = State(status="promoted", stable=B, previous=A, started=1, limits={"memory_mb": 100})
See = Callable[..., None]


@pytest.fixture
def see(monkeypatch: pytest.MonkeyPatch) -> See:
    """Says what supervisor and Envoy see: by version, the state of its process and its health."""

    def put(**seen: tuple[str, bool | None]) -> None:
        programs = {f"model-{n}": {"pid": ord(n), "start": 1, "state": s, "why": ""}
                    for n, (s, _) in seen.items()}  # fmt: skip
        health = {cluster_name(digest(n)): HostHealth(h, False, 0, 0, 0)
                  for n, (_, h) in seen.items() if h is not None}  # fmt: skip
        monkeypatch.setattr(host, "programs", lambda target: programs)
        monkeypatch.setattr(life.envoy, "health", lambda admin: health)

    monkeypatch.setattr(host, "ports", lambda target: {"admin": 1})
    monkeypatch.setattr(memory, "ticks", lambda pid: 5)
    monkeypatch.setattr(memory, "resident", lambda pid: 1 << 20)
    return put


def aged(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """All processes are this old."""
    monkeypatch.setattr(memory, "age", lambda pid: seconds)


def late(watched: Life, now: State) -> str | None:
    """What is said of the canary when it is still ill after the time that an illness has."""
    first = watched.lost(now, B)
    if watched.ill is not None:
        watched.ill -= life.ILL_SECONDS
    return first or watched.lost(now, B)


def test_what_comes_back_with_the_machine_is_not_lost_before_it_was_there(
    tmp_path: Path, see: See, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage entered while services still load: their process is older than it, and no loss."""
    aged(monkeypatch, 100.0)
    watched, now = Life(tmp_path), held(STAGE)
    watched.wait()
    see(a=("RUNNING", False), b=("RUNNING", False))
    assert watched.returning(now) and watched.lost(now, B) is None
    see(a=("RUNNING", True), b=("RUNNING", True))
    assert watched.returning(now) and watched.lost(now, B) is None
    assert not watched.returning(now) and watched.born == [ord("b"), 5]
    see(a=("RUNNING", True), b=("RUNNING", False))
    assert "health check" in str(late(watched, now))


def test_an_envoy_that_has_not_looked_yet_says_of_nobody_that_it_is_back(
    tmp_path: Path, see: See
) -> None:
    """Processes run before they answer: only what Envoy has seen healthy is there again."""
    watched = Life(tmp_path)
    watched.wait()
    see(a=("RUNNING", None), b=("RUNNING", None))
    assert watched.returning(held(STAGE)) and watched.back_by is not None


def test_before_its_first_stage_a_canary_is_not_waited_for(tmp_path: Path, see: See) -> None:
    """Envoy does not know it before then: a guard that waited would miss its first requests."""
    watched = Life(tmp_path)
    watched.wait()
    see(a=("RUNNING", True), b=("RUNNING", None))
    assert watched.returning(replace(STAGE, stage=None))
    assert watched.back_by is None


@pytest.mark.parametrize(("process", "word"), [("RUNNING", "health"), ("BACKOFF", "ended")])
def test_a_promoted_version_that_never_comes_back_is_lost_in_the_end(
    tmp_path: Path, see: See, monkeypatch: pytest.MonkeyPatch, process: str, word: str
) -> None:
    """The wait has an end, after which users are sent to the old version that is there."""
    aged(monkeypatch, 1.0)
    watched, now = Life(tmp_path), replace(held(PROMOTED), entered_monotonic=time.monotonic() - 500)
    (tmp_path / "supervisord.pid").write_text("7")
    watched.wait()
    see(a=("RUNNING", True), b=(process, False))
    assert watched.returning(now) and watched.lost(now, B) is None
    watched.back_by = time.monotonic() - 1
    assert watched.returning(now) and not watched.returning(now)
    assert word in str(late(watched, now))


def test_one_late_health_check_is_no_death(tmp_path: Path, see: See) -> None:
    """An Envoy that has just started takes the first check for the truth: the next one counts."""
    watched, now = Life(tmp_path, born=[ord("b"), 5]), held(STAGE)
    see(a=("RUNNING", True), b=("RUNNING", False))
    assert watched.lost(now, B) is None
    see(a=("RUNNING", True), b=("RUNNING", True))
    assert watched.lost(now, B) is None and watched.ill is None
    see(a=("RUNNING", True), b=("RUNNING", False))
    assert "health check" in str(late(watched, now))


def test_a_leak_ends_a_canary_at_once_and_a_promoted_version_after_its_users_went_back(
    tmp_path: Path, see: See, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A canary's share goes to stable by itself; what has all users is ended when it has none."""
    stopped: list[str] = []
    monkeypatch.setattr(host, "stop_program", lambda target, name: stopped.append(name))
    see(a=("RUNNING", True), b=("RUNNING", True))
    aged(monkeypatch, 100.0)
    monkeypatch.setattr(memory, "resident", lambda pid: 300 << 20)
    watched = Life(tmp_path, born=[ord("b"), 5], memory=1 << 20)
    now = swap(tmp_path, State(), PROMOTED)
    assert "grew by 299 MiB" in str(watched.lost(PROMOTED, B))
    watched.end_leak(PROMOTED)
    assert stopped == []
    swap(tmp_path, now, replace(now, status="rolled-back"))
    watched.end_leak(PROMOTED)
    assert stopped == ["model-b"]
    assert "grew" in str(watched.lost(held(STAGE), B)) and stopped == ["model-b"] * 2


def test_a_guard_that_is_started_again_goes_on_waiting(tmp_path: Path) -> None:
    """What it knew is in its document, that of the wait too."""
    watched = Life(tmp_path, born=[7, 5], memory=1)
    watched.wait()
    document: dict[str, Any] = json.loads(json.dumps(watched.to_dict()))
    assert Life(tmp_path, **document) == watched
