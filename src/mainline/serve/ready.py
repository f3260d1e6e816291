"""Ready or not: the golden rows of the bundle must score as they did in training."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from mainline.serve.batching import Batcher
from mainline.serve.inputs import Refused
from mainline.serve.web import Call

AGAIN = 1.0  # seconds for which a good answer holds
logger = logging.getLogger("mainline.serve")


class Ready:
    """GET /readyz: 200 when the golden rows have their recorded scores, else 503."""

    def __init__(self, golden: list[dict[str, Any]], batcher: Batcher) -> None:
        self._golden = golden
        self._batcher = batcher
        self._asked: tuple[float, str | None] = (0.0, "not asked yet")

    async def __call__(self, content: bytes, call: Call) -> bytes:
        """Ask the model at most once a second while it is ready."""
        asked, problem = self._asked
        if problem is not None or time.monotonic() - asked > AGAIN:
            problem = await self.problem()
            self._asked = (time.monotonic(), problem)
        if problem is not None:
            raise Refused(503, "not-ready", "Not ready", problem)
        return b'{"status": "ready"}'

    async def problem(self) -> str | None:
        """Why the model must not be asked; None when all is well."""
        if not self._golden:
            return "The model has no golden rows"
        try:
            answers = await self._batcher.submit([g["row"] for g in self._golden])
        except Exception:
            logger.exception("the golden rows could not be predicted")
            return "The golden rows could not be predicted"
        for wanted, (scores, _) in zip(self._golden, answers, strict=True):
            if not _close(scores, wanted["scores"]):
                return "The golden rows have other scores than in training"
        return None


def _close(scores: Sequence[float], wanted: Sequence[float]) -> bool:
    # Another processor may round the last bits otherwise; another model is further away.
    pairs = zip(scores, wanted, strict=True)
    return all(abs(a - b) <= 1e-9 * max(1.0, abs(b)) for a, b in pairs)
