"""Faults of a service, of stable or of both, seen from the client's side."""

from __future__ import annotations

from rollout.rig import ROWS, Rig, digest, policy

from mainline.rollout import host, state
from mainline.verdict import Verdict

ONE = [
    {"name": "canary-50", "weight": 50, "requests": 1000},
    {"name": "promote", "weight": 100, "requests": 0},
]


def ended(live: Rig, reason: str) -> None:
    """Wait until the guard sent all traffic back to a, for this reason."""
    assert live.until(live.is_back), live.state()
    assert any(word in live.state().reason for word in reason.split("|")), live.state().reason
    assert live.state().stable.version == "a"  # type: ignore[union-attr]
    assert live.events()[-1] == "rolled-back"
    live.until(lambda: live.answering() == {"a"}, 5)
    assert live.answering() == {"a"}


def test_errors_that_retries_hide_are_the_canarys(live: Rig) -> None:
    """A canary that ends connections costs no client an answer, and is rolled back all the same."""
    assert live.start("b", "live-reset", policy=policy(stages=ONE)).verdict is Verdict.PASS
    with live.traffic() as client:
        live.stage("canary-50", 20)
        ended(live, "canary and|ejected")
    assert (client.totals.lost, set(client.totals.codes)) == (0, {200})
    # Five in a row, which come by chance, eject it before there is evidence.
    assert any(w in live.state().reason for w in (" failed: evidence", "ejected"))


def test_another_model_behind_the_port_is_no_canary(live: Rig) -> None:
    """Answers that name another model than the approved one count against the canary."""
    assert live.start("b", "live-other", policy=policy(stages=ONE)).verdict is Verdict.PASS
    with live.traffic() as client:
        live.stage("canary-50", 20)
        ended(live, "failed|another model")
    assert client.totals.lost == 0


def test_a_canary_that_starts_cold_is_not_condemned(live: Rig) -> None:
    """Slow answers of its first seconds, while nobody depends on it, do not end a good canary."""
    verdicts = live.rehearse("b", "cold", connections=8)
    assert [v.verdict for v in verdicts if v.verdict is not Verdict.PASS] == []
    assert live.state().stable.version == "b"  # type: ignore[union-attr]


def test_a_canary_that_leaks_is_lost_before_it_takes_the_machine(live: Rig) -> None:
    """A service whose memory grows beyond `memory_mb` since it was ready is a lost canary."""
    stages = [{"name": "shadow", "weight": 0, "requests": 1_000_000}, ONE[1]]
    begun = live.start("b", "leak", policy=policy(stages=stages, memory_mb=100))
    assert begun.verdict is Verdict.PASS
    with live.traffic(rate=200) as client:
        live.stage("shadow", 20)
        ended(live, "memory grew")
    assert live.until(lambda: host.programs(live.target)["model-" + digest("b")[7:19]]["pid"] == 0)
    assert (client.totals.lost, set(client.totals.codes)) == (0, {200})


def test_a_mirror_that_overloads_slows_no_user(live: Rig) -> None:
    """Copies beyond what the circuit breaker lets through are dropped; users see nothing of it."""
    stages = [{"name": "shadow", "weight": 0, "requests": 1_000_000}, ONE[1]]
    assert live.start("b", "busy", policy=policy(stages=stages)).verdict is Verdict.PASS
    with live.traffic(connections=16) as client:
        live.stage("shadow", 0.0)
        assert live.until(lambda: client.totals.ok > 3000)
        most = live.most("b")
    assert (client.totals.lost, set(client.totals.codes)) == (0, {200})
    assert 16 < most <= 64, "copies piled up in the canary"


def test_an_outage_of_both_arms_is_held_and_ends_in_a_rollback(live: Rig) -> None:
    """Both arms failing say nothing about the canary: no PASS, and back at the deadline."""
    begun = live.start("b", "few", policy=policy(stages=ONE, hold_seconds=10.0))
    assert begun.verdict is Verdict.PASS
    live.turn("a", "few")
    with live.traffic(rate=500):
        assert live.stage("canary-50", 4.0).verdict is Verdict.INCONCLUSIVE
        assert live.state().running
        ended(live, "moved|outage")
    assert "outage" in live.state().reason, live.state().reason


def test_a_stable_that_is_the_bad_one_stops_no_good_canary(live: Rig) -> None:
    """Errors of stable alone speak for the canary; and stable, with no other, is never ejected."""
    assert live.start("b", policy=policy(stages=ONE)).verdict is Verdict.PASS
    live.turn("a", "half")
    with live.traffic() as client:
        assert live.stage("canary-50", 20).verdict is Verdict.PASS
        totals = dict(client.totals.codes)
        assert live.stage("promote").verdict is Verdict.PASS
        assert live.until(lambda: live.answering() == {"b"})
    assert client.totals.lost == 0
    # A quarter of all requests, half of stable's: not all of stable's.
    assert totals.get(500, 0) < 0.35 * sum(totals.values()), totals
    assert set(totals) == {200, 500}, totals


def test_without_errors_or_traffic_no_time_makes_a_pass(live: Rig) -> None:
    """No requests at all: INCONCLUSIVE, however long it takes."""
    begun = live.start("b", policy=policy(stages=ONE, hold_seconds=6.0))
    assert begun.verdict is Verdict.PASS
    assert live.stage("canary-50", 1.0).verdict is Verdict.INCONCLUSIVE
    ended(live, "moved")


def test_a_canary_that_answers_health_but_not_predict_gets_no_traffic(live: Rig) -> None:
    """Golden rows are asked before any traffic, so ready alone is not enough."""
    route = live.state().route
    for mode in ("down", "swapped", "slice"):
        refused = live.start("b", mode, golden=ROWS[:20] if mode != "slice" else ROWS[130:140])
        assert refused.verdict is Verdict.FAIL, mode
    assert live.state().route == route
    assert not live.state().running
    assert state.history(live.target)[-1]["event"] == "refused"
