"""What the guard counts, without Envoy: shadow, a look that failed, another rollout."""

from __future__ import annotations

import http.client
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rollout.rig import digest

from mainline.rollout import envoy, guard, host
from mainline.rollout.access import ArmCounts, Look
from mainline.rollout.state import Arm, Stage, State, held, swap

ARMS = {n: Arm(n, digest(n), 9000 + i, f"model-{n}") for i, n in enumerate("ab")}
PLAN = (Stage("shadow", 0, 0), Stage("canary-50", 50, 0), Stage("promote", 100, 0))
BEGUN = State(status="running", stable=ARMS["a"], canary=ARMS["b"], stage="shadow", plan=PLAN,
              started=1, route=1, hold_seconds=600.0,
              limits={"error_budget": 0.02, "latency_ms": 250.0})  # fmt: skip


def line(n: int) -> bytes:
    """A request of a user, as Envoy logs it."""
    return json.dumps({"gen": "gen-1", "arm": "stable", "code": 200, "ms": 1, "attempts": 1,
                       "id": str(n), "served": "127.0.0.1:9000"}).encode() + b"\n"  # fmt: skip


@pytest.fixture
def watching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> guard.Guard:
    """A guard that was there when the rollout began; nothing runs."""
    monkeypatch.setattr(host, "ports", lambda target: {"admin": 1, "public": 2})
    monkeypatch.setattr(envoy, "health", lambda admin: {})
    for name in ("_check_route", "_keep_parity", "_rotate"):
        monkeypatch.setattr(guard.Guard, name, lambda *given: None)
    found = guard.Guard(tmp_path)
    swap(tmp_path, State(), held(BEGUN))
    return found


def test_while_copies_are_judged_all_are_timed_on_the_service_clock(watching: guard.Guard) -> None:
    """Slow answers as Envoy saw them are no evidence against copies, which it does not time."""
    looks = {"gen-1": Look()}
    looks["gen-1"].arms["stable"] = ArmCounts(100, 1, 60, 100, 1, 55.0)
    watching._count(held(BEGUN), looks)
    counted = watching.counts["gen-1"]["stable"]
    assert (counted.n, counted.errors, counted.slow, counted.discount) == (100, 1, 0, 0.0)


def test_what_a_failed_look_read_is_read_again(
    watching: guard.Guard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Envoy that ends in the middle of an answer ends neither the guard nor its counts."""
    now = replace(held(BEGUN), stage="canary-50", weight=50, generation=1)
    swap(tmp_path, guard.read(tmp_path), now)
    watching.look()
    watching.sign()
    (tmp_path / "access.jsonl").write_bytes(b"".join(map(line, range(7))))
    tries = iter([http.client.IncompleteRead(b""), None])
    counted: list[int] = []
    pauses = iter(range(5))

    def decide(self: guard.Guard, *given: object) -> None:
        if error := next(tries):
            raise error
        counted.append(self.counts["gen-1"]["stable"].n)

    def sleep(seconds: float) -> None:
        if counted or next(pauses, None) is None:
            raise SystemExit

    monkeypatch.setattr(guard.Guard, "_decide", decide)
    monkeypatch.setattr("mainline.rollout.guard.time.sleep", sleep)
    with pytest.raises(SystemExit):
        guard.main(tmp_path)
    assert counted == [7]


def test_what_was_not_yet_told_of_one_rollout_is_not_told_of_the_next(
    watching: guard.Guard, tmp_path: Path
) -> None:
    """Looks that are recorded seldom are kept for the next one, but not beyond their rollout."""
    watching.untold.arms["canary"].add(ArmCounts(50, 50))
    watching._begin(replace(held(BEGUN), started=9))
    assert watching.untold == Look()


def test_a_guard_without_counts_begins_behind_what_is_logged(tmp_path: Path) -> None:
    """Old requests are neither a rate nor half of anything."""
    (tmp_path / "access.jsonl").write_bytes(b"".join(map(line, range(7))))
    assert list(guard.Guard(tmp_path).access.lines()) == []
