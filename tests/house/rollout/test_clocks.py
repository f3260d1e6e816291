"""A rollout whose commands run on a machine with another clock than the host's."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from rollout.clocks import elsewhere
from rollout.rig import argv, digest, expected, policy, rig

from mainline.rollout import machine, rollout, ssh, state
from mainline.rollout.remote import RemoteTarget
from mainline.verdict import Verdict

JUDGED = ["errors", "predictions"]
STAGES = [
    {"name": "shadow", "weight": 0, "requests": 100, "judge": JUDGED},
    {"name": "canary-50", "weight": 50, "requests": 200, "min_seconds": 1, "judge": JUDGED},
    {"name": "promote", "weight": 100, "requests": 0},
]


@pytest.mark.parametrize("ahead", [-9.0, 3600.0])
def test_a_runner_with_another_clock_takes_a_good_version_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    """Its stages pass, their times are the host's, and its guarded time is not over early."""
    began = time.monotonic()
    with rig(tmp_path) as live, monkeypatch.context() as patch:
        machine.put_agent(live.target)
        # What is younger than a stage came with the machine, where supervisor is that, too.
        assert live.until(lambda: time.monotonic() - began > 2 - ahead, 30)
        here = state.boot_id()
        elsewhere(patch, ahead)
        with ssh.beside(live.target) as there, live.traffic(rate=500) as client:
            found = rollout.start(
                tmp_path, "b", tmp_path, digest("b"), command=argv("b", "good"), target=there,
                expected=expected("a", "b"), policy=policy(stages=STAGES, warm_seconds=600),
            )  # fmt: skip
            assert found.verdict is Verdict.PASS, found.to_dict()
            for name in ("shadow", "canary-50"):
                verdict = rollout.stage(tmp_path, name, 30.0, target=there)
                assert verdict.verdict is Verdict.PASS, verdict.to_dict()
                before = live.state()
                assert before.boot_id == here
                assert before.entered is not None and abs(before.entered - time.time()) < 20
                rollout.pause(tmp_path, target=there)
                rollout.resume(tmp_path, target=there)
                after = live.state()
                assert after.boot_id == here and after.entered == before.entered
                assert after.entered_monotonic == pytest.approx(before.entered_monotonic)
                assert after.hold_until is not None and before.hold_until is not None
                assert 0 < after.hold_until - before.hold_until < 20
            done = rollout.promote(tmp_path, target=there)
            assert done.verdict is Verdict.PASS, done.to_dict()
            settled = rollout.settle(tmp_path, target=there)
            assert settled.verdict is Verdict.INCONCLUSIVE, settled.to_dict()
            left = settled.checks[0].value
            assert left is not None and 540 < left <= 600
        assert live.state().status == "promoted" and live.state().boot_id == here
        assert (client.totals.lost, client.totals.wrong) == (0, 0)


def test_a_change_that_was_cut_off_is_known_again_by_all_but_its_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent dies once it has moved the stage: its times are the host's, and it is ours."""
    folder = tmp_path / "serving"
    folder.mkdir()
    machine.put_agent(folder)
    agent = (folder / "agent").read_text("utf-8")
    script = Path(__file__).with_name("cut_agent.py")
    words = agent.replace("-m mainline.rollout.agent", f"'{script}'")
    (folder / "agent").write_text(words, "utf-8")
    (folder / "cut").write_text("apply after", "utf-8")
    elsewhere(monkeypatch, 3600.0)
    with ssh.beside(folder) as there:
        assert isinstance(there, RemoteTarget)
        monkeypatch.setattr(there, "confirm", lambda *_: True)  # nothing is served
        old = there.read()
        new, _ = there.apply(old, state.held(replace(old, reason="cut")), "cut", {})
        assert there._cuts == 1 and (new.generation, new.reason) == (1, "cut")
        assert new.entered is not None and abs(new.entered - time.time()) < 60
