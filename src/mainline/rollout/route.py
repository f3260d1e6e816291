"""One HTTPRoute (a subset of the Gateway API) describes the split; here it becomes Envoy's files.

Clusters are named by model digest, so a promotion changes weights and restarts nothing. The arm
reaches the service in `x-mainline-arm`: stable or canary by the backend chosen, shadow on mirrored
copies (whose Host also ends in `-shadow` before the port, Envoy's own mark). A client's own header
is overwritten.
"""

from __future__ import annotations

from typing import Any

from mainline.errors import UsageError
from mainline.rollout.state import State

CONFIRM_PATH = "/.mainline/generation"
TYPE = "type.googleapis.com/envoy."
MIRRORED = 32  # copies that are under way at once at most; others are dropped
KEYS = {"rules", "parentRefs", "hostnames"}


def cluster_name(digest: str) -> str:
    """The name of a model's cluster: `model-` and twelve digits of its digest."""
    return "model-" + digest.removeprefix("sha256:")[:12]


def http_route(state: State) -> dict[str, Any]:
    """The HTTPRoute that `state` asks for: weights in basis points, or a mirror of all requests.

    `state.stable` must be set: the first version of all is made stable without a canary.
    """
    assert state.stable is not None
    live = state.canary if state.running and state.stage else None
    weight = state.weight if live else 0
    backends = [_backend(state.stable.digest, state.stable.port, 100 - weight)]
    rule: dict[str, Any] = {"name": f"gen-{state.route}", "backendRefs": backends}
    if live and weight:
        backends.insert(0, _backend(live.digest, live.port, weight))
    elif live:
        mirrored = {"name": cluster_name(live.digest), "port": live.port}
        mirror = {"backendRef": mirrored, "percent": 100}
        rule["filters"] = [{"type": "RequestMirror", "requestMirror": mirror}]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "serving", "generation": state.route},
        "spec": {"rules": [rule]},
    }


def _backend(digest: str, port: int, percent: int) -> dict[str, Any]:
    return {"name": cluster_name(digest), "port": port, "weight": percent * 100}


def _known(found: dict[str, Any], known: set[str], where: str) -> None:
    for key in found:
        if key not in known:
            raise UsageError(f"{where}.{key} is not supported in an HTTPRoute here", "Take it out")


def compile_route(route: dict[str, Any], canary: str | None, timeout: str = "5s") -> dict[str, Any]:
    """The Envoy RouteConfiguration of an HTTPRoute; `canary` names the canary's cluster.

    What is outside the subset (one rule; backendRefs with weights; RequestMirror) raises
    UsageError, because a part that is silently ignored is a wrong split.
    """
    _known(route["spec"], KEYS, "spec")
    if len(route["spec"]["rules"]) != 1:
        raise UsageError("An HTTPRoute here has exactly one rule", "Write one rule")
    rule = route["spec"]["rules"][0]
    _known(rule, {"name", "backendRefs", "filters"}, "rule")
    refs = rule["backendRefs"]
    for ref in refs:
        _known(ref, {"name", "port", "weight"}, "backendRef")
        if not isinstance(ref.get("weight"), int) or ref["weight"] < 0:
            raise UsageError(f"The weight of {ref['name']} is no whole number", "Mend it")
    if not sum(ref["weight"] for ref in refs):
        raise UsageError("All weights are 0, so no backend would answer", "Give one a weight")
    # Copies of requests have no priority of their own, so this keeps them apart (see _breakers).
    action: dict[str, Any] = {
        "timeout": timeout,
        "priority": "HIGH",
        "retry_policy": _retries(),
    }
    action["weighted_clusters"] = {"clusters": [_weighted(r, refs, canary) for r in refs]}
    if mirrors := [_mirror(f) for f in rule.get("filters", [])]:
        action["request_mirror_policies"] = mirrors
    return _configuration(rule["name"], action)


def _weighted(
    ref: dict[str, Any], refs: list[dict[str, Any]], canary: str | None
) -> dict[str, Any]:
    is_canary = ref["name"] == canary
    # A canary that cannot be reached must cost no request: its share falls back to stable.
    others = [r["name"] for r in refs if r["name"] != ref["name"]]
    name = fallback_name(ref["name"], others[0]) if is_canary and others else ref["name"]
    arm = "canary" if is_canary else "stable"
    return {
        "name": name,
        "weight": ref["weight"],
        "request_headers_to_add": [_header("x-mainline-arm", arm)],
    }


def fallback_name(canary: str, stable: str) -> str:
    """The aggregate cluster that tries the canary and falls back to stable."""
    return f"{canary}-or-{stable}"


def _mirror(found: dict[str, Any]) -> dict[str, Any]:
    if found.get("type") != "RequestMirror":
        raise UsageError(f"The filter {found.get('type')!r} is not supported here", "Take it out")
    mirror = found["requestMirror"]
    _known(mirror, {"backendRef", "percent"}, "requestMirror")
    return {
        "cluster": mirror["backendRef"]["name"],
        "runtime_fraction": {
            "default_value": {"numerator": mirror.get("percent", 100), "denominator": "HUNDRED"}
        },
        "request_headers_mutations": [{"append": _header("x-mainline-arm", "shadow")}],
    }


def _header(name: str, value: str) -> dict[str, Any]:
    return {
        "header": {"key": name, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _retries() -> dict[str, Any]:
    kind = TYPE + "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
    return {
        "retry_on": "connect-failure,refused-stream,reset",
        "num_retries": 2,
        # The second try goes to the other model at once, not to the one that just failed.
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {"@type": kind, "update_frequency": 1},
        },
    }


def _configuration(generation: str, action: dict[str, Any]) -> dict[str, Any]:
    confirm = {
        "name": "confirm",
        "match": {"path": CONFIRM_PATH},
        "direct_response": {"status": 200, "body": {"inline_string": generation}},
    }
    # The route's name carries the generation into each line of the access log.
    serve = {"name": generation, "match": {"prefix": "/"}, "route": action}
    return {
        "@type": TYPE + "config.route.v3.RouteConfiguration",
        "name": "serving",
        "validate_clusters": True,
        # In the content, because Envoy does not take up a file whose content is unchanged.
        "response_headers_to_add": [_header("x-rollout-generation", generation)],
        "request_headers_to_add": [_header("x-mainline-generation", generation)],
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [confirm, serve]}],
    }


def compile_clusters(state: State) -> list[dict[str, Any]]:
    """The clusters of all live versions, and the fallback of the canary to stable.

    A cluster has one host, and is asked even when that is unhealthy (Envoy's panic threshold):
    nobody else could answer, and half of the answers are better than none. The fallback chooses a
    healthy cluster first.
    """
    arms = {a.digest: a for a in (state.stable, state.canary, state.previous) if a}
    found = [_cluster(cluster_name(a.digest), a.port) for a in arms.values()]
    if state.stable and state.canary and state.canary.digest != state.stable.digest:
        pair = [cluster_name(state.canary.digest), cluster_name(state.stable.digest)]
        found.append(_fallback(pair))
    return found


def _breakers() -> dict[str, Any]:
    """Limits on requests at once: of users, and (the default priority) of mirrored copies.

    Nobody waits for a copy, so nothing else keeps copies from piling up in a canary that is slow.
    """
    retries = {"budget_percent": {"value": 25}, "min_retry_concurrency": 20}
    return {"thresholds": [
        {"priority": "HIGH", **_at_once(4096), "retry_budget": retries},
        {"priority": "DEFAULT", **_at_once(MIRRORED)},
    ]}  # fmt: skip


def _at_once(limit: int) -> dict[str, int]:
    return {"max_connections": limit, "max_pending_requests": limit, "max_requests": limit}


def _cluster(name: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address}}]}
    check = {
        "timeout": "1s",
        "interval": "1s",
        "no_traffic_interval": "1s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {"path": "/healthz"},
    }
    return {
        "@type": TYPE + "config.cluster.v3.Cluster",
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [endpoint]},
        "health_checks": [check],
        "outlier_detection": {
            "consecutive_5xx": 5,
            "interval": "2s",
            "base_ejection_time": "10s",
            "max_ejection_percent": 100,
            # /healthz may answer while /predict does not: it must not end an ejection.
            "successful_active_health_check_uneject_host": False,
        },
        "circuit_breakers": _breakers(),
    }


def _fallback(pair: list[str]) -> dict[str, Any]:
    kind = TYPE + "extensions.clusters.aggregate.v3.ClusterConfig"
    return {
        "@type": TYPE + "config.cluster.v3.Cluster",
        "name": fallback_name(*pair),
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": _breakers(),
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {"@type": kind, "clusters": pair},
        },
    }
