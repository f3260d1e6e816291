"""Faults of what Envoy reads and writes: route files, logs, ports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rollout.rig import Rig, digest

from mainline.errors import MainlineError
from mainline.rollout import envoy, host, rollout
from mainline.verdict import Verdict

SHORT = [
    {"name": "canary-50", "weight": 50, "requests": 600},
    {"name": "promote", "weight": 100, "requests": 0},
]


def share(live: Rig, requests: int = 600) -> float:
    """The share of the requests that the canary answers now."""
    with live.traffic() as client:
        assert live.until(lambda: client.totals.ok >= requests)
    assert (client.totals.lost, set(client.totals.codes)) == (0, {200})
    return client.totals.models.get(digest("b")[7:19], 0) / client.totals.ok


def moved(path: Path, text: str) -> None:
    """Put a file in place as Envoy wants it: renamed."""
    new = path.with_name("new.json")
    new.write_text(text)
    new.replace(path)


def resources(path: Path) -> Any:
    """What Envoy reads there, or nothing."""
    with contextlib.suppress(ValueError):
        return json.loads(path.read_text())["resources"]
    return None


def truncated(text: str) -> str:
    return text[: len(text) // 2]


def unknown_cluster(text: str) -> str:
    return text.replace(f"model-{digest('b')[7:19]}-or", "model-nobody-or")


def other_weights(text: str) -> str:
    document = json.loads(text)
    routes = document["resources"][0]["virtual_hosts"][0]["routes"]
    for cluster in routes[1]["route"]["weighted_clusters"]["clusters"]:
        cluster["weight"] = 9900 if "-or-" in cluster["name"] else 100
    return json.dumps(document)


@pytest.mark.parametrize("put", [moved, Path.write_text], ids=["renamed", "in place"])
@pytest.mark.parametrize(
    "damage", [truncated, unknown_cluster, other_weights, lambda _: '{"resources": 7}'],
    ids=["truncated", "unknown cluster", "other weights", "invalid"],
)  # fmt: skip
def test_a_damaged_route_file_moves_no_traffic_and_is_mended(
    live: Rig, damage: Callable[[str], str], put: Callable[[Path, str], Any]
) -> None:
    """Whatever is written over the route file: no request is lost, the weights are as they were."""
    live.begin()
    path = live.target / "xds" / "rds.json"
    whole = resources(path)
    with live.traffic(rate=300) as client:
        put(path, damage(path.read_text()))
        assert live.until(lambda: resources(path) == whole)
        assert live.until(lambda: rollout.status(live.root)["envoy"])
    assert (client.totals.lost, set(client.totals.codes)) == (0, {200})
    assert 0.35 < share(live) < 0.65
    assert live.state().running


def test_a_share_unlike_its_weight_is_held(live: Rig) -> None:
    """A log in which the canary has more requests than its weight promises is no PASS."""
    live.begin(SHORT, hold_seconds=4.0)
    told = json.dumps({"gen": f"gen-{live.state().route}", "arm": "canary", "code": 200, "ms": 1,
                       "attempts": 1, "served": f"127.0.0.1:{live.arm('b').port}"})  # fmt: skip
    with live.traffic(rate=500) as client:
        with (live.target / "access.jsonl").open("a") as log:
            log.write(f"{told}\n" * 400)
        assert live.until(live.is_back)
    assert "at a weight of 50%" in live.state().reason, live.state().reason
    assert client.totals.lost == 0


def test_a_torn_log_is_held(live: Rig) -> None:
    """Lines that cannot be read are no reason to go on."""
    live.begin(SHORT, hold_seconds=4.0)
    with live.traffic(rate=500) as client:
        with (live.target / "access.jsonl").open("a") as log:
            log.write('{"gen": "gen-\n' * 50)
        assert live.until(live.is_back)
    assert "could not be read" in live.state().reason, live.state().reason
    assert client.totals.lost == 0


def test_a_log_that_stops_is_held(live: Rig) -> None:
    """Traffic flows and its log does not come: nothing is known, so nothing passes."""
    live.begin(SHORT, hold_seconds=4.0)
    log = live.target / "access.jsonl"
    log.rename(log.with_name("access.9.jsonl"))
    log.mkdir()
    try:
        with live.traffic(rate=500) as client:
            os.kill(live.pid("guard"), signal.SIGKILL)
            assert live.until(lambda: client.totals.ok > 1500)
            assert live.until(live.is_back)
        assert live.state().verdicts == {}
        assert client.totals.lost == 0
    finally:
        log.rmdir()
        envoy.ask(host.ports(live.target)["admin"], "/reopen_logs", "POST")


@pytest.mark.parametrize("how", ["rotated", "deleted"])
def test_a_log_that_is_rotated_or_deleted_is_gone_on_with(live: Rig, how: str) -> None:
    """The guard counts on in the new file; after a rotation nothing is missing."""
    live.begin()
    log = live.target / "access.jsonl"
    with live.traffic(rate=300) as client:
        assert live.until(lambda: client.totals.ok > 200)
        if how == "rotated":
            log.rename(log.with_name("access.1.jsonl"))
        else:
            log.unlink()
        before = client.totals.ok
        assert live.until(lambda: client.totals.ok > before + 300 and log.exists())
    sent = client.totals.ok
    counted = {"stable": 0, "canary": 0}

    def all_counted() -> bool:
        counted.update(live.looks()[-1]["total"])
        return sum(counted.values()) >= sent

    assert live.until(all_counted, 10), (counted, sent)
    assert sum(counted.values()) == sent
    assert live.state().running


def test_a_late_log_is_waited_for(live: Rig) -> None:
    """A log that stands still for a while costs time, and nothing else."""
    live.begin(SHORT)
    with live.traffic(rate=500):
        os.kill(live.pid("guard"), signal.SIGSTOP)
        time.sleep(1.0)  # well below the lease
        os.kill(live.pid("guard"), signal.SIGCONT)
        assert live.stage("canary-50", 20).verdict is Verdict.PASS


def test_a_taken_port_is_said_and_moves_nothing(live: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version whose port somebody else has does not get ready, and is refused."""
    route = live.state().route
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(host, "free_port", lambda: taken.getsockname()[1])
        # Each question waits five seconds there; between two starts its last words are heard.
        refused = live.start("b", ready_seconds=12.0)
    assert refused.verdict is Verdict.FAIL
    assert "address already in use" in refused.checks[-1].reason, refused.checks[-1].reason
    assert (live.state().route, live.state().running) == (route, False)
    assert live.answering() == {"a"}


def test_another_model_at_the_port_is_not_taken_for_this_one(
    live: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port of stable's own service: it answers, and for another model."""
    port = live.arm("a").port
    monkeypatch.setattr(host, "free_port", lambda: port)
    refused = live.start("b", ready_seconds=3.0)
    assert refused.verdict is Verdict.FAIL
    assert live.answering() == {"a"}


def test_a_taken_public_port_is_one_sentence(tmp_path: Path) -> None:
    """Envoy cannot listen where somebody else does: said at once, by the number of the port."""
    target = tmp_path / "serving"
    target.mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (target / "host.json").write_text(json.dumps({"public": port, "admin": host.free_port()}))
        try:
            with pytest.raises(MainlineError, match=f"{port} .* taken"):
                rollout.up(tmp_path)
        finally:
            rollout.down(tmp_path)
    assert not host.marked(target)
