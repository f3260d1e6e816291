"""The writer of a service's log: a small process that outlives the one whose records it writes.

What a worker has handed over before it answered is written even when the worker is killed with
-9 a moment later: the records are in a pipe by then, and the writer reads it to its end. It runs
as `python -S -m mainline.serve.writer` and imports the standard library and the log's own modules.
"""

from __future__ import annotations

import json
import marshal
import os
import select
import signal
import struct
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from mainline.serve.records import Record, Shape
from mainline.serve.sink import Decode, Sink

# A write of at most PIPE_BUF bytes is all or nothing, so no request is ever half in the pipe.
HEAD = struct.Struct("<?HI")  # whether a message begins here, bytes that follow, its whole length
ROOM = min(getattr(select, "PIPE_BUF", 512), 4096) - HEAD.size
KIND = struct.Struct("<cI")  # what it is, and how many records it holds
CONFIG, REQUEST, RECORDS, LABELS, FLUSH = b"c", b"a", b"r", b"l", b"f"
# received, written, dropped as full, invalid and for want of a place, error number; twice: of the
# log and of the labels.
STATUS = struct.Struct("<10Qii")
GATHER = 0.03  # seconds: a turn for many requests, so that none of them has to wake this process
PIPE_BYTES = 1 << 20


def message(kind: bytes, count: int, payload: bytes) -> bytes:
    """`count` records for the pipe."""
    return KIND.pack(kind, count) + payload


def pieces(content: bytes) -> Iterator[bytes]:
    """A message in pieces that a pipe takes whole or not at all."""
    size = len(content)
    for start in range(0, size, ROOM):
        part = content[start : start + ROOM]
        yield HEAD.pack(start == 0, len(part), size) + part


class Assembler:
    """Messages from the bytes of a pipe; one that was given up half-way is left out."""

    def __init__(self) -> None:
        self._bytes = b""
        self._parts: list[bytes] = []
        self._got = 0

    def feed(self, content: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        """Kind, count and payload of each message that is whole now."""
        held, at = self._bytes + content if self._bytes else content, 0
        while len(held) - at >= HEAD.size:
            first, length, total = HEAD.unpack_from(held, at)
            end = at + HEAD.size + length
            if end > len(held):
                break
            part, at = held[at + HEAD.size : end], end
            if first:
                self._parts, self._got = [], 0
            self._parts.append(part)
            self._got += length
            if self._got == total:
                whole = b"".join(self._parts) if len(self._parts) > 1 else part
                kind, count = KIND.unpack_from(whole)
                yield kind, count, whole[KIND.size :]
        self._bytes = held[at:]


def today(_: Record) -> str:
    """The folder of a label is that of the day on which it came."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


class Writer:
    """Takes messages and gives them to the sinks of predictions and of labels."""

    def __init__(self, config: dict[str, Any]) -> None:
        # JSON would cost a request four times as much. It is this program on both ends of a pipe
        # that nobody else can open, and what is read is data: no code comes of it.
        load: Decode = marshal.loads
        shape = Shape(**config["shape"]) if config["shape"] else None
        more = {k: config[k] for k in ("queue_bytes", "file_bytes")}
        every = config["every"]
        self.log = Sink(config["log"], every=every, **more) if config["log"] else None
        self.labels = (
            Sink(config["labels"], every=every, day=today, **more) if config["labels"] else None
        )
        self._sinks = [sink for sink in (self.log, self.labels) if sink is not None]
        self._patience: float = config["patience"]
        self._places: dict[bytes, tuple[Sink | None, Decode]] = {
            RECORDS: (self.log, load),
            LABELS: (self.labels, load),
        }
        if shape is not None:
            self._places[REQUEST] = (self.log, lambda payload: shape.records(load(payload)))  # type: ignore[arg-type]

    def take(self, kind: bytes, count: int, payload: bytes) -> None:
        """Queue one message."""
        sink, decode = self._places.get(kind, (None, None))
        if kind == FLUSH:
            for each in self._sinks:
                each.flush(0)
        elif sink is not None and decode is not None:
            sink.put(count, payload, decode)

    @property
    def busy(self) -> bool:
        """Whether something is not yet written."""
        return any(sink.waiting for sink in self._sinks)

    def status(self) -> bytes:
        """How far it is: see STATUS."""
        numbers: list[int] = []
        errors: list[int] = []
        for sink in (self.log, self.labels):
            if sink is None:
                numbers += [0] * 5
                errors.append(0)
                continue
            dropped = sink.dropped
            numbers += [sink.received, sink.written]
            numbers += [dropped["full"], dropped["invalid"], dropped["place"]]
            errors.append(0 if sink.error is None else getattr(sink.error, "errno", None) or -1)
        return STATUS.pack(*numbers, *errors)

    def end(self) -> None:
        """Nothing more will come: write the rest, or drop it when a place has no room for long."""
        for sink in self._sinks:
            sink.end(self._patience)

    @property
    def running(self) -> bool:
        """Whether something is still tried."""
        return any(sink.running for sink in self._sinks)


def follow(source: int, told: int) -> None:
    """Write what comes from the pipe `source` until its other end closes; tell how far on `told`.

    Its first message is the configuration. Signals that end a service do not end its writer.
    """
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.set_blocking(told, False)
    assembler = Assembler()
    writer: Writer | None = None
    config: dict[str, Any] = {}
    last = b""
    while True:
        untold = writer is not None and (writer.busy or writer.status() != last)
        content = _next(source, config.get("parent"), 0.02 if untold else 1.0)
        for kind, count, payload in assembler.feed(content or b""):
            if kind == CONFIG:
                config = json.loads(payload)
                writer = Writer(config)
            elif writer is not None:
                writer.take(kind, count, payload)
        if content is None:
            break
        last = _tell(told, writer, last)
        if content and len(content) < config["pipe_bytes"] // 4:
            time.sleep(GATHER * config["pipe_bytes"] / PIPE_BYTES)
    if writer is not None:
        writer.end()
        while writer.running:
            last = _tell(told, writer, last)
            time.sleep(0.005)
        _tell(told, writer, last)


def _next(source: int, parent: int | None, wait: float) -> bytes | None:
    """Bytes from the pipe, none after `wait` seconds without any, None at its end."""
    ready, _, _ = select.select([source], [], [], wait)
    if ready:
        return os.read(source, PIPE_BYTES) or None
    # A child of the worker may hold the pipe open for ever.
    return b"" if parent is None or os.getppid() == parent else None


def _tell(told: int, writer: Writer | None, last: bytes) -> bytes:
    """Send the status where it has changed; what the worker has by now."""
    if writer is None or (now := writer.status()) == last:
        return last
    try:
        os.write(told, now)
    except BlockingIOError:  # it has not been read for long: tried again in the next turn
        return last
    except OSError:  # nobody is there to be told
        return now
    return now


if __name__ == "__main__":
    follow(0, 1)
