"""Watcher, guard and Envoy of a host started anew, by another house, under what is served.

On Linux two Envoys may listen on one port. One that is started beside takes the port over while the
old one drains: it answers what it has, and asks clients that keep connections for new ones. When
it closes its socket the kernel refuses what had just arrived there: a few of 50,000 where every
request opens a connection.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mainline.errors import MainlineError
from mainline.files import write_json
from mainline.rollout import envoy, host, state
from mainline.rollout.host import NEXT, HostError

DRAIN_SECONDS = 2.5  # a little more than Envoy was told
IDLE_SECONDS = 15.0  # at most so long for requests that are under way
KEPT = (
    "Envoy handed over to its successor on the same port: requests under way were answered; a "
    "connection opened in that very moment may have been refused"
)
CUT = "While Envoy started, requests under way and new connections were refused for about 0.2 s"


def renew(target: Path) -> str:
    """Start all three anew, one after the other; a sentence on what clients saw of it.

    Called again after it was cut off it goes on. Raises HostError (12) where Envoy does not start;
    the old one then serves on.
    """
    host.write_own(target)
    for name in ("watcher", "guard"):
        host.restart_program(target, name)
    if sys.platform != "linux" or not host.envoy_ready(target):
        _write_bootstrap(target, "bootstrap.json", host.ports(target)["admin"])
        host.restart_program(target, "envoy")
        _await(target, "envoy", lambda: host.envoy_ready(target))
        return CUT
    if host.port_of(target, NEXT) != host.ports(target)["admin"]:
        host.remove_program(target, NEXT)
        _take_over(target, NEXT, "bootstrap-next.json")
    _take_over(target, "envoy", "bootstrap.json")
    host.remove_program(target, NEXT)
    (target / "bootstrap-next.json").unlink(missing_ok=True)
    return KEPT


def _take_over(target: Path, name: str, bootstrap: str) -> None:
    """Start the Envoy `name` beside the one that serves, see it ready, then drain that one."""
    before, admin = host.ports(target), host.free_port()
    _write_bootstrap(target, bootstrap, admin)
    host.remove_program(target, name)
    host.add_program(target, name, host.run_envoy(bootstrap), target, admin)
    _await(target, name, lambda: _shows(target, admin))
    # From here on the guard asks the new one.
    write_json(target / "host.json", {**before, "admin": admin})
    envoy.ask(before["admin"], "/drain_listeners?graceful", "POST")
    time.sleep(DRAIN_SECONDS)
    deadline = time.monotonic() + IDLE_SECONDS
    while _active(before["admin"]) and time.monotonic() < deadline:
        time.sleep(0.1)


def _write_bootstrap(target: Path, name: str, admin: int) -> None:
    write_json(target / name, envoy.bootstrap(host.ports(target)["public"], admin))


def _shows(target: Path, admin: int) -> bool:
    """Whether an Envoy is live and has the route of the state, where there is one."""
    if envoy.ask(admin, "/ready")[1].strip() != "LIVE":
        return False
    now = state.read(target)
    dump = json.loads(envoy.ask(admin, "/config_dump?resource=dynamic_route_configs")[1])
    found = [c.get("version_info") for c in dump.get("configs", [])]
    return now.stable is None or found == [f"gen-{now.route}"]


def _active(admin: int) -> bool:
    """Whether clients of this Envoy wait for answers."""
    try:
        text = envoy.ask(admin, "/stats?filter=http.serving.downstream_rq_active")[1]
    except OSError:
        return False
    return any(line.rpartition(":")[2].strip() not in ("", "0") for line in text.splitlines())


def _await(target: Path, name: str, ready: Callable[[], bool], wait: float = 20.0) -> None:
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except (OSError, ValueError, MainlineError):
            pass
        time.sleep(0.05)
    last = host.last_line(target / "log" / f"{name}.log")
    raise HostError(f"Envoy did not start ({last})", f"Look into {target.name}/log/")
