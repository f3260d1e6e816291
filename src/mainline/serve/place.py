"""The files of a log: by day, one writer a file, a line never torn by a full disk."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

DAYS = 64  # days whose files are remembered; of an older one a new file is begun
APPENDING = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)


@dataclass
class _File:
    """A file of ours: how many bytes we wrote, `part` of them of a line that is not whole yet."""

    path: Path
    size: int = 0
    part: int = 0


class Place:
    """Appends lines to `<address>/date=YYYY-MM-DD/<host>-<pid>-<n>.jsonl`.

    On an object store, which cannot append, each call writes an object of its own.
    """

    def __init__(self, address: str, file_bytes: int) -> None:
        self.address = address.rstrip("/")
        self.remote = "://" in address
        self._file_bytes = file_bytes
        self._files: dict[str, _File] = {}
        # An object is overwritten silently, and a restarted container has its old name and pid.
        self._number = time.time_ns() // 1_000_000 if self.remote else 0

    def write(self, day: str, lines: deque[bytes]) -> int:
        """Write the first of `lines`, one at least, and remove them; how many it were.

        Raises OSError, or what the store raises, where there is no room.
        """
        return self._upload(day, lines) if self.remote else self._append(day, lines)

    def _upload(self, day: str, lines: deque[bytes]) -> int:
        import fsspec  # type: ignore[import-untyped]

        with fsspec.open(f"{self.address}/date={day}/{self._name()}", "wb") as stream:
            stream.write(b"".join(lines))
        written = len(lines)
        lines.clear()
        return written

    def _append(self, day: str, lines: deque[bytes]) -> int:
        """Write the first of `lines`, up to the size of a file, and remove them; how many.

        A line that was only begun goes on where it ended: a full disk tears none.
        """
        descriptor, file = self._open(day, len(lines[0]))
        try:
            size, chosen = len(lines[0]) - file.part, 1
            while chosen < len(lines) and file.size + size + len(lines[chosen]) <= self._file_bytes:
                size += len(lines[chosen])
                chosen += 1
            content = b"".join(itertools.islice(lines, chosen))
            done = os.write(descriptor, memoryview(content)[file.part :])
        finally:
            os.close(descriptor)
        file.size += done
        left, written = done + file.part, 0
        while lines and left >= len(lines[0]):
            left -= len(lines.popleft())
            written += 1
        file.part = left
        return written

    def _open(self, day: str, line: int) -> tuple[int, _File]:
        """The file of `day`, where it has room for a line and nobody else moved or compacts it."""
        file = self._files.get(day)
        fits = file is not None and (file.part or file.size + line <= self._file_bytes)
        if file is not None and fits:
            with contextlib.suppress(OSError):
                descriptor = os.open(file.path, APPENDING)
                if _ours(descriptor, file.size):
                    return descriptor, file
                os.close(descriptor)
        folder = Path(self.address) / f"date={day}"
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = folder / self._name()
            # Containers all run as the same process id: only the name decides whose it is.
            with contextlib.suppress(FileExistsError):
                descriptor = os.open(path, APPENDING | os.O_CREAT | os.O_EXCL, 0o644)
                if not _ours(descriptor, 0):  # compacted, empty, before it was locked
                    os.close(descriptor)
                    continue
                if len(self._files) >= DAYS:
                    self._files.pop(next(iter(self._files)))
                self._files[day] = _File(path)
                return descriptor, self._files[day]

    def _name(self) -> str:
        self._number += 1
        host = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:64] or "host"
        return f"{host}-{os.getpid()}-{self._number}.jsonl"


def _ours(descriptor: int, size: int) -> bool:
    """Whether the file is still as we left it. Locked until it is closed: `compact` looks."""
    if os.name == "posix":
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            pass
    status = os.fstat(descriptor)
    return status.st_size == size and status.st_nlink > 0
