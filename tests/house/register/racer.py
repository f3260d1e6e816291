"""One of several clones that race: in each round it registers and promotes when all are ready."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PATIENCE = 300  # seconds that a racer waits for the others


def race(number: int, root: Path, rounds: int, barrier: Barrier, results: Path) -> None:
    """All rounds of the clone `root`; writes what each command did to the file `results`."""
    sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[2] / "src")]
    from unittest import mock

    import faked

    faked.passing(mock.Mock(setattr=setattr))
    faked.git(root, "config", "user.name", f"racer {number}")
    done = []
    for turn in range(rounds):
        if number == 0:
            merge(root, turn)
        barrier.wait(PATIENCE)
        faked.git(root, "fetch", "--quiet", "--no-tags", "origin")
        # Half of them are at the merge, half at one after it that changes no model.
        place = "origin/main^" if number % 2 and turn % 2 else "origin/main"
        faked.git(root, "checkout", "--quiet", "--force", "--detach", place)
        faked.model(root)
        barrier.wait(PATIENCE)
        done.append(tried(forward, root))
        barrier.wait(PATIENCE)  # a promotion after the rollback would be another matter
        if turn % 3 == 2:
            done[-1] |= tried(back, root)
        barrier.wait(PATIENCE)
    results.write_text(json.dumps(done))


def merge(root: Path, turn: int) -> None:
    """Other data on main, and a commit after it that says something."""
    import faked

    faked.data(root, f"round {turn}")
    faked.change(root, "README.md", f"round {turn}\n")
    faked.push(root)


def forward(root: Path) -> dict[str, Any]:
    """Register and promote."""
    from mainline.register import lifecycle, register

    done = register.run(root, push=True)
    moved = lifecycle.assign(root, done["version"], "prod", push=True)
    return {"version": done["version"], "created": done["created"], "changed": moved["changed"]}


def back(root: Path) -> dict[str, Any]:
    """Roll back."""
    from mainline.register import lifecycle

    return {"back": lifecycle.rollback(root, push=True)["changed"]}


def tried(act: Callable[[Path], dict[str, Any]], root: Path) -> dict[str, Any]:
    """What `act` did, and the status with which its command would have ended."""
    from mainline.errors import MainlineError

    try:
        return {"status": 0, "back": False, **act(root)}
    except MainlineError as error:
        return {"status": error.status, "said": str(error)}
    except Exception:
        return {"status": 1, "said": traceback.format_exc()}
