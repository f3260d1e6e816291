"""From a merge to a promotion or a rollback, by act with the real commands and a real Envoy.

Without a target in one job; with a host behind a real sshd stage by stage, under a client of its
own. GitHub is emulated.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forge
import pytest
import runner
import small
import sshd
import town as towns
from test_release import MODEL, versions

from mainline.loop import changes
from mainline.rollout import host, state
from mainline.rollout import versions as built
from mainline.rollout.traffic import Replay, Totals

pytestmark = pytest.mark.slow
PARAMS = "params.yaml"
ROLLOUT = """rollout:
  plan: canary
  stages:
    - {name: shadow, weight: 0, requests: 20}
    - {name: canary-5, weight: 5, requests: 5}
    - {name: canary-25, weight: 25, requests: 20}
    - {name: canary-50, weight: 50, requests: 30}
    - {name: promote, weight: 100, requests: 0}
  error_budget: 0.4
  latency_ms: 250
  hold_seconds: 3600
  warm_seconds: 3600
  rehearsal: production

"""
RELEASED = {"look": "success", "register": "success", "deploy": "success"}
STAGES = ["shadow", "canary-5", "canary-25", "canary-50"]


@pytest.fixture(scope="module")
def town(sample_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[towns.Town]:
    """v1.0.0 in production, and v1.1.0 made by a pull request that was merged and released."""
    folder = tmp_path_factory.mktemp("deploy")
    hub = runner.Hub(folder / "hub")
    towns.settle(hub, sample_repository, folder / "remember", {})
    text = (hub.work / PARAMS).read_text("utf-8")
    (hub.work / PARAMS).write_text(
        re.sub(r"rollout:\n.*?\n(?=monitor:)", ROLLOUT, text, flags=re.DOTALL), "utf-8"
    )
    hub.commit("Less traffic")
    with forge.serving(folder) as github:
        made = towns.Town(hub, github)
        assert made.push("release").jobs() == RELEASED
        made.promote("v1.0.0")
        made.merge(made.propose("seed", {PARAMS: ("\n  seed: 0", "\n  seed: 1")}))
        assert made.push("release").jobs() == RELEASED
        hub.git("fetch", "--quiet", "--tags", str(hub.origin))
        made.close()
        yield made


@pytest.fixture
def fresh(town: towns.Town) -> Iterator[towns.Town]:
    """The town, which is afterwards as it was."""
    with town.as_it_is():
        yield town


def prod(town: towns.Town) -> str:
    """What stands at prod on the remote."""
    return at(town, "prod")


def at(town: towns.Town, stage: str) -> str:
    """The version that was assigned to a stage last, by the remote's tags; empty for none."""
    tags = [t for t in town.hub.tags() if t.startswith(f"{MODEL}#{stage}#")]
    if not tags:
        return ""
    last = max(tags, key=lambda t: int(t.rpartition("#")[2]))
    text = town.hub.git("tag", "--list", "--format=%(contents)", last, where=town.hub.origin)
    return re.findall(r"^Version: (.*)$", text, re.MULTILINE)[0]


def told(town: towns.Town) -> str:
    """The one comment on the pull request that made v1.1.0."""
    (number,) = town.github.merges
    (said,) = town.github.comments(number)
    return said


def kept(town: towns.Town, version: str) -> list[dict[str, Any]]:
    """The record that is kept with the release of a version."""
    release = town.github.releases.of(f"{MODEL}@{version}")
    (asset,) = [a for a in release["assets"] if a["name"] == "rollout.jsonl"]
    content = town.github.releases.files[asset["id"]]
    return [json.loads(line) for line in content.splitlines()]


def well(run: Any, *jobs: str) -> None:
    """Assert that these jobs ran and no others, and that each ended well."""
    assert run.jobs() == dict.fromkeys(jobs, "success"), run.text()


# ---- without a target ----------------------------------------------------------------------------


def test_from_a_merge_to_a_promotion_in_a_rehearsal(fresh: towns.Town) -> None:
    """The dispatch of release.yml names the version; each stage passes, prod moves, it is told."""
    given = {"version": "v1.1.0", "revert": "false"}
    assert fresh.github.dispatched[-1] == ("deploy.yml", {"ref": "main", "inputs": given})
    run = fresh.deploy()
    well(run, "look", "rehearse", "promote", "tell")
    assert "REHEARSED" in run.text()
    assert prod(fresh) == "v1.1.0"
    for words in ("REHEARSED", "MAINLINE_TARGET is not set", "| canary-25 | 25% | PASS |"):
        assert words in told(fresh)
    assert kept(fresh, "v1.1.0")[0]["event"] == "started"


def test_from_a_merge_to_a_rollback_in_a_rehearsal(fresh: towns.Town) -> None:
    """Fine offline, slow when it is served: rejected, and a revert is proposed and trained.

    The revert is merged: nothing is trained, and what was healthy before is deployed.
    """
    small.run(fresh.hub.work, "promote", "v1.1.0")
    fresh.hub.git("push", "--quiet", "--tags", str(fresh.hub.origin))
    changes.slow(fresh.hub.work)
    bad = fresh.hub.commit("Exchange rates")
    assert fresh.push("release").jobs() == RELEASED
    run = fresh.deploy()
    assert run.jobs() == {"look": "success", "rehearse": "failure", "rollback": "success",
                          "tell": "success"}, run.text()  # fmt: skip
    assert (prod(fresh), at(fresh, "rejected")) == ("v1.1.0", "v1.2.0")
    assert "rolled back" in run.text()
    (pull,) = fresh.github.pulls()
    branch = f"revert/{MODEL}-v1.2.0"
    assert (pull["title"], pull["head"]["ref"]) == (f"Revert {MODEL}@v1.2.0", branch)
    started = {"ref": branch, "inputs": {"pr": str(pull["number"])}}
    assert fresh.github.dispatched[-1] == ("train.yml", started)
    # Again: nothing is deployed that was rejected, and there is still one pull request.
    assert fresh.deploy("v1.2.0").jobs() == {"look": "failure"}
    fresh.hub.git("fetch", "--quiet", str(fresh.hub.origin), branch)
    fresh.hub.git("merge", "--quiet", "--no-ff", "--message", "Merge the revert", "FETCH_HEAD")
    assert f"This reverts commit {bad}." in fresh.hub.git("log", "-2", "--format=%B")
    run = fresh.push("release")
    assert run.jobs() == {"look": "success", "deploy": "success"}, run.text()
    given = {"version": "v1.1.0", "revert": "true"}
    assert fresh.github.dispatched[-1] == ("deploy.yml", {"ref": "main", "inputs": given})
    assert versions(fresh) == ["v1.0.0", "v1.1.0", "v1.2.0"]


# ---- over ssh ------------------------------------------------------------------------------------


class Place:
    """A host behind an sshd, and a client of it that counts."""

    def __init__(self, folder: Path, server: sshd.Sshd, rows: list[dict[str, Any]]) -> None:
        self.folder, self.rows = folder, rows
        self.address = server.address(folder)
        self.secrets = server.environ

    def state(self) -> state.State:
        """What the host is in."""
        return state.read(self.folder)

    def events(self, *names: str) -> list[dict[str, Any]]:
        """The lines of the record with one of these events."""
        return [e for e in state.history(self.folder) if e["event"] in names]

    @contextlib.contextmanager
    def client(self, rate: float = 120.0) -> Iterator[Totals]:
        """Requests in the background; none of them is lost or wrong."""
        with Replay(host.url(self.folder), self.rows, {}, rate=rate, connections=8) as traffic:
            yield traffic.totals
            totals = traffic.stop()
        assert totals.sent > 20
        assert (totals.lost, set(totals.codes) - {200}) == (0, set())


@pytest.fixture
def place(fresh: towns.Town, tmp_path: Path) -> Iterator[Place]:
    """A host on which v1.0.0 was deployed by deploy.yml; the next is v1.1.0."""
    folder = tmp_path / "srv"
    folder.mkdir()
    rows = built.traffic_of(fresh.hub.work, []).rows
    # The host gets the launcher of this repository, which notes its calls.
    with sshd.serving(tmp_path / "sshd", {"REMEMBER": str(tmp_path)}) as server:
        made = Place(folder, server, rows)
        env = {**made.secrets, "MAINLINE_TARGET": made.address, "MAINLINE_VENV": os.sys.prefix}
        done = small.run(fresh.hub.work, "host", "install", env=env)
        assert done.status == 0, done.err
        fresh.hub.variables = {
            "MAINLINE_TARGET": made.address,
            "MAINLINE_SSH_KNOWN_HOSTS": made.secrets["MAINLINE_SSH_KNOWN_HOSTS"],
        }
        fresh.hub.secrets = {"MAINLINE_SSH_KEY": made.secrets["MAINLINE_SSH_KEY"]}
        waits(fresh, 60)
        try:
            run = fresh.deploy("v1.0.0")
            well(run, "look", "shadow", "settle", "tell")
            assert made.state().stable.version == "v1.0.0"
            yield made
        finally:
            host.down(folder)
            assert not host.programs(folder)


def waits(town: towns.Town, seconds: int) -> None:
    """Let a stage's job wait so long for its verdict; act takes the file as it lies there."""
    path = town.hub.work / ".github" / "workflows" / "deploy.yml"
    text = path.read_text("utf-8")
    path.write_text(re.sub(r"--wait \d+", f"--wait {seconds}", text), "utf-8")


def test_stage_by_stage_over_ssh_and_back_by_hand(fresh: towns.Town, place: Place) -> None:
    """Held without traffic, asked again by the schedule, promoted, run again, rolled back.

    The client in the background loses nothing. rollback.yml does its work with deploy.yml and
    train.yml gone and main's newest code broken, as the version's own tag has it.
    """
    waits(fresh, 2)
    run = fresh.deploy("v1.1.0")
    well(run, "look", "shadow", "tell")
    assert "held at shadow" in told(fresh)
    assert prod(fresh) == "v1.0.0"
    waits(fresh, 60)
    with place.client() as seen:
        run = fresh.deploy(event="schedule")
        # The shadow may have passed before the schedule looks.
        jobs = {"look", *STAGES, "promote", "settle", "tell"}
        assert run.jobs().keys() | {"shadow"} == jobs, run.text()
        assert set(run.jobs().values()) == {"success"}, run.text()
        assert (prod(fresh), place.state().status) == ("v1.1.0", "promoted")
        assert seen.sent > 200
        assert "deployed" in told(fresh)
        assert "| canary-50 | 50% | PASS |" in told(fresh)
        # A run that is started again moves no weight twice: it only asks whether it holds.
        moves = place.events("stage", "promoted", "started")
        well(fresh.deploy("v1.1.0"), "look", "settle", "tell")
        assert place.events("stage", "promoted", "started") == moves
        _break_main(fresh)
        run = fresh.back("it is wrong", ref=f"refs/tags/{MODEL}@v1.1.0")
        assert run.jobs() == {"rollback": "success"}, run.text()
    assert place.state().stable.version == "v1.0.0"
    assert (prod(fresh), at(fresh, "rejected")) == ("v1.0.0", "v1.1.0")
    (pull,) = fresh.github.pulls()
    assert pull["title"] == f"Revert {MODEL}@v1.1.0"


def _break_main(town: towns.Town) -> None:
    """Main's newest commit has no deploy.yml and no train.yml, and a house that does not start."""
    work = town.hub.work
    for name in ("deploy", "train"):
        (work / ".github" / "workflows" / f"{name}.yml").unlink()
    (work / "src" / "mainline" / "cli.py").write_text("this is no Python\n", "utf-8")
    town.hub.commit("Broken")
    town.hub.push("refs/heads/main")


def test_a_killed_run_is_ended_by_the_guard_and_told_by_the_schedule(
    fresh: towns.Town, place: Place
) -> None:
    """The runner is gone in the middle of a stage, and the version turns out to be slow.

    Another version was at work, which it supersedes. The guard rolls back by itself; the schedule
    then rejects it and proposes the revert. While another run is active it keeps out of the way.
    """
    env = {**place.secrets, "MAINLINE_TARGET": place.address}
    assert small.run(fresh.hub.work, "rollout", "start", "v1.1.0", env=env).status == 0
    changes.slow(fresh.hub.work)
    fresh.hub.git("checkout", "--quiet", "--", ".github")
    fresh.hub.commit("Exchange rates")
    assert fresh.push("release").jobs() == RELEASED
    waits(fresh, 60)
    threading.Thread(target=_kill_in_stage, args=(fresh, place), daemon=True).start()
    assert fresh.deploy().status == -signal.SIGKILL
    assert place.state().version == "v1.2.0"
    assert place.events("aborted")[-1]["reason"] == "Superseded by v1.2.0"
    fresh.github.deploys[:] = [{"id": 7, "status": "in_progress"}]
    with place.client():
        _until(lambda: place.state().status == "rolled-back")
    assert fresh.deploy(event="schedule").jobs() == {"look": "success"}
    fresh.github.deploys[:] = []
    run = fresh.deploy(event="schedule")
    well(run, "look", "rollback", "tell")
    assert (prod(fresh), at(fresh, "rejected")) == ("v1.0.0", "v1.2.0")
    titles = [p["title"] for p in fresh.github.pulls()]
    assert titles.count(f"Revert {MODEL}@v1.2.0") == 1, titles
    assert fresh.deploy(event="schedule").jobs() == {"look": "success"}


def _kill_in_stage(town: towns.Town, place: Place) -> None:
    _until(lambda: place.state().running and place.state().stage is not None)
    os.kill(int(town.hub.act_pid.read_text("utf-8")), signal.SIGKILL)


def _until(done: Any) -> None:
    deadline = time.monotonic() + 240
    while not done():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)
