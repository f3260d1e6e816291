"""Where records end up: JSON Lines by day, written by one thread, kept while there is no room.

Imported by the writer, which starts without site-packages: fsspec is loaded only where the place
is no folder.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

from mainline.serve.place import Place
from mainline.serve.records import Record, day_of, encode

QUEUE_BYTES = 32 << 20
FILE_BYTES = 64 << 20
TURN_BYTES = 4 << 20  # taken at once, so that what is encoded and waits stays small
RETRY = 0.5  # seconds until a place that failed is tried again
OBJECTS = 20.0  # seconds between two objects of a store, which cannot be appended to
Decode = Callable[[bytes], Iterable[Record]]


class Sink:
    """Appends records to the files of a `Place` from a thread.

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
        self.written = 0
        self.dropped: Counter[str] = Counter()
        self.received = 0
        self.error: Exception | None = None
        self._day = day
        self._place = Place(address, file_bytes)
        self._every = every if every is not None else (OBJECTS if self._place.remote else 0.0)
        self._queue_bytes = queue_bytes
        self._queue: deque[tuple[int, bytes, Decode]] = deque()
        self._bytes = 0  # of the queue and of what was taken from it and is not yet written
        self._taken = 0
        self._lines: dict[str, deque[bytes]] = {}
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
                    self._account(self._place.write(day, lines))
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


def append(address: str, records: Iterable[Record]) -> tuple[int, int]:
    """Write `records` to the log at `address` now; how many were written and how many dropped.

    For a batch that can wait; a service hands its records over with `mainline.serve.log`.
    """
    every = list(records)
    sink = Sink(address, every=0.0, queue_bytes=1)
    sink.put(len(every), b"", lambda _: every)
    sink.close()
    return sink.written, sum(sink.dropped.values())
