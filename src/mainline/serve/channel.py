"""The way from a service to the writer of its log: a process at the end of a pipe, or a thread."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mainline.serve import writer as protocol
from mainline.serve.writer import FLUSH, LABELS, STATUS, Writer

SOURCE = Path(__file__).resolve().parents[2]  # the folder that holds the package
AGAIN = 1.0  # seconds between two starts of a writer
EVERY = 0.05  # seconds between two turns of a thread, which takes time from the service
LISTEN = 256  # messages after which is read how far the writer is: it tells two times a message
logger = logging.getLogger("mainline.serve")


class Thread:
    """The writer as a thread of this process."""

    pid = None

    def __init__(self, config: Mapping[str, Any]) -> None:
        every = config["every"]
        if every is None and "://" not in (config["log"] or config["labels"] or ""):
            every = EVERY
        self._config = {**config, "every": every}
        self._writer: Writer | None = None

    def ready(self) -> bool:
        """Start it."""
        self._writer = self._writer or Writer(self._config)
        return True

    def send(self, kind: bytes, count: int, payload: bytes) -> str | None:
        """Hand a message over; never a reason why not: it counts what it drops."""
        self.ready()
        assert self._writer is not None
        self._writer.take(kind, count, payload)
        return None

    def hurry(self) -> None:
        """Write what waits now."""
        if self._writer is not None:
            self._writer.take(FLUSH, 0, b"")

    def counts(self, labels: bool) -> Counter[str]:
        """What became of the records that were handed over."""
        return _counts(self._writer.status(), labels) if self._writer else Counter()

    def finish(self) -> None:
        """Nothing more will come."""
        if self._writer is not None:
            self._writer.end()

    def ended(self) -> bool:
        """Whether all is written or given up."""
        return self._writer is None or not self._writer.running


class Process:
    """The writer as a process, the pipe to it and the one on which it tells how far it is."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = dict(config)
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = self._told = -1
        self._status = bytes(STATUS.size)
        self._handed = {False: 0, True: 0}  # to the present writer
        self._before: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
        self._started = float("-inf")
        self._heard = 0
        self._owner = os.getpid()

    @property
    def pid(self) -> int | None:
        """Its process id; None while there is none."""
        return self._process.pid if self._process else None

    def ready(self) -> bool:
        """Whether a writer runs; starts one, at most one a second."""
        if self._process is not None and self._owner != os.getpid():
            self._abandon()
        if self._process is not None:
            return True
        if time.monotonic() - self._started < AGAIN:
            return False
        self._started = time.monotonic()
        try:
            self._start()
        except OSError as error:  # no process or no descriptor is left
            logger.error("the writer of the prediction log did not start (%s)", error)
            return False
        return True

    def _start(self) -> None:
        source, self._pipe = os.pipe()
        self._told, told = os.pipe()
        remote = any("://" in (self._config[k] or "") for k in ("log", "labels"))
        # Site-packages cost 50 ms and are wanted only for a place that is no folder.
        options = ["-P"] if remote else ["-P", "-S"]
        path = os.pathsep.join([str(SOURCE), *(p for p in sys.path if remote and p)])
        try:
            self._process = subprocess.Popen(
                [sys.executable, *options, "-m", "mainline.serve.writer"],
                stdin=source, stdout=told, stderr=subprocess.DEVNULL, start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip
        except OSError:
            self._shut()
            raise
        finally:
            os.close(source)
            os.close(told)
        self._owner = os.getpid()
        os.set_blocking(self._pipe, False)
        os.set_blocking(self._told, False)
        own = {"pipe_bytes": _widen(self._pipe), "parent": os.getpid()}
        config = json.dumps({**self._config, **own}).encode()
        for piece in protocol.pieces(protocol.message(protocol.CONFIG, 0, config)):
            os.write(self._pipe, piece)

    def _abandon(self) -> None:
        """In a forked child: the writer is the parent's, and its counts are too."""
        self._process = None
        self._shut()
        self._started = float("-inf")
        self._status = bytes(STATUS.size)
        for labels in (False, True):
            self._before[labels] = Counter()
            self._handed[labels] = 0

    def send(self, kind: bytes, count: int, payload: bytes) -> str | None:
        """Hand a message over; the reason where it was dropped."""
        message = protocol.message(kind, count, payload)
        for _ in range(2):
            if not self.ready():
                return "writer"
            try:
                for piece in protocol.pieces(message):
                    os.write(self._pipe, piece)
            except BlockingIOError:
                return "full"
            except OSError:  # it was killed
                self._bury()
                continue
            self._handed[kind == LABELS] += count
            self._heard += 1
            if self._heard >= LISTEN:
                self._listen()
            return None
        return "writer"

    def hurry(self) -> None:
        """Write what waits now."""
        if self._process is not None:
            self.send(FLUSH, 0, b"")

    def counts(self, labels: bool) -> Counter[str]:
        """What became of the records that were handed over."""
        if self._process is not None:
            self._listen()
            if self._process.poll() is not None:
                self._bury()
        return self._before[labels] + _counts(self._status, labels)

    def _listen(self) -> None:
        self._heard = 0
        with contextlib.suppress(OSError):
            while content := os.read(self._told, STATUS.size * 256):
                before, self._status = self._status, content[-STATUS.size :]
                _complain(before, self._status)

    def _bury(self) -> None:
        """Count what the writer that is gone had not written."""
        if self._process is None:
            return
        self._listen()
        self._process.wait()
        self._process = None
        self._shut()
        for labels in (False, True):
            done = _counts(self._status, labels)
            lost = self._handed[labels] - sum(done.values())
            self._before[labels] += done + Counter({"writer": lost})
            self._handed[labels] = 0
            if lost:
                logger.error("the writer of the log was killed; %d records are lost", lost)
        self._status = bytes(STATUS.size)

    def finish(self) -> None:
        """Close the pipe: the writer reads it to its end."""
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def ended(self) -> bool:
        """Whether it has written the rest and is gone."""
        if self._process is not None and self._process.poll() is not None:
            self._bury()
        return self._process is None

    def _shut(self) -> None:
        self.finish()
        if self._told >= 0:
            os.close(self._told)
            self._told = -1


def _widen(pipe: int) -> int:
    """Give the pipe as much room as the system allows; how much it has, in bytes."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, protocol.PIPE_BYTES)
        return int(fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ))
    return 1 << 14


def _counts(status: bytes, labels: bool) -> Counter[str]:
    numbers = STATUS.unpack(status)[5 * labels :]
    names = ("written", "full", "invalid", "place")
    return Counter({name: n for name, n in zip(names, numbers[1:5], strict=True) if n})


def _complain(before: bytes, now: bytes) -> None:
    """Say once that a place cannot be written, and once that it can again."""
    for what, then, code in zip(
        ("predictions", "labels"), STATUS.unpack(before)[-2:], STATUS.unpack(now)[-2:], strict=True
    ):
        if code and not then:
            why = errno.errorcode.get(code, "see its place")
            logger.error("the place of the %s cannot be written (%s); they wait", what, why)
        elif then and not code:
            logger.warning("the place of the %s can be written again", what)
