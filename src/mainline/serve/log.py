"""The prediction log as a service sees it: handed over before the answer, never in its way."""

from __future__ import annotations

import logging
import marshal
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mainline.serve.channel import Process, Thread
from mainline.serve.records import Record, Request, Shape
from mainline.serve.sink import FILE_BYTES, QUEUE_BYTES
from mainline.serve.writer import LABELS, RECORDS, REQUEST

PATIENCE = 60.0  # seconds for which a writer waits for room after its worker has ended
OUTCOMES = ("written", "waiting", "full", "invalid", "place", "writer", "closed")
logger = logging.getLogger("mainline.serve")


class Recent:
    """The last ids that were given out: between `size` and twice as many."""

    def __init__(self, size: int = 20_000) -> None:
        self._size = size
        self._now: set[str] = set()
        self._before: set[str] = set()

    def add(self, ids: Sequence[str]) -> None:
        """Remember `ids`."""
        self._now.update(ids)
        if len(self._now) >= self._size:
            self._before, self._now = self._now, set()

    def __contains__(self, name: object) -> bool:
        return name in self._now or name in self._before


class PredictionLog:
    """Writes predictions to `address` and labels to `labels`, through a process of its own.

    A call hands its records to a pipe, which takes them whole or not at all: it never blocks and
    never raises. What was handed over is written though this process is killed at once. What the
    pipe has no room for is dropped and counted, and so is what a writer that was killed had not
    yet written; the next call starts another. On Windows, and for places in memory, a thread of
    this process writes instead. Without an address nothing is written and nothing is counted.
    """

    def __init__(
        self,
        address: str | None,
        *,
        labels: str | None = None,
        shape: Shape | None = None,
        every: float | None = None,
        queue_bytes: int = QUEUE_BYTES,
        file_bytes: int = FILE_BYTES,
        patience: float = PATIENCE,
        own_process: bool | None = None,
    ) -> None:
        self.address, self.labels = address or None, labels or None
        self._config: dict[str, Any] = {
            "log": self.address, "labels": self.labels, "every": every,
            "shape": shape.to_dict() if shape else None, "queue_bytes": queue_bytes,
            "file_bytes": file_bytes, "patience": patience,
        }  # fmt: skip
        memory = any(str(a).startswith("memory:") for a in (address, labels))
        apart = os.name == "posix" and not memory if own_process is None else own_process
        self._writer: Process | Thread = (Process if apart else Thread)(self._config)
        self._lock = threading.Lock()
        self._accepted: dict[bool, int] = {False: 0, True: 0}  # by whether they are labels
        self._dropped: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
        self._closed = False
        self.recent = Recent()

    def start(self) -> None:
        """Start the writer now, so that the first request need not."""
        if self.address or self.labels:
            with self._lock:
                self._writer.ready()

    @property
    def pid(self) -> int | None:
        """The process that writes; None where it is a thread, or has not started."""
        return self._writer.pid

    def answered(self, request: Request) -> bool:
        """Hand over one answered request, as `shape` reads it; False when it was dropped."""
        if self.labels is not None:  # feedback may come on these ids
            self.recent.add(request[5])
        if self.address is None:
            return True
        return self._send(REQUEST, len(request[5]), request)

    def write(self, records: Sequence[Record]) -> bool:
        """Hand over `records` (keys as in FIELDS); False when they were dropped."""
        if self.address is None or not records:
            return True
        return self._send(RECORDS, len(records), list(records))

    def label(self, records: Sequence[Record]) -> bool:
        """Hand over labels; False when they were dropped."""
        if self.labels is None or not records:
            return self.labels is not None
        return self._send(LABELS, len(records), list(records))

    def counts(self, labels: bool = False) -> dict[str, int]:
        """Records by what became of them (OUTCOMES): they add up to all that were accepted."""
        with self._lock:
            done = self._writer.counts(labels) + self._dropped[labels]
            found = {name: done[name] for name in OUTCOMES}
            found["waiting"] = self._accepted[labels] - sum(done.values())
            return found

    @property
    def written(self) -> int:
        """Predictions that are in the log."""
        return self.counts()["written"]

    @property
    def dropped(self) -> int:
        """Predictions that never will be."""
        found = self.counts()
        return sum(found.values()) - found["written"] - found["waiting"]

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was handed over is written or dropped; False when time ran out."""
        end = time.monotonic() + timeout
        with self._lock:
            self._writer.hurry()
        while self.counts()["waiting"] or self.counts(labels=True)["waiting"]:
            if time.monotonic() >= end:
                return False
            time.sleep(0.005)
        return True

    def close(self, timeout: float = 10.0) -> None:
        """Refuse further records and wait until the writer has written the rest. May be repeated.

        A writer that is not done in `timeout` seconds, as on a full disk, goes on by itself.
        """
        end = time.monotonic() + timeout
        with self._lock:
            self._closed = True
            self._writer.finish()
        while True:
            with self._lock:
                if self._writer.ended():
                    return
            if time.monotonic() >= end:
                logger.error("the log could not be written to its end; its writer goes on trying")
                return
            time.sleep(0.005)

    def _send(self, kind: bytes, count: int, content: Any) -> bool:
        labels = kind == LABELS
        try:
            payload = marshal.dumps(content, 2)
        except ValueError:
            payload = None
        with self._lock:
            self._accepted[labels] += count
            reason: str | None
            if payload is None:
                reason = "invalid"
            elif self._closed:
                reason = "closed"
            else:
                reason = self._writer.send(kind, count, payload)
            if reason is not None:
                self._dropped[labels][reason] += count
            return reason is None
