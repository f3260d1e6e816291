"""The HTTP service: an ASGI application around one model bundle."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from starlette.types import Message, Receive, Scope, Send

from mainline.data.schema import Schema
from mainline.files import short
from mainline.serve import log as prediction_log
from mainline.serve.batching import Answer, Batcher, Overloaded
from mainline.serve.inputs import Inputs, Refused, Row
from mainline.serve.metrics import ARMS, Metrics

SECONDS = 30.0  # no request is worked on for longer
RETRY_AFTER = "1"
TOKEN = re.compile(r"[\x21-\x7e]{1,128}")
JSON = "application/json"
logger = logging.getLogger("mainline.serve")


class Model(Protocol):
    """What is served: `mainline.serve.scoring.Scorer`."""

    name: str
    digest: str
    threshold: float | None
    golden: list[dict[str, Any]]

    def score(self, rows: Sequence[Row]) -> list[Answer]:
        """Scores and decision of each row."""


@dataclass(frozen=True)
class Limits:
    """What one request may ask for."""

    max_rows: int = 1000
    max_body_bytes: int = 1_000_000


@dataclass(frozen=True)
class Call:
    """Who asks: the headers of one request that the log keeps."""

    request_id: str
    arm: str
    generation: str | None

    @classmethod
    def of(cls, headers: Mapping[bytes, bytes]) -> Call:
        """Read them; what is not a plain token of at most 128 characters is replaced."""
        return cls(
            _token(headers.get(b"x-request-id")) or prediction_log.uuid7(),
            arm_of(headers),
            _token(headers.get(b"x-mainline-generation")),
        )


def arm_of(headers: Mapping[bytes, bytes]) -> str:
    """stable, canary or shadow. Envoy marks a mirrored request by its host's name alone."""
    host = headers.get(b"host", b"").rsplit(b":", 1)[0]
    if host.endswith(b"-shadow") or headers.get(b"host", b"").endswith(b"-shadow"):
        return "shadow"
    asked = headers.get(b"x-mainline-arm", b"").decode("latin-1")
    return asked if asked in ARMS else "stable"


def _token(value: bytes | None) -> str | None:
    text = (value or b"").decode("latin-1")
    return text if TOKEN.fullmatch(text) else None


class Service:
    """POST /predict; GET /healthz, /readyz, /metrics, /version. An ASGI application.

    It is plain ASGI, without a framework's routing, because that cost as much as the model.
    """

    def __init__(
        self,
        model: Model,
        schema: Schema,
        *,
        version: str,
        limits: Limits | None = None,
        log: prediction_log.PredictionLog | None = None,
        entity_key: str | None = None,
    ) -> None:
        self.model = model
        self.schema = schema
        self.version = version
        self.limits = limits or Limits()
        self.log = log or prediction_log.PredictionLog(None)
        self.entity_key = entity_key
        self.inputs = Inputs(schema, self.limits.max_rows)
        self.metrics = Metrics(model.name, version, model.digest)
        self.batcher = Batcher(self._score, max_rows=self.limits.max_rows)
        self._ready: tuple[float, str | None] = (0.0, "not asked yet")
        self._about = {"model": model.name, "version": version, "digest": model.digest}
        self._headers = [(b"x-model-version", short(model.digest).encode())]
        self._routes: dict[str, tuple[str, Callable[..., Any]]] = {
            "/predict": ("POST", self._predict),
            "/healthz": ("GET", self._healthz),
            "/readyz": ("GET", self._readyz),
            "/metrics": ("GET", self._metrics),
            "/version": ("GET", self._version),
        }

    def close(self) -> None:
        """Score what is queued and write the log to its end."""
        self.batcher.close()
        self.log.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a fault of ours is a 500 without its cause."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        call = Call.of(headers)
        answer = await self._answer(scope, headers, receive, call, started)
        if answer is None:  # the caller hung up
            return
        status, body, kind, more = answer
        self.metrics.answered(scope["path"], status, call.arm)
        await send(self._start(status, len(body), kind, call, more))
        await send({"type": "http.response.body", "body": b"" if _head(scope) else body})

    def _start(self, status: int, size: int, kind: str, call: Call, more: Any) -> Message:
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(size).encode()),
            (b"x-request-id", call.request_id.encode()),
            *self._headers,
            *more,
        ]
        return {"type": "http.response.start", "status": status, "headers": headers}

    async def _answer(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, call: Call, at: float
    ) -> tuple[int, bytes, str, Sequence[tuple[bytes, bytes]]] | None:
        more: Sequence[tuple[bytes, bytes]] = ()
        try:
            if scope["path"] not in self._routes:
                raise Refused(404, "not-found", "No such path", "Ask for POST /predict")
            method, handle = self._routes[scope["path"]]
            if scope["method"] != method and not (method == "GET" and _head(scope)):
                more = [(b"allow", method.encode())]
                raise Refused(405, "method", "Method not allowed", f"Use {method}")
            if method == "GET":
                body, kind = await handle()
                return 200, body, kind, more
            content = await read_body(headers, receive, self.limits.max_body_bytes)
            if content is None:
                return None
            return 200, await handle(content, call, at), JSON, more
        except Refused as refused:
            problem = refused
        except Overloaded:
            more = [(b"retry-after", RETRY_AFTER.encode())]
            problem = Refused(503, "overloaded", "Too much is waiting", "Try again in a second")
        except TimeoutError:
            more = [(b"retry-after", RETRY_AFTER.encode())]
            problem = Refused(503, "timeout", "It took too long", f"No answer in {SECONDS:g} s")
        except Exception:
            logger.exception("request failed")
            problem = Refused(500, "internal", "The service failed", "Its log says why")
        body = json.dumps(problem.document()).encode()
        return problem.http, body, "application/problem+json", more

    async def _predict(self, content: bytes, call: Call, started: float) -> bytes:
        rows = self.inputs.parse(content)
        async with asyncio.timeout(SECONDS):
            answers = await self.batcher.submit(rows)
        ids = [prediction_log.uuid7() for _ in rows]
        predictions = [
            {"prediction_id": i, "scores": scores, "decision": decision}
            for i, (scores, decision) in zip(ids, answers, strict=True)
        ]
        body = json.dumps({"predictions": predictions, **self._about}).encode()
        seconds = time.perf_counter() - started
        self.metrics.seconds.labels(call.arm).observe(seconds)
        self.metrics.rows.labels(call.arm).inc(len(rows))
        if self.log.address is not None:
            self.log.write(self._records(rows, predictions, call, seconds * 1000))
        return body

    def _records(
        self, rows: Sequence[Row], predictions: Sequence[Row], call: Call, ms: float
    ) -> list[Row]:
        """The log's records of one request, keys as in `mainline.serve.log.FIELDS`."""
        shared = {
            "model": self.model.name, "digest": self.model.digest, "arm": call.arm,
            "generation": call.generation, "threshold": self.model.threshold,
            "ms": round(ms, 3), "status": 200,
        }  # fmt: skip
        ts = prediction_log.timestamp(datetime.now(UTC))
        own_id, entity = self.schema.row_id or "", self.schema.entity or ""
        return [
            {
                "v": prediction_log.VERSION,
                "request_id": call.request_id,
                "row": _id(row.get(own_id)),
                "ts": ts,
                **shared,
                "entity": prediction_log.hash_entity(row.get(entity), self.entity_key),
                "features": {name: row.get(name) for name in self.inputs.features},
                **prediction,
            }
            for row, prediction in zip(rows, predictions, strict=True)
        ]

    def _score(self, rows: Sequence[Row]) -> list[Answer]:
        self.metrics.batch.observe(len(rows))
        return self.model.score(rows)

    async def _healthz(self) -> tuple[bytes, str]:
        return b'{"status": "ok"}', JSON

    async def _readyz(self) -> tuple[bytes, str]:
        """Ready when the golden rows of the bundle have their recorded scores."""
        asked, problem = self._ready
        if time.monotonic() - asked > 1 or problem is not None:
            problem = await self._golden()
            self._ready = (time.monotonic(), problem)
        if problem is not None:
            raise Refused(503, "not-ready", "Not ready", problem)
        return b'{"status": "ready"}', JSON

    async def _golden(self) -> str | None:
        golden = self.model.golden
        if not golden:
            return "The model has no golden rows"
        try:
            async with asyncio.timeout(SECONDS):
                answers = await self.batcher.submit([g["row"] for g in golden])
        except Exception:
            logger.exception("the golden rows could not be predicted")
            return "The golden rows could not be predicted"
        for wanted, (scores, _) in zip(golden, answers, strict=True):
            if not _close(scores, wanted["scores"]):
                return "The golden rows have other scores than in training"
        return None

    async def _metrics(self) -> tuple[bytes, str]:
        return self.metrics.render(self._gauges)

    def _gauges(self, metrics: Metrics) -> None:
        metrics.waiting.set(self.batcher.waiting)
        metrics.logged.labels("written").set(self.log.written)
        metrics.logged.labels("dropped").set(self.log.dropped)

    async def _version(self) -> tuple[bytes, str]:
        about = {"name": self.model.name, "version": self.version, "digest": self.model.digest}
        return json.dumps(about).encode(), JSON

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await asyncio.to_thread(self.close)
                await send({"type": "lifespan.shutdown.complete"})
                return


def _id(value: Any) -> str | None:
    return None if value is None else str(value)


def _head(scope: Scope) -> bool:
    return scope["method"] == "HEAD"


def _close(scores: Sequence[float], wanted: Sequence[float]) -> bool:
    # Another processor may round the last bits otherwise; another model is further away.
    pairs = zip(scores, wanted, strict=True)
    return all(abs(a - b) <= 1e-9 * max(1.0, abs(b)) for a, b in pairs)


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes | None:
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
    large = Refused(
        413, "too-large", "The body is too large", f"{limit} bytes are allowed in one request"
    )
    if length.isdigit() and int(length) > limit:
        raise large
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise large
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)
