"""What people and workflows do while a rollout is under way, and what users see of their arm."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from rollout.rig import ROWS, Rig, argv, digest, policy

from mainline.errors import MainlineError, RaceError, UsageError
from mainline.rollout import host, local, rollout
from mainline.verdict import Verdict

ENDLESS = [
    {"name": "canary-5", "weight": 5, "requests": 10_000_000},
    {"name": "canary-25", "weight": 25, "requests": 10_000_000},
    {"name": "promote", "weight": 100, "requests": 0},
]
QUICK = [
    {"name": "canary-50", "weight": 50, "requests": 600},
    {"name": "promote", "weight": 100, "requests": 0},
]
AT_ONCE = [{"name": "promote", "weight": 100, "requests": 0}]


def test_two_merges_during_a_rollout_end_at_the_newest(live: Rig) -> None:
    """Each merge sends traffic back to stable and starts the newest; old jobs change nothing."""
    with live.traffic(rate=300) as client:
        live.start("b", policy=policy(stages=ENDLESS))
        live.stage("canary-5", 0.0)
        with pytest.raises(RaceError):
            live.start("c")
        for name in ("c", "d"):
            begun = live.start(name, policy=policy(stages=QUICK), supersede=True)
            assert begun.verdict is Verdict.PASS
        with pytest.raises(UsageError):
            rollout.stage(live.root, "canary-5", 0.0, version="b")
        assert "nothing was changed" in rollout.abort(live.root, version="c")["text"]
        assert live.state().running and live.arm("d").version == "d"
        assert live.stage("canary-50").verdict is Verdict.PASS
        assert live.stage("promote").verdict is Verdict.PASS
    assert (client.totals.lost, set(client.totals.codes)) == (0, {200})
    assert live.answering() == {"d"}
    left = {n for n in host.programs(live.target) if n.startswith("model-")}
    assert left == {live.arm("d").program, live.arm("a").program}, "b and c are left"


def test_a_revert_during_a_rollout_goes_back_to_stable(live: Rig) -> None:
    """The version that is stable, merged again: the canary ends, and nothing is deployed anew."""
    with live.traffic(rate=300) as client:
        live.start("b", policy=policy(stages=ENDLESS))
        live.stage("canary-5", 0.0)
        again = live.start("a", supersede=True)
        assert again.verdict is Verdict.PASS
        assert not live.state().running
        assert live.until(lambda: live.answering() == {"a"}, 5)
    assert (client.totals.lost, set(client.totals.codes)) == (0, {200})


def test_a_job_that_is_run_again_moves_no_weight_twice(live: Rig) -> None:
    """Each command again, in the order of a workflow that is re-run from its first job."""
    plan = policy(stages=QUICK)
    with live.traffic(rate=1000):
        live.start("b", policy=plan)
        assert live.stage("canary-50").verdict is Verdict.PASS
        seen = live.state()
        live.start("b", policy=plan)
        assert live.stage("canary-50").verdict is Verdict.PASS
        assert live.state().route == seen.route
        assert live.stage("promote").verdict is Verdict.PASS
        seen = live.state()
        assert live.start("b", policy=plan).verdict is Verdict.PASS
        assert live.stage("canary-50").verdict is Verdict.PASS
        assert live.stage("promote").verdict is Verdict.PASS
    assert live.state().route == seen.route


def test_a_stage_that_is_over_is_no_reason_to_fail(live: Rig) -> None:
    """An earlier job run again while traffic is further on says what it said, and moves nothing."""
    stages = [{"name": "shadow", "weight": 0, "requests": 100}, *ENDLESS[1:]]
    with live.traffic(rate=500):
        live.start("b", policy=policy(stages=stages))
        assert live.stage("shadow").verdict is Verdict.PASS
        live.stage("canary-25", 0.0)
        route = live.state().route
        assert live.stage("shadow").verdict is Verdict.PASS
        assert (live.state().route, live.state().stage) == (route, "canary-25")


JOB = """
import sys
from pathlib import Path
from mainline.rollout import rollout
rollout.stage(Path(sys.argv[1]), sys.argv[2], 60.0)
"""


def job(live: Rig, stage: str) -> subprocess.Popen[bytes]:
    """A process that waits in a stage, as a workflow's job does."""
    # Not sys.path: other tests of this process leave their own copies of the house in it.
    env = {**os.environ, "PYTHONPATH": str(Path(host.__file__).parents[2])}
    found = subprocess.Popen([sys.executable, "-c", JOB, str(live.root), stage], env=env)
    assert live.until(lambda: live.state().stage == stage)
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "cancelled"])
def test_a_job_that_ends_early_leaves_a_rollout_in_order(live: Rig, how: signal.Signals) -> None:
    """Its guard judges on; the job that is started again learns the verdict; an abort ends it."""
    live.start("b", policy=policy(stages=QUICK[:1] + ENDLESS[2:]))
    ended = job(live, "canary-50")
    ended.send_signal(how)
    ended.wait(10)
    with live.traffic(rate=1000) as client:
        assert live.until(lambda: bool(live.state().verdicts)), "nobody judges"
        route = live.state().route
        assert live.stage("canary-50", 5.0).verdict is Verdict.PASS
        assert live.state().route == route
        for _ in range(2):  # the rollback job, run again
            assert rollout.abort(live.root, "cancelled", version="b")["status"] == "aborted"
        assert live.until(lambda: live.answering() == {"a"}, 5)
    assert (client.totals.lost, set(client.totals.codes)) == (0, {200})
    assert live.events().count("aborted") <= 1 + live.events().count("started")


@pytest.mark.parametrize("gone", [host.stop_program, host.remove_program])
def test_a_rollback_to_a_service_that_is_gone_moves_no_traffic_to_it(
    live: Rig, gone: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old version was to be warm and is not: it is started first, or nothing is moved."""
    live.start("b", policy=policy(stages=AT_ONCE))
    assert live.stage("promote").verdict is Verdict.PASS
    program = live.arm("a").program
    gone(live.target, program)
    assert live.until(lambda: not host.programs(live.target).get(program, {}).get("pid"))
    with live.traffic(rate=300) as client:
        assert live.until(lambda: client.totals.ok > 50)
        if gone is host.stop_program:
            monkeypatch.setattr(local, "serve_command", lambda _: argv("a", "good"))
            rollout.rollback(live.root)
            assert live.answering() == {"a"}
        else:
            with pytest.raises(MainlineError, match="model"):
                rollout.rollback(live.root)
            assert live.answering() == {"b"}
    assert (client.totals.lost, set(client.totals.codes)) == (0, {200})
    if gone is host.remove_program:
        assert live.start("a", policy=policy(stages=AT_ONCE)).verdict is Verdict.PASS
        assert live.stage("promote").verdict is Verdict.PASS


def test_a_first_deployment_has_no_stable_and_is_checked_all_the_same(tmp_path: Path) -> None:
    """Not ready or wrong: nothing is live. Ready and right: all traffic, at once."""
    found = Rig(tmp_path)
    try:
        for mode in ("unready", "other", "down"):
            refused = found.start("a", mode, golden=ROWS[:5], ready_seconds=1.0)
            assert refused.verdict is Verdict.FAIL, mode
            assert found.state().stable is None
            assert set(host.programs(found.target)) == set(host.OWN)
        begun = found.start("a", golden=ROWS[:5])
        assert begun.verdict is Verdict.PASS, begun.to_dict()
        assert found.answering() == {"a"}
        assert found.state().status in ("promoted", "settled")
    finally:
        rollout.down(tmp_path)
    assert not host.marked(found.target)


def asked(live: Rig, user: str, count: int) -> int:
    """How many of `count` requests of one user the canary answers."""
    connection = http.client.HTTPConnection("127.0.0.1", host.ports(live.target)["public"])
    found: Counter[str] = Counter()
    for i in range(count):
        body = json.dumps({"rows": [ROWS[i]]})
        connection.request("POST", "/predict", body, {"x-user-id": user, "cookie": f"u={user}"})
        response = connection.getresponse()
        response.read()
        found[response.headers["x-model-version"]] += 1
    connection.close()
    return found[digest("b")[7:19]]


def test_no_user_stays_on_an_arm(live: Rig) -> None:
    """Each request is assigned at random, whoever sends it, and none comes on the way back.

    So nobody's answers come from the canary alone, and an error's arm is a coin with a known weight
    (which the judge relies on). Where users are to stay on their arm (A/B), Envoy's `hash_policy`
    by user with `use_hash_policy` keeps them: the canary is the first of the weighted clusters, so
    who was in the first 5% of the hash is in its first 25%, too.
    """
    stages = [{"name": "half", "weight": 50, "requests": 10_000_000}, *AT_ONCE]
    live.start("b", policy=policy(stages=stages))
    live.stage("half", 0.0)
    users, each = 20, 60
    counts = [asked(live, f"user-{i}", each) for i in range(users)]
    # Binomial(60, 1/2): outside 8..52 once in 10^9.
    assert all(8 < n < 52 for n in counts), counts
    # As much scatter between users as chance makes, 15 = 60 / 4 (chi-square with 20 degrees).
    scatter = sum((n - each / 2) ** 2 for n in counts) / (each / 4)
    assert 3 < scatter < 70, scatter
    rollout.abort(live.root)
    assert live.until(lambda: live.answering() == {"a"}, 5)
    assert sum(asked(live, f"user-{i}", 20) for i in range(5)) == 0
