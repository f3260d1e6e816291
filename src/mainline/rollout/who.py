"""Who gave a command: for the record, and for people who ask later."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping

from mainline.register.message import run_address


def who(environ: Mapping[str, str] = os.environ) -> str:
    """In a workflow its actor with the run's address, else `user@host`."""
    actor = environ.get("GITHUB_ACTOR", "")
    if environ.get("GITHUB_ACTIONS") == "true" and actor:
        return f"{actor} ({run_address(environ)})"
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user need not have a name
        user = f"uid {os.getuid()}" if hasattr(os, "getuid") else "somebody"
    return f"{user}@{socket.gethostname()}"
