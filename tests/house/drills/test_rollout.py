"""Each fault of a canary must be seen and undone, with real Envoy, supervisor and guard."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from rollout.rig import Rig, policy, rig

from mainline.rollout import rollout
from mainline.verdict import StepVerdict, Verdict


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One target with version a live; its path has what paths of people have."""
    with rig(tmp_path_factory.mktemp("a töst of %d percent")) as found:
        yield found


def by_step(verdicts: list[StepVerdict]) -> dict[str, Verdict]:
    return {v.step: v.verdict for v in verdicts}


def held_back(live: Rig, verdicts: list[StepVerdict]) -> str:
    """Assert that the canary was rolled back and no request was lost; returns the reason."""
    found = by_step(verdicts)
    assert found["rollout-traffic"] is Verdict.PASS, "requests were lost"
    assert Verdict.FAIL in found.values()
    state = live.state()
    assert (state.status, state.weight) == ("rolled-back", 0)
    assert state.stable is not None and state.stable.version == "a"
    with live.traffic() as client:
        assert live.until(lambda: client.totals.ok >= 50)
    assert set(client.totals.models) == {state.stable.digest[7:19]}, "the canary still answers"
    return state.reason


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("down", "ejected|failed"),
        pytest.param("half", "failed|ejected", marks=pytest.mark.slow),
        ("slow", "took more than"),
        pytest.param("constant", "offline answer", marks=pytest.mark.slow),
        ("swapped", "offline answer"),
        ("slice", "offline answer"),
        pytest.param("hang", "ejected|failed|health", marks=pytest.mark.slow),
    ],
)
def test_a_bad_canary_is_caught_in_shadow(live: Rig, mode: str, reason: str) -> None:
    """A canary that is bad on every request is rolled back before it answers a single user."""
    verdicts = live.rehearse("b", mode)
    found = by_step(verdicts)
    assert found["rollout-shadow"] is Verdict.FAIL
    assert "rollout-canary-5" not in found
    said = held_back(live, verdicts)
    assert any(word in said for word in reason.split("|")), said


SLOWER = [pytest.param(mode, marks=pytest.mark.slow)
          for mode in ("live-down", "live-tail", "live-slice", "live-hang")]  # fmt: skip


@pytest.mark.parametrize("mode", ["live-half", "live-swapped", *SLOWER])
def test_a_canary_that_is_bad_under_users_only_is_rolled_back(live: Rig, mode: str) -> None:
    """A canary that did well on mirrored requests is judged again on its own share."""
    verdicts = live.rehearse("b", mode)
    assert by_step(verdicts)["rollout-shadow"] is Verdict.PASS
    held_back(live, verdicts)


def test_a_version_that_is_not_ready_gets_no_traffic(live: Rig) -> None:
    """A service that never gets ready, or has another model, is refused; traffic is untouched."""
    route = live.state().route
    assert live.start("b", "unready", ready_seconds=1.0).verdict is Verdict.FAIL
    refused = live.start("b", "other")
    assert [c.name for c in refused.checks if c.verdict is Verdict.FAIL] == ["digest"]
    assert live.state().route == route
    assert not live.state().running


def test_without_traffic_there_is_no_pass_and_the_hold_ends_in_a_rollback(live: Rig) -> None:
    """No data is INCONCLUSIVE; a stage that nobody moves on goes back at the end of its hold."""
    assert live.start("b", policy=policy(hold_seconds=6.0)).verdict is Verdict.PASS
    assert live.stage("shadow", 1.0).verdict is Verdict.INCONCLUSIVE
    assert live.state().running
    assert live.until(lambda: live.state().status == "rolled-back", 20)
    assert "moved" in live.state().reason


def test_a_good_canary_is_promoted(live: Rig) -> None:
    """A canary that is as good as stable passes all stages; the old model stays warm."""
    verdicts = live.rehearse("b", connections=8)
    assert set(by_step(verdicts).values()) == {Verdict.PASS}, [v.to_dict() for v in verdicts]
    state = live.state()
    assert state.status == "promoted"
    assert state.stable is not None and state.stable.version == "b"
    assert state.previous is not None and live.pid(state.previous.program)
    assert {look["stage"] for look in live.looks()} >= {"shadow", "canary-5", "canary-50"}


def test_a_service_that_ends_at_once_is_refused_at_once(live: Rig) -> None:
    """A service that cannot start is no reason to wait for the whole time that it may take."""
    refused = rollout.start(live.root, "x", live.root, "sha256:" + "9" * 64,
                            command=[sys.executable, "-c", "raise SystemExit('no model')"],
                            policy=policy())  # fmt: skip
    assert refused.verdict is Verdict.FAIL
    assert "no model" in refused.checks[-1].reason
    assert not live.state().running
