"""A machine reached by ssh as a target."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from mainline.errors import PlatformError
from mainline.rollout.target import Target


def connect(root: Path, address: str) -> AbstractContextManager[Target]:
    """The target at `ssh://user@host[:port]/path`, while the block lasts."""
    raise PlatformError(f"{address} cannot be reached yet", "Unset MAINLINE_TARGET")
