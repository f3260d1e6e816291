"""The workflows that come after a merge, run by act with the real commands on the real sample."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import fakehub
import pytest

pytestmark = pytest.mark.slow
MODEL = "card-fraud"


def produce(hub: Any, month: int) -> None:
    """A month of production: the service's log and the labels, outside of the repository."""
    scratch = hub.folder / "scratch"
    hub.git("clone", "--quiet", str(hub.origin), str(scratch))
    feed = hub.folder / "feed"
    rows, known = feed / "rows.parquet", feed / "labels" / "known.parquet"
    env = {**os.environ, "MAINLINE_VENV": sys.prefix, "PYTHONPATH": str(scratch / "src")}
    env.pop("MAINLINE_ROOT", None)
    house = [sys.executable, str(scratch / "mainline")]
    sample = [sys.executable, "-m", "sample"]
    for command in (
        [*house, "data", "pull"],
        [*house, "pipeline"],
        [*sample, "month", str(month), "--without-labels", "--out", str(rows)],
        [*sample, "labels", "--month", str(month), "--until", "2025-03-01", "--out", str(known)],
        [*house, "predict", str(rows), "--log", str(feed / "log")],
    ):
        done = subprocess.run(command, cwd=scratch, env=env, capture_output=True, text=True,
                              check=False)  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    hub.variables["MAINLINE_LOG"] = str(feed / "log")
    hub.variables["MAINLINE_LABELS"] = str(feed / "labels")


def equipped(hub: Any) -> Any:
    """`hub` with the environment that runs these tests, so that nothing is installed again."""
    hub.env["MAINLINE_VENV"] = sys.prefix
    return hub


@pytest.fixture
def real(hub: Any) -> Any:
    """This repository, as "Use this template" makes it."""
    return equipped(hub)


def test_the_first_push_of_a_fork_ends_in_a_version_and_its_rehearsal(forked: Any) -> None:
    """With nothing set up: trained, gated, tagged on the remote, built, rehearsed; checks green."""
    fork = equipped(forked)
    sha = fork.git("rev-parse", "HEAD")
    event = {"ref": "refs/heads/main", "before": "0" * 40, "after": sha}
    with fakehub.serving() as github:
        github.token = fork.token
        fork.env["GITHUB_API_URL"] = github.url
        run = fork.act("push", "release", "refs/heads/main", event)
        assert run.status == 0, run.text()
        assert not github.releases.of("customer-churn@v1.0.0")["draft"]
        ((name, asked),) = github.dispatched
        assert (name, asked["inputs"]["version"]) == ("deploy.yml", "v1.0.0")
        run = fork.act("workflow_dispatch", "deploy", "refs/heads/main", asked)
        assert run.jobs() == dict.fromkeys(("look", "rehearse", "tell"), "success"), run.text()
        kept = [a["name"] for a in github.releases.of("customer-churn@v1.0.0")["assets"]]
        assert "rollout.jsonl" in kept
    assert fork.tags() == ["customer-churn@v1.0.0"]
    message = fork.git("tag", "--list", "--format=%(contents)", where=fork.origin)
    assert "Verdict: PASS" in message
    assert "REHEARSED" in run.text()
    assert "MAINLINE_TARGET is not set" in run.text()
    # Nobody pushed to main.
    assert fork.git("rev-parse", "main", where=fork.origin) == sha
    checked = fork.act("push", "check", "refs/heads/main", event)
    assert checked.status == 0, checked.text()


def test_a_pull_request_is_served_and_its_report_shows_how_to_ask(real: Any) -> None:
    """train.yml starts the candidate's Bento, sends ten rows, and reports `curl` and answers."""
    real.git("switch", "--quiet", "--create", "change")
    sha = real.commit("Nothing")
    real.push("refs/pull/1/merge")
    head, base = (
        {"ref": "change", "sha": sha},
        {"ref": "main", "sha": real.git("rev-parse", "main")},
    )
    event = {"action": "opened", "number": 1,
             "pull_request": {"number": 1, "head": head, "base": base}}  # fmt: skip
    run = real.act("pull_request", "train", "refs/pull/1/merge", event)
    assert run.jobs() == {"train": "success", "gate": "success"}, run.text()
    verdict = json.loads((real.artifacts / "verdicts" / "serve.json").read_text("utf-8"))
    assert verdict["verdict"] == "PASS"
    report = (real.artifacts / "report" / "report.md").read_text("utf-8")
    assert "curl -s localhost:3000/predict" in report
    assert "10 held-out rows are answered as offline, to the last bit" in report


def test_a_day_without_production_is_green(real: Any) -> None:
    """The schedule, with no log to watch, ends green, opens nothing and says what is missing."""
    run = real.act("schedule", "monitor", "refs/heads/main", {"schedule": "17 5 * * *"})
    assert run.jobs() == {"monitor": "success"}, run.text()
    assert "MAINLINE_LOG is not set" in run.text()
    assert real.git("branch", "--list", where=real.origin).split() == ["*", "main"]


def test_an_alarm_opens_the_retrain_pull_request_and_trains_it(real: Any) -> None:
    """A month in which the fraud has changed: a red run, a branch, a pull request, a dispatch."""
    produce(real, month=10)
    with fakehub.serving() as github:
        github.token = "of-no-use"
        real.env["GITHUB_API_URL"] = github.url
        run = real.act("schedule", "monitor", "refs/heads/main", {"schedule": "17 5 * * *"})
        assert run.jobs() == {"monitor": "failure"}, run.text()
        (pull,) = github.pulls
    branch = f"retrain/{MODEL}"
    assert (pull["head"]["ref"], pull["title"].startswith("Retrain")) == (branch, True)
    assert github.dispatched == [("train.yml", {"ref": branch, "inputs": {"pr": "1"}})]
    assert real.git("rev-list", "--count", f"main..{branch}", where=real.origin) == "1"
    assert real.git("rev-parse", "main", where=real.origin) == real.git("rev-parse", "main")
