"""Killed with -9 at any moment and at every boundary, then run again: what must hold, holds.

The invariants: one live generation, which is the state's; weights as the state says; no request
lost but those that were under way in an Envoy that was killed, and those that found nobody there
until it was back; no wrong answer; a whole record; the rollout ends promoted or at stable; no
process is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
from collections import Counter

import pytest
from rollout.rig import Rig

from mainline.rollout import envoy, host, rollout

pytestmark = pytest.mark.slow
SEED = 20_261_121
MOMENTS = 50
CONNECTIONS = 4
VICTIMS = ("job", "guard", "envoy", "canary", "supervisor", "all")
# What ends Envoy's own connections.
CUTS = ("envoy", "supervisor", "all")


@pytest.fixture
def live(module_rig: Rig) -> Rig:
    """The target as the drill before left it: each ends with one version live."""
    return module_rig


def strike(live: Rig, victim: str, job: object) -> None:
    """SIGKILL to the victim, or to all of them at once."""
    pids: list[int] = []
    if victim in ("job", "all"):
        pids.append(job.pid)  # type: ignore[attr-defined]
    if victim == "all":
        pids += host.marked(live.target)
    elif victim == "supervisor":
        pids.append(int((live.target / "supervisord.pid").read_text()))
    elif victim != "job":
        canary = live.state().canary
        name = victim if victim != "canary" else canary.program if canary else ""
        pids.append(int(host.programs(live.target).get(name, {}).get("pid", 0)))
    for pid in filter(None, pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def whole(live: Rig) -> int:
    """Assert that the record is whole; returns how many changes are not in it."""
    path = live.target / "history.jsonl"
    events = [json.loads(line) for line in path.read_bytes().splitlines()]
    changes = [e["generation"] for e in events if e["event"] not in ("look", "refused", "replay")]
    assert changes == sorted(set(changes)), "a change is told twice, or out of order"
    return live.state().generation - len(changes)


def in_order(live: Rig) -> None:
    """Assert the invariants that can be seen once nobody works on the rollout any more."""
    now = live.state()
    ports = host.ports(live.target)
    assert now.status in ("promoted", "rolled-back", "aborted", "settled"), now
    assert envoy.until(lambda: envoy.shows(ports, now.route), 10), "Envoy shows another generation"
    assert live.until(lambda: envoy.written(live.target, now), 5)
    dump = json.loads(envoy.ask(ports["admin"], "/config_dump?resource=dynamic_route_configs")[1])
    assert len(dump["configs"]) == 1, "more than one generation is live"
    supervised = {p["pid"] for p in host.programs(live.target).values()}
    supervised.add(int((live.target / "supervisord.pid").read_text()))
    assert live.until(lambda: len(host.marked(live.target)) <= len(supervised), 5), "left behind"
    assert live.answering() == {now.stable.version}  # type: ignore[union-attr]


def drill(live: Rig, victim: str, after: float, die: str | None = None) -> Counter[str]:
    """One rollout with a death in it, and the same again without; counts of what was lost."""
    stable = live.state().stable
    assert stable is not None
    name = "b" if stable.version == "a" else "a"
    missing = whole(live)
    with live.traffic(rate=1500, connections=CONNECTIONS) as client:
        job = live.job(name, die=die)
        job.join(after)
        if die is None:
            strike(live, victim, job)
        job.join(30)
        assert not job.is_alive()
        assert die is None or job.exitcode == -signal.SIGKILL, "it was over before"
        if not host.is_up(live.target):
            rollout.up(live.root)
        live.until(lambda: host.envoy_ready(live.target), 10)
        again = live.job(name)
        again.join(60)
        assert not again.is_alive(), live.state()
        if live.state().running:
            rollout.abort(live.root)
        in_order(live)
    sent = client.totals.lost - client.totals.refused
    # One under way on each connection, and one more that the dying process still took.
    assert sent <= (2 * CONNECTIONS if victim in CUTS else 0), f"{sent} requests were lost"
    assert client.totals.refused == 0 or victim in CUTS
    assert client.totals.wrong == 0
    assert whole(live) - missing <= 1, "changes are not in the record"
    return Counter(in_flight=sent, refused=client.totals.refused, rounds=1,
                   promoted=live.state().status == "promoted",
                   failed=sum(n for c, n in client.totals.codes.items() if c >= 500),
                   unrecorded=whole(live) - missing)  # fmt: skip


@pytest.mark.timeout(1500)
def test_fifty_random_moments(live: Rig) -> None:
    """Whoever is killed, whenever: 50 moments between the start and the promotion."""
    chance = random.Random(SEED)
    found: dict[str, Counter[str]] = {}
    for i in range(MOMENTS):
        victim = VICTIMS[i % len(VICTIMS)]
        after = chance.uniform(0.0, 2.5)
        try:
            found.setdefault(victim, Counter()).update(drill(live, victim, after))
        except AssertionError as error:
            raise AssertionError(
                f"seed {SEED}, moment {i}: {victim} after {after:.2f} s"
            ) from error
    print(f"\nseed {SEED}")
    for victim, counts in found.items():
        print(f"{victim}: {dict(counts)}")


# The writes of a start, a stage of copies, a stage of users, and a promotion, in their order.
WRITES = ("host.add_program:1", "actions.swap:2", "actions.swap:3", "envoy._put:1", "envoy._put:2",
          "actions.record:3", "actions.swap:4", "envoy._put:3", "actions.swap:5",
          "envoy._put:5")  # fmt: skip


@pytest.mark.parametrize("die", WRITES)
def test_a_job_that_dies_between_two_writes(live: Rig, die: str) -> None:
    """Killed right after each write that a change makes: the next command finishes it."""
    drill(live, "job", 30.0, die)
