"""The watcher: if the guard gives no sign of life for three seconds, all traffic goes to stable.

`python -m mainline.rollout.watcher FOLDER`. Envoy ends with the supervisor: one that was killed is
started again. It knows nothing else, so that little can break it.
supervisor's own event listeners tick every five seconds, which is too slow for this lease.
"""

from __future__ import annotations

import sys
import time
import traceback
from pathlib import Path

from mainline.errors import MainlineError
from mainline.rollout import actions, host
from mainline.rollout.state import boot_id, read

EVERY_SECONDS = 0.2
DESERTED_SECONDS = 1.0  # a target that is being ended on purpose has no supervisor for less


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


def main(target: Path) -> None:
    """Watch for ever."""
    boot = boot_id()
    missed = None
    # After a boot the guard gets as long for its first sign as for any other.
    time.sleep(actions.LEASE_SECONDS)
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
            elif stuck(target, boot):
                host.kill_program(target, "guard")
                time.sleep(actions.LEASE_SECONDS)
        except (MainlineError, OSError, ValueError):
            traceback.print_exc()
        time.sleep(EVERY_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
