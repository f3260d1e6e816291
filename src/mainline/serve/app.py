"""The HTTP service: an ASGI application around one model bundle."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence

from starlette.types import Message, Receive, Scope, Send

from mainline.data.schema import Schema
from mainline.files import short
from mainline.serve.batching import Answer, Batcher, Overloaded
from mainline.serve.inputs import Inputs, Refused, Row
from mainline.serve.log import PredictionLog
from mainline.serve.metrics import Metrics
from mainline.serve.predict import Model, Predict
from mainline.serve.ready import Ready
from mainline.serve.web import Call, Guard, Limits, Route, read_body

RETRY = ((b"retry-after", b"1"),)
PROBLEM = "application/problem+json"
logger = logging.getLogger("mainline.serve")


class Service:
    """POST /predict; GET /healthz, /readyz, /metrics, /version; what `add` brings besides.

    It is plain ASGI, without a framework's routing, because that cost as much as the model.
    `guard`, where it is set, says who may use a route.
    """

    def __init__(
        self,
        model: Model,
        schema: Schema,
        *,
        version: str,
        limits: Limits | None = None,
        log: PredictionLog | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.model = model
        self.schema = schema
        self.version = version
        self.limits = limits or Limits()
        self.log = log or PredictionLog(None)
        self.guard = guard
        self.active = 0  # requests with a body that are being answered
        self.counting: list[Callable[[Metrics], None]] = [self._count]
        self.closing: list[Callable[[], None]] = []  # what to end with the service
        self.inputs = Inputs(schema, self.limits.max_rows)
        self.metrics = Metrics(model.name, version, model.digest)
        self.batcher = Batcher(
            self._score, max_rows=self.limits.max_rows, max_requests=self.limits.max_requests
        )
        self._headers = [(b"x-model-version", short(model.digest).encode())]
        predict = Predict(model, version, self.inputs, self.batcher, self.metrics, self.log)
        self.routes: dict[str, Route] = {
            "/predict": Route("POST", predict, group="predict"),
            "/healthz": Route("GET", self._healthz),
            "/readyz": Route("GET", Ready(model.golden, self.batcher)),
            "/metrics": Route("GET", self._metrics, self.metrics.kind, group="metrics"),
            "/version": Route("GET", self._version),
        }

    def add(self, path: str, route: Route) -> None:
        """One more path; those that are there cannot be replaced."""
        if path in self.routes:
            raise ValueError(f"{path} is taken")
        self.routes[path] = route

    def close(self) -> None:
        """Score what is queued and write the log to its end."""
        for close in self.closing:
            close()
        self.batcher.close()
        self.log.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a fault of ours is a 500 without its cause."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        call = Call.of(dict(scope["headers"]), time.perf_counter())
        path: str = scope["path"]
        route = self.routes.get(path)
        try:
            body = await self._answer(scope, receive, route, call)
            if body is None or route is None:  # the caller hung up
                return
            start = self._start(200, len(body), route.kind, call, ())
        except Refused as problem:
            body = json.dumps(problem.document()).encode()
            start = self._start(problem.http, len(body), PROBLEM, call, problem.headers)
        self.metrics.answered(path if route else "other", start["status"], call.arm)
        await send(start)
        content = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": content})

    def _start(
        self, status: int, size: int, kind: str, call: Call, more: Sequence[tuple[bytes, bytes]]
    ) -> Message:
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(size).encode()),
            (b"x-request-id", call.request_id.encode()),
            *self._headers,
            *more,
        ]
        return {"type": "http.response.start", "status": status, "headers": headers}

    async def _answer(
        self, scope: Scope, receive: Receive, route: Route | None, call: Call
    ) -> bytes | None:
        """The body of a 200; None when the caller hung up; Refused for every other status."""
        if route is None:
            raise Refused(404, "not-found", "No such path", "Ask for POST /predict")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method != route.method:
            allow = ((b"allow", route.method.encode()),)
            raise Refused(405, "method", "Method not allowed", f"Use {route.method}", headers=allow)
        if self.guard is not None:
            self.guard(route, call)
        content: bytes | None = b"" if method == "GET" else None
        try:
            async with asyncio.timeout(self.limits.timeout_seconds):
                if method == "GET":
                    return await route.handle(b"", call)
                if self.active >= self.limits.max_requests:
                    raise Overloaded
                self.active += 1
                try:
                    content = await read_body(call.headers, receive, self.limits.max_body_bytes)
                    return None if content is None else await route.handle(content, call)
                finally:
                    self.active -= 1
        except Refused:
            raise
        except Overloaded:
            raise Refused(
                503, "overloaded", "Too much is waiting", "Try again in a second", headers=RETRY
            ) from None
        except TimeoutError:
            raise self._late(content is None) from None
        except Exception:
            logger.exception("request failed")
            raise Refused(500, "internal", "The service failed", "Its log says why") from None

    def _late(self, reading: bool) -> Refused:
        limit = f"{self.limits.timeout_seconds:g} s"
        if reading:  # what is still to come would be taken for the next request
            close = ((b"connection", b"close"),)
            return Refused(
                408, "slow-body", "The body came too slowly", f"It did not end in {limit}",
                headers=close,
            )  # fmt: skip
        return Refused(503, "timeout", "It took too long", f"No answer in {limit}", headers=RETRY)

    def _score(self, rows: Sequence[Row]) -> list[Answer]:
        self.metrics.batch.observe(len(rows))
        return self.model.score(rows)

    async def _healthz(self, content: bytes, call: Call) -> bytes:
        return b'{"status": "ok"}'

    async def _metrics(self, content: bytes, call: Call) -> bytes:
        return self.metrics.render(self.refresh)

    def refresh(self, metrics: Metrics) -> None:
        """Tell the metrics what is counted elsewhere."""
        for count in self.counting:
            count(metrics)

    def _count(self, metrics: Metrics) -> None:
        metrics.waiting.set(self.batcher.waiting)
        kinds = ((metrics.logged, metrics.log_waiting), (metrics.labels, metrics.labels_waiting))
        for labels, (counter, waiting) in enumerate(kinds):
            for outcome, n in self.log.counts(labels=bool(labels)).items():
                if outcome == "waiting":
                    waiting.set(n)
                else:
                    metrics.reach(counter, (outcome,), n)

    async def _version(self, content: bytes, call: Call) -> bytes:
        about = {"name": self.model.name, "version": self.version, "digest": self.model.digest}
        return json.dumps(about).encode()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await asyncio.to_thread(self.close)
                await send({"type": "lifespan.shutdown.complete"})
                return
