"""A lock file that one process at a time holds, and the few words kept in it.

Standard library only. The operating system lets go of the lock when its holders end, so none is
ever stale.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mainline.progress import say

# Windows locks bytes and keeps others from reading them: lock one far behind the words.
FAR = 1 << 30
BUSY = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)


@contextlib.contextmanager
def alone(path: str | Path, waiting: str = "") -> Iterator[int]:
    """Hold the lock file `path` and yield its handle; says `waiting` while another holds it.

    Programs started meanwhile may inherit the handle, and the lock with it, so that an installer
    which outlives a killed launcher is waited for. Where the file system knows no locks, nobody
    is waited for. Raises OSError where the file cannot be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.set_inheritable(handle, True)
        if not _try_lock(handle):
            say(waiting or f"waiting for {os.path.basename(path)}")
            while not _try_lock(handle):
                time.sleep(0.1)
        yield handle
    finally:
        os.close(handle)


def read_state(handle: int) -> str:
    """The words in a lock file."""
    os.lseek(handle, 0, os.SEEK_SET)
    return os.read(handle, 100).decode("utf-8", "replace")


def write_state(handle: int, words: str) -> None:
    """Replace the words in a lock file."""
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, words.encode())
    os.fsync(handle)


def _try_lock(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in BUSY
    return True
