"""POST /predict: check the rows, score them, answer, count, hand over to the log."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from mainline.serve.batching import Answer, Batcher
from mainline.serve.inputs import Inputs, Row
from mainline.serve.log import VERSION, hash_entity, timestamp, uuid7
from mainline.serve.metrics import Metrics
from mainline.serve.web import Call


class Model(Protocol):
    """What is served: `mainline.serve.scoring.Scorer`."""

    name: str
    digest: str
    threshold: float | None
    golden: list[dict[str, Any]]

    def score(self, rows: Sequence[Row]) -> list[Answer]:
        """Scores and decision of each row."""


class Log(Protocol):
    """Where records go; `mainline.serve.log.PredictionLog`."""

    address: str | None
    written: int
    dropped: int

    def write(self, records: Sequence[Row]) -> bool:
        """Hand over records without ever waiting; False when they were dropped."""

    def close(self) -> None:
        """Write to the end."""


class Predict:
    """The handler of /predict."""

    def __init__(
        self, model: Model, version: str, inputs: Inputs, batcher: Batcher, metrics: Metrics,
        log: Log, entity_key: str | None,
    ) -> None:  # fmt: skip
        self.model = model
        self._inputs = inputs
        self._batcher = batcher
        self._metrics = metrics
        self._log = log
        self._entity_key = entity_key
        self._about = {"model": model.name, "version": version, "digest": model.digest}

    async def __call__(self, content: bytes, call: Call) -> bytes:
        """The answer to one request; raises Refused, Overloaded or what the features raise."""
        rows = self._inputs.parse(content)
        answers = await self._batcher.submit(rows)
        ids = [uuid7() for _ in rows]
        predictions = [
            {"prediction_id": i, "scores": scores, "decision": decision}
            for i, (scores, decision) in zip(ids, answers, strict=True)
        ]
        body = json.dumps({"predictions": predictions, **self._about}).encode()
        seconds = time.perf_counter() - call.at
        self._metrics.seconds.labels(call.arm).observe(seconds)
        self._metrics.rows.labels(call.arm).inc(len(rows))
        if self._log.address is not None:
            self._log.write(self._records(rows, predictions, call, seconds * 1000))
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
        ts = timestamp(datetime.now(UTC))
        own_id, entity = self._inputs.schema.row_id or "", self._inputs.schema.entity or ""
        return [
            {
                "v": VERSION,
                "request_id": call.request_id,
                "row": _id(row.get(own_id)),
                "ts": ts,
                **shared,
                "entity": hash_entity(row.get(entity), self._entity_key),
                "features": {name: row.get(name) for name in self._inputs.features},
                **prediction,
            }
            for row, prediction in zip(rows, predictions, strict=True)
        ]


def _id(value: Any) -> str | None:
    return None if value is None else str(value)
