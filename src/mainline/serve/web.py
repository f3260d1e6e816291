"""What stands between ASGI and the handlers: one call, one route, the body of a request."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from starlette.types import Receive

from mainline.serve.ids import uuid7
from mainline.serve.inputs import Refused
from mainline.serve.metrics import ARMS

TOKEN = re.compile(r"[\x21-\x7e]{1,128}")
JSON = "application/json"
Headers = Mapping[bytes, bytes]  # names in lower case


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and how many may ask at once."""

    max_rows: int = 1000
    max_body_bytes: int = 1_000_000
    max_requests: int = 512
    timeout_seconds: float = 30.0


class Call(NamedTuple):
    """Who asks, and since when (`time.perf_counter`); `headers` are those of the request."""

    request_id: str
    arm: str
    generation: str | None
    headers: Headers
    at: float

    @classmethod
    def of(cls, headers: Headers, at: float = 0.0) -> Call:
        """Read them; what is not a plain token of at most 128 characters is replaced."""
        return cls(
            _token(headers.get(b"x-request-id")) or uuid7(),
            arm_of(headers),
            _token(headers.get(b"x-mainline-generation")),
            headers,
            at,
        )


Handler = Callable[[bytes, Call], Awaitable[bytes]]


@dataclass(frozen=True)
class Route:
    """One path: its method (GET answers HEAD too), its handler and what that gives.

    A handler takes the body (empty for GET) and the call, gives the body of a 200, and raises
    Refused for any other status. `group` names the keys that may ask (predict, feedback,
    metrics); None is open to all.
    """

    method: str
    handle: Handler
    kind: str = JSON
    group: str | None = None


# Raises Refused (401, 403) for a call that may not use the route.
Guard = Callable[[Route, Call], None]


def arm_of(headers: Headers) -> str:
    """stable, canary or shadow. Envoy marks a mirrored request by its host's name alone."""
    host = headers.get(b"host", b"")
    if host.endswith(b"-shadow") or host.rsplit(b":", 1)[0].endswith(b"-shadow"):
        return "shadow"
    asked = headers.get(b"x-mainline-arm", b"").decode("latin-1")
    return asked if asked in ARMS else "stable"


def _token(value: bytes | None) -> str | None:
    text = (value or b"").decode("latin-1")
    return text if TOKEN.fullmatch(text) else None


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes | None:
    """The body of a JSON request; None when the caller hung up.

    Raises Refused: 415 for another content type or an encoded body, 413 beyond `limit` bytes,
    whatever its Content-Length claimed.
    """
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if kind != JSON.encode():
        raise Refused(
            415, "content-type", "Unsupported content type", "Send Content-Type: application/json"
        )
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise Refused(415, "content-encoding", "Unsupported encoding", "Send a plain body")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and (len(length) > 15 or int(length) > limit):
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks) if len(chunks) > 1 else chunk


def _too_large(limit: int) -> Refused:
    return Refused(
        413, "too-large", "The body is too large", f"{limit} bytes are allowed in one request"
    )
