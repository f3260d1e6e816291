"""Become the program NAME of this folder: `python programs/program.py NAME`, a copy of this file.

Its command and its environment stand in programs/NAME.json. The process stays the same, so
supervisor sees its end. Standard library only.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main(name: str) -> None:
    """Read the command, go to its directory, and become it."""
    document = json.loads((Path("programs") / f"{name}.json").read_text("utf-8"))
    os.environ.update(document.get("environment", {}))
    os.chdir(document["directory"])
    # A job's own checkout may be gone: what it named as the repository is not inherited.
    os.environ["MAINLINE_ROOT"] = document["directory"]
    os.execvp(document["command"][0], document["command"])


if __name__ == "__main__":
    main(sys.argv[1])
