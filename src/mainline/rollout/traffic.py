"""Replayed traffic: rows sent again and again over keep-alive connections, each answer checked.

One thread of asyncio, written on protocols because streams cost twice as much a request.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mainline.rollout.predictions import same
from mainline.serve.keys import header

Answers = Mapping[str, Sequence[Sequence[float]]]


@dataclass
class Totals:
    """What the client saw. `lost` had no answer, `wrong` was not the offline answer of its model.

    `refused` of the lost ones were never sent, since nobody listened. `codes` counts answers by
    status; `ok` are those with 200. `ms` holds the latency of each.
    """

    sent: int = 0
    ok: int = 0
    lost: int = 0
    refused: int = 0
    wrong: int = 0
    compared: int = 0
    codes: dict[int, int] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)
    ms: list[float] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection with at most one request under way."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.waiting: asyncio.Future[tuple[int, str, bytes]] | None = None
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.waiting and not self.waiting.done():
            self.waiting.set_exception(ConnectionResetError("closed without an answer"))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        lowered = head.lower()
        body = _body(lowered, rest)
        if body is None or self.waiting is None or self.waiting.done():
            return
        self.buffer = b""
        if b"\r\nconnection: close" in lowered and self.transport:
            self.transport.close()
            self.transport = None
        self.waiting.set_result((int(head[9:12]), _value(lowered, b"x-model-version"), body))


def _value(head: bytes, name: bytes) -> str:
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return ""
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else None].decode("latin-1").strip()


def _body(head: bytes, rest: bytes) -> bytes | None:
    """The body once all of it is there, else None."""
    length = _value(head, b"content-length")
    if length:
        return rest if len(rest) >= int(length) else None
    if _value(head, b"transfer-encoding") != "chunked":
        return rest
    if not rest.endswith(b"0\r\n\r\n"):
        return None
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        count = int(size.split(b";")[0] or b"0", 16)
        if not count:
            break
        body, rest = body + rest[:count], rest[count + 2 :]
    return body


class Replay:
    """Traffic in a thread of its own: `with Replay(url, rows, expected, rate=500) as replay:`.

    `rows` are feature dictionaries; the request for row i carries `x-request-id: replay-<i>-<n>`.
    `expected` holds offline scores by model digest and row: an answer of a model that is in it is
    compared. `rate` is requests a second over all connections, None for as many as are answered; it
    may be changed under way. `totals` may be read at any time.
    """

    def __init__(
        self,
        url: str,
        rows: Sequence[Mapping[str, Any]],
        expected: Answers | None = None,
        *,
        rate: float | None = None,
        connections: int = 8,
        timeout: float = 10.0,
        keep_ms: int = 200_000,
    ) -> None:
        split = urlsplit(url)
        self.host, self.port = split.hostname or "127.0.0.1", split.port or 80
        self.bodies = [json.dumps({"rows": [r]}).encode("utf-8") for r in rows]
        self.expected = {k.removeprefix("sha256:")[:12]: v for k, v in (expected or {}).items()}
        self.rate, self.connections, self.timeout = rate, connections, timeout
        self.keep_ms = keep_ms
        self.key = b"".join(b"%s: %s\r\n" % (k.encode(), v.encode()) for k, v in header().items())
        self.totals = Totals()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="replay", daemon=True)
        self._next = 0.0

    def __enter__(self) -> Replay:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> Totals:
        """Let requests under way finish, then end; returns the totals."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self.timeout + 5)
        return self.totals

    def _main(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        await asyncio.gather(*(self._worker() for _ in range(self.connections)))

    async def _worker(self) -> None:
        connection = _Connection()
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            n = self.totals.sent
            self.totals.sent = n + 1
            if (ahead := self._slot()) > 0.001:
                await asyncio.sleep(ahead)
                if self._stop.is_set():
                    self.totals.sent -= 1
                    return
            began = time.perf_counter()
            try:
                if connection.transport is None:
                    connection = await self._connect(loop)
                async with asyncio.timeout(self.timeout):
                    code, model, body = await self._ask(connection, loop, n)
            except (OSError, TimeoutError) as error:
                self.totals.lost += 1
                self.totals.refused += isinstance(error, ConnectionRefusedError)
                if connection.transport:
                    connection.transport.abort()
                connection = _Connection()
                await asyncio.sleep(0.01)
                continue
            self._count(n, code, model, body, (time.perf_counter() - began) * 1000)
        if connection.transport:
            connection.transport.close()

    def _slot(self) -> float:
        """Seconds until this request's turn. Turns that were missed are not made up for."""
        if not self.rate:
            return 0.0
        now = time.monotonic()
        self._next = max(self._next, now - 1 / self.rate) + 1 / self.rate
        return self._next - now

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> _Connection:
        _, connection = await loop.create_connection(_Connection, self.host, self.port)
        return connection

    def _ask(
        self, connection: _Connection, loop: asyncio.AbstractEventLoop, n: int
    ) -> asyncio.Future[tuple[int, str, bytes]]:
        i = n % len(self.bodies)
        body = self.bodies[i]
        assert connection.transport is not None
        connection.waiting = loop.create_future()
        connection.transport.write(
            b"POST /predict HTTP/1.1\r\nhost: %s:%d\r\ncontent-type: application/json\r\n"
            b"x-request-id: replay-%d-%x\r\n%scontent-length: %d\r\n\r\n%s"
            % (self.host.encode(), self.port, i, n, self.key, len(body), body)
        )
        return connection.waiting

    def _count(self, n: int, code: int, model: str, body: bytes, ms: float) -> None:
        totals = self.totals
        totals.codes[code] = totals.codes.get(code, 0) + 1
        totals.models[model] = totals.models.get(model, 0) + 1
        if len(totals.ms) < self.keep_ms:
            totals.ms.append(ms)
        if code != 200:
            return
        totals.ok += 1
        if (answers := self.expected.get(model)) is not None:
            totals.compared += 1
            try:
                scores = json.loads(body)["predictions"][0]["scores"]
            except (ValueError, KeyError, IndexError, TypeError):
                scores = []
            totals.wrong += not same(scores, answers[n % len(self.bodies)])


def replay(
    url: str,
    rows: Sequence[Mapping[str, Any]],
    rate: float | None,
    stop_event: threading.Event,
    *,
    expected: Answers | None = None,
    connections: int = 8,
) -> Totals:
    """Send rows until `stop_event` is set; blocks, and returns what the client saw."""
    with Replay(url, rows, expected, rate=rate, connections=connections) as running:
        stop_event.wait()
    return running.totals
