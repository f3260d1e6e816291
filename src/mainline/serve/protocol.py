"""HTTP/1.1 as uvicorn reads it, with the limits that it lacks: heads, time, and idle connections.

uvicorn with httptools takes a head of any size and waits for its end for ever; both are old ways
to bring a server down. What is no HTTP gets a problem document like every other refusal.
"""

from __future__ import annotations

import asyncio
import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mainline.serve.inputs import Refused

MAX_HEAD = 32_768  # bytes of request line and headers
MAX_HEADERS = 100
MAX_PIPELINE = 100  # requests of one connection that wait for the answers before theirs
HEAD_SECONDS = 10.0  # in which a head must end, and a new connection must have begun one
BODY_SECONDS = 60.0  # after which a body that nobody waits for any more is cut off
CODING = b"transfer-encoding"
REASONS = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}
BAD = Refused(400, "not-http", "This is not HTTP/1.1", "The request could not be read")
SLOW = Refused(
    408, "slow-head", "The request came too slowly",
    f"Its headers did not end in {HEAD_SECONDS:g} s",
)  # fmt: skip
LARGE = Refused(
    431, "large-head", "The headers are too large",
    f"{MAX_HEAD} bytes and {MAX_HEADERS} headers are allowed in one request",
)  # fmt: skip


class Protocol(HttpToolsProtocol):
    """One connection. A request that arrives whole costs a few additions more than without it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new connection its time."""
        self._refusal = BAD
        self._reading_head = True
        self._reading_body = False
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._unset_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; refuse a head that is too large before it is whole."""
        if self.transport.is_closing():
            return
        if self._reading_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._reading_head and self._head_bytes > MAX_HEAD:
            self._refusal = LARGE
            self.send_400_response("")
        elif self._reading_body or (self._reading_head and self._head_bytes):
            if self._timer is None:
                seconds = BODY_SECONDS if self._reading_body else HEAD_SECONDS
                self._timer = self.loop.call_later(seconds, self._too_slow)
        elif self._timer is not None:
            self._unset_timer()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of its path."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of it."""
        self._count(len(name) + len(value) + 4)
        if len(self.headers) >= MAX_HEADERS:
            self._refusal = LARGE
            raise ValueError("too many headers")
        if len(name) == len(CODING) and name.lower() == CODING and value.lower() != b"chunked":
            # A proxy that reads another coding otherwise sees another end of the request.
            raise ValueError("an unknown transfer encoding")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is there; from now on its body is awaited."""
        if len(self.pipeline) >= MAX_PIPELINE:
            raise ValueError("too many requests at once")
        super().on_headers_complete()
        self._reading_head, self._reading_body = False, True
        self._unset_timer()

    def on_message_complete(self) -> None:
        """It is there; what comes next is another one."""
        self._reading_head, self._reading_body = True, False
        self._head_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is out. No more is read while requests wait behind it.

        uvicorn reads on after each answer, so a caller that sends faster than it is answered would
        fill the memory.
        """
        super().on_response_complete()
        if self.pipeline and not self.transport.is_closing():
            self.flow.pause_reading()

    def send_400_response(self, msg: str) -> None:
        """Refuse what could not be read, and close: nobody knows where the next request begins."""
        self._unset_timer()
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # An answer is under way; a second one into it would be taken for its body.
            self.cycle.disconnected = True
            self.pipeline.clear()
            self.transport.close()
            return
        self.transport.write(answer(self._refusal))
        self.transport.close()

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEAD:
            self._refusal = LARGE
            raise ValueError("too large a head")

    def _too_slow(self) -> None:
        self._timer = None
        if self._reading_head and self._head_bytes:
            self._refusal = SLOW
            self.send_400_response("")
        elif not self.transport.is_closing():
            self.transport.close()

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _should_upgrade_to_ws(self) -> bool:
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: a caller must not fill the log. The request itself is answered as any other."""


def answer(refused: Refused) -> bytes:
    """A whole HTTP answer with a problem document."""
    body = json.dumps(refused.document()).encode()
    lines = [
        f"HTTP/1.1 {refused.http} {REASONS[refused.http]}",
        "content-type: application/problem+json",
        f"content-length: {len(body)}",
        "connection: close",
        "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode("ascii") + body
