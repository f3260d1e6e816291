"""How much memory a service holds, with all the processes that it started; how old it is."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def resident(pid: int) -> int | None:
    """Resident bytes of the process `pid` and its descendants; None where it is gone."""
    if not (PROC / "self" / "statm").exists():
        return _listed(pid)
    page = os.sysconf("SC_PAGE_SIZE")
    found = [_pages(p) for p in _tree(pid)]
    return None if not found or found[0] is None else page * sum(n or 0 for n in found)


def age(pid: int) -> float | None:
    """For how many seconds the process `pid` has lived, to a hundredth; None where nobody knows.

    On a clock that does not jump; supervisor itself knows whole seconds of the one on the wall.
    """
    started = ticks(pid)
    if started is None:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def ticks(pid: int) -> int | None:
    """When the process `pid` started, in clock ticks of this boot; None where nobody knows.

    It stays the same for its life, where supervisor moves its own figure with the clock.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((PROC / str(pid) / "stat").read_text("utf-8").rpartition(")")[2].split()[19])
    return None


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in (PROC / str(pid) / "task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text("ascii").split():
                yield from _tree(int(child))


def _pages(pid: int) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((PROC / str(pid) / "statm").read_text("ascii").split()[1])
    return None


def _listed(pid: int) -> int | None:
    """The same from `ps`, where there is no /proc (macOS); it counts in units of 1,024 bytes."""
    done = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,rss="], capture_output=True, text=True,
                          check=False)  # fmt: skip
    rows = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    family = {pid}
    for _ in rows:
        more = {p for p, parent, _ in rows if parent in family} | family
        if more == family:
            break
        family = more
    sizes = {p: kilobytes for p, _, kilobytes in rows}
    return 1024 * sum(sizes.get(p, 0) for p in family) if pid in sizes else None
