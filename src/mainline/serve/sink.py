"""Where records end up: JSON Lines by day, written by one thread, kept while there is no room.

Imported by the writer, which starts without site-packages: fsspec is loaded only where the place
is no folder.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from mainline.serve.records import Record, day_of, encode

QUEUE_BYTES = 32 << 20
FILE_BYTES = 64 << 20
TURN_BYTES = 4 << 20  # taken at once, so that what is encoded and waits stays small
RETRY = 0.5  # seconds until a place that failed is tried again
OBJECTS = 20.0  # seconds between two objects of a store, which cannot be appended to
DAYS = 64  # days whose files are remembered; of an older one a new file is begun
APPENDING = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
Decode = Callable[[bytes], Iterable[Record]]


@dataclass
class _File:
    """A file of ours: how many bytes we wrote, `part` of them of a line that is not whole yet."""

    path: Path
    size: int = 0
    part: int = 0


class Sink:
    """Appends records to `<address>/date=YYYY-MM-DD/<host>-<pid>-<n>.jsonl` from a thread.

    `put` never blocks and never raises. What cannot be written, as on a full disk, is kept and
    tried again; beyond `queue_bytes` that wait, what comes is dropped and counted. On an object
    store each turn is an object of its own. `written` counts records, `dropped` them by reason:
    full, invalid (no JSON), place (could not be written by the end), closed.
    """

    def __init__(
        self,
        address: str,
        *,
        day: Callable[[Record], str] = day_of,
        every: float | None = None,
        queue_bytes: int = QUEUE_BYTES,
        file_bytes: int = FILE_BYTES,
    ) -> None:
        self.address = address.rstrip("/")
        self.written = 0
        self.dropped: Counter[str] = Counter()
        self.received = 0
        self.error: Exception | None = None
        self._day = day
        self._remote = "://" in address
        self._every = every if every is not None else (OBJECTS if self._remote else 0.0)
        self._queue_bytes, self._file_bytes = queue_bytes, file_bytes
        self._queue: deque[tuple[int, bytes, Decode]] = deque()
        self._bytes = 0  # of the queue and of what was taken from it and is not yet written
        self._taken = 0
        self._lines: dict[str, deque[bytes]] = {}
        self._files: dict[str, _File] = {}
        # An object is overwritten silently, and a restarted container has its old name and pid.
        self._number = time.time_ns() // 1_000_000 if self._remote else 0
        self._changed = threading.Condition()
        self._hurry = False
        self._deadline: float | None = None  # set when it was closed
        self._thread = threading.Thread(target=self._run, name="sink", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Records that were put and are neither written nor dropped."""
        return self.received - self.written - sum(self.dropped.values())

    def put(self, count: int, payload: bytes, decode: Decode) -> bool:
        """Queue `count` records that `decode` reads from `payload`; False when dropped."""
        with self._changed:
            self.received += count
            closed = self._deadline is not None
            # A queue that is empty takes anything: else a large request could never be written.
            if closed or (self._bytes and self._bytes + len(payload) > self._queue_bytes):
                self.dropped["closed" if closed else "full"] += count
                return False
            self._queue.append((count, payload, decode))
            self._bytes += len(payload)
            self._changed.notify_all()
            return True

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was put is written or dropped; False when time ran out."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self.waiting == 0, timeout)

    def end(self, patience: float = 0.0) -> None:
        """Take no more; write the rest, for at most `patience` seconds where the place fails."""
        with self._changed:
            if self._deadline is None:
                self._deadline = time.monotonic() + patience
            self._changed.notify_all()

    @property
    def running(self) -> bool:
        """Whether its thread has not come to the end."""
        return self._thread.is_alive()

    def close(self, patience: float = 0.0) -> None:
        """`end`, and wait for it."""
        self.end(patience)
        self._thread.join()

    # ---- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._due, self._pause())
                self._hurry = False
                ending = self._deadline
                jobs = [] if self._lines else self._take()
                if ending is not None and not jobs and not self._lines:
                    return
            self._decode(jobs)
            self._store()
            if self._lines and ending is not None and time.monotonic() >= ending:
                self._give_up()
                return

    def _due(self) -> bool:
        if self._lines:  # the last turn failed
            return self._hurry
        return self._hurry or self._deadline is not None or (not self._every and bool(self._queue))

    def _pause(self) -> float | None:
        if self._lines:
            return RETRY if self._deadline is None else RETRY / 5
        return self._every or None

    def _take(self) -> list[tuple[int, bytes, Decode]]:
        jobs: list[tuple[int, bytes, Decode]] = []
        self._taken = 0
        while self._queue and self._taken < TURN_BYTES:
            jobs.append(self._queue.popleft())
            self._taken += len(jobs[-1][1])
        return jobs

    def _decode(self, jobs: Iterable[tuple[int, bytes, Decode]]) -> None:
        for count, payload, decode in jobs:
            good = 0
            with contextlib.suppress(Exception):  # what is no request costs itself only
                for record in decode(payload):
                    with contextlib.suppress(TypeError, ValueError, KeyError, RecursionError):
                        day, line = self._day(record), encode(record)
                        self._lines.setdefault(day, deque()).append(line)
                        good += 1
            if good != count:
                with self._changed:
                    self.dropped["invalid"] += count - good

    def _store(self) -> None:
        """Write what was taken, each record into the folder of its own day."""
        for day in list(self._lines):
            lines = self._lines[day]
            try:
                while lines:
                    self._account((self._upload if self._remote else self._append)(day, lines))
                del self._lines[day]
            except Exception as error:  # a full disk, a lost bucket: the service must go on
                self.error = error
                return
        self.error = None
        self._account(0)

    def _account(self, written: int) -> None:
        with self._changed:
            self.written += written
            if not any(self._lines.values()):
                self._bytes -= self._taken
                self._taken = 0
            self._changed.notify_all()

    def _give_up(self) -> None:
        with self._changed:
            self._lines.clear()
            self._queue.clear()
            self.dropped["place"] += self.waiting
            self._changed.notify_all()

    # ---- the place -----------------------------------------------------------------------------

    def _upload(self, day: str, lines: deque[bytes]) -> int:
        import fsspec  # type: ignore[import-untyped]

        with fsspec.open(f"{self.address}/date={day}/{self._name()}", "wb") as stream:
            stream.write(b"".join(lines))
        written = len(lines)
        lines.clear()
        return written

    def _append(self, day: str, lines: deque[bytes]) -> int:
        """Write the first of `lines`, up to the size of a file, and remove them; how many.

        A line that was only begun goes on where it ended: a full disk tears none. Raises OSError.
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
                _ours(descriptor, 0)
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


def append(address: str, records: Iterable[Record]) -> tuple[int, int]:
    """Write `records` to the log at `address` now; how many were written and how many dropped.

    For a batch that can wait; a service hands its records over with `mainline.serve.log`.
    """
    every = list(records)
    sink = Sink(address, every=0.0, queue_bytes=1)
    sink.put(len(every), b"", lambda _: every)
    sink.close()
    return sink.written, sum(sink.dropped.values())
