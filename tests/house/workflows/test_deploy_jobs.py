"""deploy.yml and rollback.yml by act with a stub launcher: which job runs when, and sees what."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_flow import calls, seen

FILE = Path(__file__).resolve().parents[3] / ".github" / "workflows" / "deploy.yml"
STAGES = ["shadow", "canary-5", "canary-25", "canary-50", "promote", "settle"]
ENDS = ["rollback", "tell"]
SSH = "ssh://user@host.invalid/srv"


def deploy(
    hub: Any, jobs: list[str], *more: list[str], target: str = SSH, event: str = "", **verdicts: str
) -> Any:
    """Run deploy.yml, which finds `jobs` to do (and `more` where it looks again)."""
    said = {"jobs": [jobs, *more], **{k.replace("_", "-"): v for k, v in verdicts.items()}}
    (hub.folder / "calls" / "deploy.json").write_text(json.dumps(said), "utf-8")
    hub.variables = {"MAINLINE_TARGET": target} if target else {}
    if event == "schedule":
        return hub.act("schedule", "deploy", "refs/heads/main", {"schedule": "11,41 * * * *"})
    inputs = {"version": "v1.0.0", "revert": str(event == "revert").lower()}
    given = {"ref": "refs/heads/main", "inputs": inputs}
    return hub.act("workflow_dispatch", "deploy", "refs/heads/main", given)


def ran(run: Any) -> list[str]:
    """The jobs that ran, in the order of the file."""
    return [j for j in ["look", "rehearse", *STAGES, *ENDS] if j in run.jobs()]


def test_every_stage_is_a_job_and_each_gets_the_version_that_was_verified(stubbed: Any) -> None:
    """All pass: one after the other, the tag after the traffic, and what came of it is told."""
    stubbed.secrets = {"MAINLINE_SSH_KEY": "a key", "MAINLINE_KEY": "another"}
    run = deploy(stubbed, STAGES)
    assert run.status == 0, run.text()
    assert ran(run) == ["look", *STAGES, "tell"]
    stage = [f"mainline rollout stage {s} --version v1.0.0 --wait 1200" for s in STAGES[:4]]
    assert calls(stubbed) == [
        "mainline rollout plan -- v1.0.0",
        "mainline rollout start --supersede -- v1.0.0", "mainline rollout plan -- v1.0.0", *stage,
        "mainline rollout promote --version v1.0.0 --wait 1200",
        "mainline promote --push --reason Its rollout passed -- v1.0.0",
        "mainline rollout settle --version v1.0.0",
        "mainline rollout tell --record build/rollout -- v1.0.0",
    ]  # fmt: skip
    sees = seen(stubbed)
    assert sees["mainline --help"] == sees["mainline data"] == []
    assert sees["mainline promote"] == ["GITHUB_TOKEN"]


def test_jobs_outside_the_plan_that_was_started_are_skipped(stubbed: Any) -> None:
    """The plan by the observed rate is known for sure once the version is started."""
    run = deploy(stubbed, STAGES, ["shadow", "promote", "settle"])
    assert ran(run) == ["look", "shadow", "promote", "settle", "tell"], run.text()


def test_a_held_stage_ends_green_and_the_schedule_goes_on(stubbed: Any) -> None:
    """The next jobs are skipped, nothing is rolled back; asked again, the same jobs go on."""
    run = deploy(stubbed, STAGES, canary_5="INCONCLUSIVE")
    assert (run.status, ran(run)) == (0, ["look", "shadow", "canary-5", "tell"]), run.text()
    (stubbed.folder / "calls" / "calls.jsonl").unlink()
    run = deploy(stubbed, STAGES, event="schedule")
    assert ran(run) == ["look", *STAGES, "tell"], run.text()
    assert "mainline rollout start" not in " ".join(calls(stubbed))
    assert calls(stubbed)[0] == "mainline rollout plan -- "


@pytest.mark.parametrize("stage", ["shadow", "canary_25", "settle"])
def test_a_stage_that_fails_is_rolled_back(stubbed: Any, stage: str) -> None:
    """The next jobs do not run; traffic goes back, Git says so, and it is told."""
    run = deploy(stubbed, STAGES, **{stage: "FAIL"})
    name = stage.replace("_", "-")
    upto = STAGES[: STAGES.index(name) + 1]
    assert ran(run) == ["look", *upto, *ENDS], run.text()
    assert run.jobs()[name] == "failure"
    assert calls(stubbed, "rollback") == [
        "mainline rollout abort --version v1.0.0 --reason A job of its deployment did not end well",
        "mainline rollout undo -- v1.0.0",
    ]  # fmt: skip


def test_nothing_comes_to_prod_that_was_not_promoted(stubbed: Any) -> None:
    """A promotion that is held moves no tag."""
    run = deploy(stubbed, ["promote", "settle"], promote="INCONCLUSIVE")
    assert ran(run) == ["look", "promote", "tell"], run.text()
    assert "mainline promote" not in " ".join(calls(stubbed))


def test_the_schedule_ends_what_the_guard_took_back(stubbed: Any) -> None:
    """Nobody was there: Git learns of it from the schedule."""
    run = deploy(stubbed, ["rollback"], event="schedule")
    assert ran(run) == ["look", *ENDS], run.text()


@pytest.mark.parametrize(("target", "jobs"), [("", []), (SSH, ["look"])])
def test_a_schedule_with_nothing_to_do_is_short(stubbed: Any, target: str, jobs: list[str]) -> None:
    """Without a target not even one job runs; with one, the job that looks."""
    run = deploy(stubbed, [], target=target, event="schedule")
    assert (run.status, ran(run)) == (0, jobs), run.text()


@pytest.mark.parametrize(
    ("more", "verdict", "jobs"),
    [([], "PASS", ["rehearse", "tell"]), (["promote"], "PASS", ["rehearse", "promote", "tell"]),
     (["promote"], "FAIL", ["rehearse", *ENDS])],
)  # fmt: skip
def test_without_a_target_it_is_rehearsed(
    stubbed: Any, more: list[str], verdict: str, jobs: list[str]
) -> None:
    """Only where the setting says so does a rehearsal come to prod; no traffic is asked for."""
    run = deploy(stubbed, ["rehearse", *more], target="", rehearse=verdict)
    assert ran(run) == ["look", *jobs], run.text()
    said = " ".join(calls(stubbed))
    assert "rollout promote" not in said
    assert "abort" not in said
    assert ("mainline promote" in said) == ("promote" in jobs)
    assert seen(stubbed)["mainline rollout"] == ["GITHUB_TOKEN"]


def test_a_version_that_is_refused_starts_nothing(stubbed: Any) -> None:
    """Neither a stage nor a rollback nor a comment: nothing is known of it."""
    (stubbed.folder / "calls" / "fail.json").write_text(json.dumps({"rollout": 2}), "utf-8")
    run = deploy(stubbed, STAGES)
    assert run.jobs() == {"look": "failure"}


def test_a_hostile_version_is_data(stubbed: Any) -> None:
    """A shell's characters and options reach the command whole, behind `--`."""
    given = "--push $(touch pwned); touch pwned #"
    event = {"ref": "refs/heads/main", "inputs": {"version": given, "revert": "false"}}
    stubbed.act("workflow_dispatch", "deploy", "refs/heads/main", event)
    assert calls(stubbed)[0] == f"mainline rollout plan -- {given}"
    event["inputs"]["reason"] = "$(touch pwned)"
    stubbed.act("workflow_dispatch", "rollback", "refs/heads/main", event)
    assert calls(stubbed)[-1] == (f"mainline rollback --push --reason $(touch pwned) -- {given}")
    assert not list(stubbed.folder.rglob("pwned"))


def test_a_revert_is_started_as_one(stubbed: Any) -> None:
    """In each step that has to know."""
    deploy(stubbed, STAGES, ["promote", "settle"], event="revert")
    assert calls(stubbed)[:3] == [
        "mainline rollout plan --revert -- v1.0.0",
        "mainline rollout start --supersede --revert -- v1.0.0",
        "mainline rollout plan --revert -- v1.0.0",
    ]


def test_what_act_does_not_do_is_written_in_the_file() -> None:
    """Approvals, superseding and cancellation: act knows none of them, GitHub reads them here."""
    document = yaml.safe_load(FILE.read_text("utf-8"))
    jobs = document["jobs"]
    assert {n: j["environment"] for n, j in jobs.items() if "environment" in j} == {
        s: s for s in STAGES
    }
    group = document["concurrency"]
    assert group["group"] == "deploy-${{ github.event_name }}"
    assert group["cancel-in-progress"] == "${{ github.event_name != 'schedule' }}"
    # A dispatch that is cancelled still rolls back and tells.
    assert re.search(r"always\(\) && .*\(failure\(\) \|\| cancelled\(\)", jobs["rollback"]["if"])
    assert jobs["tell"]["if"].startswith("${{ always() && ")
    before = ["look", "rehearse", *STAGES, "rollback"]
    assert jobs["rollback"]["needs"] == before[:-1]
    assert jobs["tell"]["needs"] == before
    for number, stage in enumerate(STAGES[1:], 1):
        assert set(jobs[stage]["needs"]) >= {"look", *STAGES[:number]}
