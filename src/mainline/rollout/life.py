"""Whether the versions that answer users live: the guard's eyes on processes and their memory."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mainline.rollout import envoy, host, memory
from mainline.rollout.route import cluster_name
from mainline.rollout.state import Arm, State, read, seconds_in

LIVES = ("STARTING", "RUNNING")
# A new Envoy takes a host's first check for its health, one late answer too: the next may be good.
ILL_SECONDS = 1.5
BACK_SECONDS = 120.0  # for services to come back with the machine


@dataclass
class Life:
    """What is known of the new version's process, and whether services are coming back.

    `born` is [process id, when it started] once it was ready, `memory` its resident bytes then.
    `back_by` is until when services may come back, on the monotonic clock; None where all were
    there. `ill` is since when it did not answer its health check.
    """

    target: Path
    born: list[int] | None = None
    memory: int | None = None
    back_by: float | None = None
    ill: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """What a restarted guard needs to go on: `Life(target, **document)`."""
        return {k: v for k, v in asdict(self).items() if k != "target"}

    def begin(self) -> None:
        """Another version is watched from now on."""
        self.born = self.memory = self.ill = None

    def wait(self) -> None:
        """The services come back with the machine: give them time."""
        self.back_by = time.monotonic() + BACK_SECONDS

    def returning(self, state: State) -> bool:
        """Whether services of `state` were still coming back at this look."""
        if self.back_by is None:
            return False
        if self._are_back(state) or time.monotonic() > self.back_by:
            self.back_by = None
        return True

    def is_there(self, arm: Arm) -> bool:
        """Whether the service of `arm` runs and answers, as far as anybody knows."""
        seen = envoy.health(host.ports(self.target)["admin"]).get(cluster_name(arm.digest))
        process = host.programs(self.target).get(arm.program)
        return bool((not seen or seen.healthy) and process and process["state"] in LIVES)

    def lost(self, state: State, arm: Arm) -> str | None:
        """How the new version was lost, or None. Silence of Envoy or of supervisor says nothing."""
        health = envoy.health(host.ports(self.target)["admin"])
        seen = health.get(cluster_name(arm.digest))
        process = host.programs(self.target).get(arm.program)
        if process is not None:
            pid = int(process["pid"])
            born = [pid, memory.ticks(pid) or int(process["start"])]
            # It was ready when its stage began. One that is younger than that came back with the
            # machine, and takes its time: what is not there yet cannot be lost.
            young = _younger(pid, process["start"], state)
            back = young and self._supervisor_is_younger(state)
            healthy = bool(seen and seen.healthy)
            if not self.born and (healthy if self.back_by else not young or back):
                self.born = born
            if young and not back and not self.born and not self.back_by:
                return "its process ended, and another was started"
            if self.born and (process["state"] not in LIVES or born != self.born):
                return "its process ended" + (f" ({process['why']})" if process["why"] else "")
            if self.born and (mib := self._overgrown(state, self.born[0])):
                if state.running:  # at once, before the machine has no memory left
                    host.stop_program(self.target, arm.program)
                most = _most_mib(state)
                return f"its memory grew by {mib:.0f} MiB since it was ready, more than {most:g}"
        if not seen or seen.healthy or not self.born:
            self.ill = None
            return None
        if seen.ejected:
            return "Envoy ejected it after five failures in a row"
        self.ill = self.ill or time.monotonic()
        late = time.monotonic() - self.ill >= ILL_SECONDS
        return "it does not answer its health check" if late else None

    def end_leak(self, state: State) -> None:
        """End a promoted version that leaks once its users have gone back, and not before."""
        over = self.born and self._overgrown(state, self.born[0])
        if over and state.stable and read(self.target).status == "rolled-back":
            host.stop_program(self.target, state.stable.program)

    def _are_back(self, state: State) -> bool:
        """Whether all that answers users in `state` is there again, and Envoy has seen it."""
        seen = envoy.health(host.ports(self.target)["admin"])
        # Before its first stage a canary answers nobody, and Envoy does not know it.
        arms = (state.stable, state.canary if state.stage else None)
        return all(
            self.is_there(a) and cluster_name(a.digest) in seen for a in arms if a and a.port
        )

    def _supervisor_is_younger(self, state: State) -> bool:
        """Whether supervisor came after the stage began: with the machine, or by a person."""
        path = self.target / "supervisord.pid"
        with contextlib.suppress(OSError, ValueError):
            return _younger(int(path.read_text("ascii")), path.stat().st_mtime, state)
        return True

    def _overgrown(self, state: State, pid: int) -> float | None:
        """By how many MiB a process grew since it was ready, where that is more than it may."""
        held = memory.resident(pid)
        self.memory = self.memory or held
        if held is None or self.memory is None:
            return None
        mib = (held - self.memory) / 2**20
        return mib if mib > _most_mib(state) else None


def _most_mib(state: State) -> float:
    return float(state.limits.get("memory_mb", 1024))


def _younger(pid: int, born: float, state: State) -> bool:
    """Whether a process that began at `born` (Unix seconds) came after the stage of `state`."""
    old = memory.age(pid)
    return born > (state.entered or 0.0) if old is None else old < seconds_in(state)
