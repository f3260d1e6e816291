"""POST /predict: check the rows, score them, answer, count, hand over to the log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from pydantic_core import to_json

from mainline.serve.batching import Answer, Batcher
from mainline.serve.ids import uuid7
from mainline.serve.inputs import Inputs, Row
from mainline.serve.log import PredictionLog
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


class Predict:
    """The handler of /predict."""

    def __init__(
        self, model: Model, version: str, inputs: Inputs, batcher: Batcher, metrics: Metrics,
        log: PredictionLog,
    ) -> None:  # fmt: skip
        self.model = model
        self._inputs = inputs
        self._batcher = batcher
        self._metrics = metrics
        self._log = log
        about = {"model": model.name, "version": version, "digest": model.digest}
        self._end = b"," + to_json(about)[1:]  # the same in each answer

    async def __call__(self, content: bytes, call: Call) -> bytes:
        """The answer to one request; raises Refused, Overloaded or what the features raise."""
        rows = self._inputs.parse(content)
        answers = await self._batcher.submit(rows)
        ids = [uuid7() for _ in rows]
        predictions = [
            {"prediction_id": i, "scores": scores, "decision": decision}
            for i, (scores, decision) in zip(ids, answers, strict=True)
        ]
        body = b'{"predictions":' + to_json(predictions) + self._end
        seconds = time.perf_counter() - call.at
        self._metrics.predicted(call.arm, len(rows), seconds, self._inputs.beyond_soft(rows))
        self._log.answered(
            (call.request_id, call.arm, call.generation, time.time(), seconds * 1000, ids, rows,
             answers)
        )  # fmt: skip
        return body
