"""The workflows run by act with a stub launcher: which command runs when, and with which rights."""

from __future__ import annotations

import json
from typing import Any

import pytest

COMMIT = "0" * 40


def calls(hub: Any, job: str | None = None) -> list[str]:
    """The commands that the stub was called with, set-up left out."""
    path = hub.folder / "calls" / "calls.jsonl"
    noted = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    words = [" ".join(c["call"]) for c in noted if job in (None, c["job"])]
    return [w for w in words if w not in ("mainline --help", "mainline data pull")]


def seen(hub: Any) -> dict[str, list[str]]:
    """Command -> credentials that it could see."""
    path = hub.folder / "calls" / "calls.jsonl"
    noted = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {" ".join(c["call"][:2]): c["sees"] for c in noted}


def fail(hub: Any, **statuses: int) -> None:
    """Let commands end with these statuses."""
    (hub.folder / "calls" / "fail.json").write_text(json.dumps(statuses), "utf-8")


def pull_request(hub: Any, number: int = 7) -> dict[str, Any]:
    """Push a pull request's merge commit; returns the event."""
    hub.git("switch", "--quiet", "--create", f"change-{number}")
    sha = hub.commit("A change")
    hub.push(f"refs/pull/{number}/merge")
    head = {"ref": f"change-{number}", "sha": sha}
    base = {"ref": "main", "sha": hub.git("rev-parse", "main")}
    return {"action": "opened", "number": number,
            "pull_request": {"number": number, "head": head, "base": base}}  # fmt: skip


def push_event(hub: Any) -> dict[str, Any]:
    """A push to main."""
    return {"ref": "refs/heads/main", "before": COMMIT, "after": hub.git("rev-parse", "HEAD")}


TRAINED = ["mainline pipeline --force", "mainline compare --base auto", "mainline serve --try",
           "mainline report --summary"]  # fmt: skip


def test_a_pull_request_is_trained_compared_reported_and_gated(stubbed: Any) -> None:
    """A good pull request runs the loop's commands in order and ends green.

    The token is seen by the two that ask who put the label on, and by nothing else.
    """
    run = stubbed.act("pull_request", "train", "refs/pull/7/merge", pull_request(stubbed))
    assert run.jobs() == {"train": "success", "gate": "success"}, run.text()
    assert calls(stubbed) == [*TRAINED, "mainline gate"]
    assert {c: s for c, s in seen(stubbed).items() if s} == {
        "mainline report": ["GITHUB_TOKEN"], "mainline gate": ["GITHUB_TOKEN"],
    }  # fmt: skip
    assert "The summary of a report" in run.text()
    kept = {p.relative_to(stubbed.artifacts).as_posix() for p in stubbed.artifacts.rglob("*.*")}
    assert kept == {
        "verdicts/evaluate.json", "verdicts/compare.json", "report/report.md",
        "report/report.html", "model/model.json",
    }  # fmt: skip


def test_a_failed_comparison_is_reported_and_blocks(stubbed: Any) -> None:
    """A comparison that fails still leaves a report and verdicts, and the job gate is red."""
    fail(stubbed, compare=10)
    run = stubbed.act("pull_request", "train", "refs/pull/7/merge", pull_request(stubbed))
    assert run.status != 0
    assert run.jobs()["gate"] == "failure"
    assert calls(stubbed) == [*TRAINED, "mainline gate"]
    assert (stubbed.artifacts / "report" / "report.md").is_file()


def test_a_pipeline_that_breaks_still_reaches_the_gate(stubbed: Any) -> None:
    """Where nothing was trained the gate runs all the same, and is red."""
    fail(stubbed, pipeline=20)
    run = stubbed.act("pull_request", "train", "refs/pull/7/merge", pull_request(stubbed))
    assert run.jobs() == {"train": "failure", "gate": "failure"}
    assert calls(stubbed, "gate") == ["mainline gate"]


def test_the_gate_is_red_where_there_is_no_verdict(stubbed: Any) -> None:
    """Without any artifact the gate does not pass: what was not measured did not pass."""
    event = pull_request(stubbed)
    path = stubbed.work / ".github/workflows/train.yml"
    path.write_text(path.read_text("utf-8").replace("actions/keep", "actions/setup"), "utf-8")
    run = stubbed.act("pull_request", "train", "refs/pull/7/merge", event)
    assert run.jobs() == {"train": "success", "gate": "failure"}


@pytest.mark.parametrize("action", ["labeled", "unlabeled", "reopened"])
def test_any_label_runs_the_gate_again(stubbed: Any, action: str) -> None:
    """Whatever the label is called: a gate that is skipped would count as passed."""
    fail(stubbed, compare=11)
    event = {**pull_request(stubbed), "action": action, "label": {"name": "documentation"}}
    run = stubbed.act("pull_request", "train", "refs/pull/7/merge", event)
    assert run.jobs()["gate"] == "failure", run.text()
    assert calls(stubbed, "gate") == ["mainline gate"]


def test_a_dispatch_compares_with_the_base_that_it_was_given(stubbed: Any) -> None:
    """The base of a dispatched run is data: a shell's characters reach the command whole."""
    base = "x; touch pwned $(touch pwned)"
    event = {"ref": "refs/heads/main", "inputs": {"pr": "7", "base": base}}
    run = stubbed.act("workflow_dispatch", "train", "refs/heads/main", event)
    assert run.status == 0, run.text()
    assert f"mainline compare --base {base}" in calls(stubbed)
    # Who chooses what to be compared with does not get the required check for it.
    named = {str(line.get("job", "")).rpartition("/")[2] for line in run.lines}
    assert "gate against another base" in named
    assert "gate" not in named


RELEASED = [
    "mainline register --plan", "mainline publish",
    "mainline pipeline --force", "mainline compare --base auto", "mainline gate --ask",
    "mainline report --summary", "mainline gate", "mainline gate --tell", "mainline register",
    "mainline build --image", "mainline publish v1.0.0", "mainline register --push",
    "mainline publish v1.0.0", "mainline rollout dispatch -- v1.0.0",
]  # fmt: skip


def test_a_merge_is_registered_published_and_deployed(stubbed: Any) -> None:
    """A push to main ends in a tag on the remote, a release made before it, and a dispatch.

    Neither training nor building sees a credential.
    """
    stubbed.secrets["MAINLINE_SIGNING_KEY"] = "a key"
    run = stubbed.act("push", "release", "refs/heads/main", push_event(stubbed))
    assert run.status == 0, run.text()
    assert calls(stubbed) == RELEASED
    assert stubbed.tags() == ["fraud@v1.0.0"]
    noted = (stubbed.folder / "calls" / "calls.jsonl").read_text("utf-8").splitlines()
    signing = [c["call"][1:] for c in map(json.loads, noted) if "MAINLINE_SIGNING_KEY" in c["sees"]]
    assert signing == [["register"], ["register", "--push"]]
    blind = {"mainline pipeline", "mainline build"}
    assert {c for c, s in seen(stubbed).items() if not s} >= blind
    assert run.jobs() == {"look": "success", "register": "success", "deploy": "success"}


def test_where_nothing_is_to_be_registered_the_summary_says_why(stubbed: Any) -> None:
    """A merge that changed no model, or a run that came twice, trains and deploys nothing."""
    (stubbed.folder / "calls" / "done").touch()
    run = stubbed.act("push", "release", "refs/heads/main", push_event(stubbed))
    assert run.status == 0, run.text()
    assert run.jobs() == {"look": "success"}
    assert calls(stubbed) == RELEASED[:2]
    assert "No new version. Nothing changed." in run.text()


def test_who_looks_again_has_the_version_of_main_deployed(stubbed: Any) -> None:
    """A run that ended after its release and before its deployment is made good by hand."""
    (stubbed.folder / "calls" / "done").touch()
    event = {"ref": "refs/heads/main", "inputs": {}}
    run = stubbed.act("workflow_dispatch", "release", "refs/heads/main", event)
    assert run.status == 0, run.text()
    assert calls(stubbed) == [*RELEASED[:2], RELEASED[-1]]


def test_a_private_repository_attests_nothing(stubbed: Any) -> None:
    """Where GitHub has no attestations for it, the step is left out and the release goes on."""
    event = push_event(stubbed) | {"repository": {"private": True}}
    run = stubbed.act("push", "release", "refs/heads/main", event)
    assert run.status == 0, run.text()
    assert "Attest its files" not in {step for _, step, _ in run.steps()}
    assert stubbed.tags() == ["fraud@v1.0.0"]


@pytest.mark.parametrize(
    "command", ["pipeline", "compare", "report", "register", "build", "publish"]
)
def test_a_merge_that_fails_is_not_released(stubbed: Any, command: str) -> None:
    """Whatever step fails on main: no tag is pushed and nothing is rolled out."""
    fail(stubbed, **{command: 10})
    run = stubbed.act("push", "release", "refs/heads/main", push_event(stubbed))
    assert run.status != 0
    assert stubbed.tags() == []
    assert not [c for c in calls(stubbed) if "rollout" in c or "--push" in c]


@pytest.mark.parametrize("command", ["pipeline", "compare"])
def test_a_merge_that_does_not_pass_is_told(stubbed: Any, command: str) -> None:
    """What fails is reported, and the step that opens the issue comes all the same."""
    fail(stubbed, **{command: 10})
    stubbed.act("push", "release", "refs/heads/main", push_event(stubbed))
    assert calls(stubbed)[-2:] == ["mainline report --summary", "mainline gate --tell"]


def test_the_monitor_opens_the_pull_request_after_an_alarm(stubbed: Any) -> None:
    """An alarm turns the run red and does not keep retraining from being asked."""
    fail(stubbed, monitor=10)
    run = stubbed.act("schedule", "monitor", "refs/heads/main", {"schedule": "17 5 * * *"})
    assert run.jobs() == {"monitor": "failure"}
    assert calls(stubbed) == ["mainline pipeline", "mainline monitor", "mainline retrain --open"]
    assert seen(stubbed)["mainline pipeline"] == []
    assert seen(stubbed)["mainline monitor"] == ["GITHUB_TOKEN"]
    assert seen(stubbed)["mainline retrain"] == ["GITHUB_TOKEN"]


@pytest.mark.parametrize(("status", "result"), [(0, "success"), (11, "success"), (12, "failure")])
def test_the_monitor_is_red_for_alarms_and_errors_only(
    stubbed: Any, status: int, result: str
) -> None:
    """A day with nothing to judge is green and says in the summary what is missing."""
    fail(stubbed, monitor=status)
    run = stubbed.act("schedule", "monitor", "refs/heads/main", {"schedule": "17 5 * * *"})
    assert run.jobs() == {"monitor": result}, run.text()
    assert ("MAINLINE_LOG is not set" in run.text()) == (result == "success")


def test_checks_run_the_same_word_as_a_laptop(stubbed: Any) -> None:
    """The check is `./mainline test` and nothing else."""
    run = stubbed.act("push", "check", "refs/heads/main", push_event(stubbed))
    assert run.status == 0, run.text()
    assert calls(stubbed) == ["mainline test"]


def workflow_run(event: str) -> dict[str, Any]:
    """The end of a train run, as comment.yml hears of it."""
    return {"action": "completed", "workflow_run": {
        "id": 5, "event": event, "head_branch": "change", "head_sha": COMMIT,
        "head_repository": {"full_name": "acme/fraud"}}}  # fmt: skip


def test_the_comment_gets_the_report_of_the_run(stubbed: Any) -> None:
    """comment.yml hands the downloaded folder to the command that posts it."""
    (stubbed.artifacts / "report").mkdir()
    (stubbed.artifacts / "report" / "report.md").write_text("Hello", "utf-8")
    run = stubbed.act("workflow_run", "comment", "refs/heads/main", workflow_run("pull_request"))
    assert run.status == 0, run.text()
    (call,) = calls(stubbed)
    assert call.startswith("mainline report --post --artifact ")
    assert call.endswith("/report")


def test_nothing_is_commented_after_a_push(stubbed: Any) -> None:
    """A push has no pull request to comment on: the job is skipped, the run is green."""
    run = stubbed.act("workflow_run", "comment", "refs/heads/main", workflow_run("push"))
    assert run.status == 0
    assert run.jobs() == {}
