"""The clocks of another machine, as a runner has them that asks a host over ssh."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mainline.rollout import ending, state, transitions

BOOT = "the boot of a runner"


class Clock:
    """The module `time` of a machine that is `ahead` by so many seconds, in a boot of its own."""

    def __init__(self, ahead: float) -> None:
        self.ahead = ahead

    def time(self) -> float:
        """Unix seconds, as they are there."""
        return time.time() + self.ahead

    def monotonic(self) -> float:
        """Seconds since a boot that was long before that of this machine."""
        return time.monotonic() + 1e7

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def elsewhere(patch: pytest.MonkeyPatch, ahead: float) -> None:
    """Let what this process decides be decided on a machine whose clock is `ahead` (seconds)."""
    for module in (ending, state, transitions):
        patch.setattr(module, "time", Clock(ahead))
    patch.setattr(state, "boot_id", lambda: BOOT)
