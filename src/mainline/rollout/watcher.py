"""The watcher: if the guard gives no sign of life for three seconds, all traffic goes to stable.

`python -m mainline.rollout.watcher FOLDER`. Envoy ends with the supervisor: one that was killed is
started again. It knows nothing else, so that little can break it.
supervisor's own event listeners tick every five seconds, which is too slow for this lease.
"""

from __future__ import annotations

import socket
import sys
import time
import traceback
from pathlib import Path

from mainline.errors import MainlineError
from mainline.rollout import actions, host
from mainline.rollout.state import boot_id, read

EVERY_SECONDS = 0.2
FIRST_SECONDS = 10.0  # a guard takes half a second to start, on a machine that is not busy
DESERTED_SECONDS = 1.0  # a target that is being ended on purpose has no supervisor for less
ANSWER_SECONDS = 2.0  # a supervisor that is frozen takes a call, and never answers it
LONGEST_SECONDS = 60.0


def expired(target: Path, boot: str) -> bool:
    """Whether a canary takes traffic and nobody guards it."""
    state = read(target)
    if not state.running or state.stage is None:
        return False
    return actions.lease_left(actions.read_progress(target), boot) < 0


def stuck(target: Path, boot: str) -> bool:
    """Whether a promotion is provisional, and its guard gives no sign of life.

    Traffic stays: most promotions are good. But the guard has to come back.
    """
    lease = actions.lease_left(actions.read_progress(target), boot)
    return read(target).provisional and lease < 0


def send_back(target: Path) -> None:
    """All traffic to stable; where that cannot be written down, end the canary.

    What was the canary's is then answered by stable, until there is room for the rest.
    """
    try:
        actions.roll_back(target, "The guard gave no sign of life", "watcher")
    except (MainlineError, OSError):
        state = read(target)
        if state.running and state.canary:
            host.stop_program(target, state.canary.program)
        raise


def await_guard(target: Path, boot: str) -> None:
    """Wait for the guard's first sign of life: after a boot everything starts at once."""
    deadline = time.monotonic() + FIRST_SECONDS
    while time.monotonic() < deadline:
        if actions.lease_left(actions.read_progress(target), boot) >= 0:
            return
        time.sleep(EVERY_SECONDS)


class Patience:
    """How long a guard that was killed for being stuck gets for its first sign of life.

    Twice as long each time: on a slow machine a lease may be too short for its start, and to kill
    it again and again would leave nobody to watch.
    """

    def __init__(self) -> None:
        self.pause, self.until = actions.LEASE_SECONDS, 0.0

    def over(self) -> bool:
        """Whether it had its time; then the next one gets more, from now on."""
        now = time.monotonic()
        if now < self.until:
            return False
        self.until, self.pause = now + self.pause, min(LONGEST_SECONDS, 2 * self.pause)
        return True


def main(target: Path) -> None:
    """Watch for ever."""
    # The way back must not wait for a supervisor that was stopped.
    socket.setdefaulttimeout(ANSWER_SECONDS)
    boot = boot_id()
    missed = None
    patience = Patience()
    await_guard(target, boot)
    while True:
        try:
            missed = (missed or time.monotonic()) if host.deserted(target) else None
            if missed and time.monotonic() - missed >= DESERTED_SECONDS:
                host.ensure(target)
                return  # that supervisor has a watcher of its own
            if expired(target, boot):
                # A guard that is frozen may hold the lock: dead, it does not.
                host.kill_program(target, "guard")
                send_back(target)
            elif not stuck(target, boot):
                patience = Patience()
            elif patience.over():
                host.kill_program(target, "guard")
        except (MainlineError, OSError, ValueError):
            traceback.print_exc()
        time.sleep(EVERY_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
