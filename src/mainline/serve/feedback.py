"""POST /feedback: labels that came later, by prediction id, written for the monitor."""

from __future__ import annotations

import itertools
import json
import logging
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mainline.serve.app import Service
from mainline.serve.inputs import Refused
from mainline.serve.labels import Label, Rules, parse
from mainline.serve.log import PredictionLog
from mainline.serve.metrics import Metrics
from mainline.serve.web import Call, Route

REMEMBERED = 20_000  # predictions whose labels are remembered, to know what comes twice
HISTORY = 4  # labels of one prediction
OUTCOMES = ("accepted", "contradiction", "duplicate")
COMBINATIONS = tuple(itertools.product(OUTCOMES, ("known", "unknown"), ("in_time", "late")))
logger = logging.getLogger("mainline.serve")
RETRY = ((b"retry-after", b"1"),)


@dataclass(frozen=True)
class Judged:
    """A label, and what it is beside those that came before it."""

    label: Label
    outcome: str  # accepted, contradiction: written; duplicate: not written again
    known: bool  # whether this worker made the prediction not long ago
    late: bool


class Feedback:
    """The handler of /feedback.

    The answer counts the labels: `accepted` were written, `duplicates` were here already;
    `contradictions` (accepted: the last `known_at` wins), `late` and `unverified` (accepted,
    of a prediction that this worker does not remember) tell more of them. `seen` counts all of
    them since the start, by (outcome, id, time), for the metrics.
    """

    def __init__(self, log: PredictionLog, rules: Rules) -> None:
        self.rules = rules
        self.seen: Counter[tuple[str, str, str]] = Counter()
        self._log = log
        self._before: OrderedDict[str, tuple[Label, ...]] = OrderedDict()

    async def __call__(self, content: bytes, call: Call) -> bytes:
        """Take the labels of one request, all of them or none. Raises Refused."""
        judged = self._judge(parse(content, self.rules, datetime.now(UTC)))
        fresh = [j.label.record() for j in judged if j.outcome != "duplicate"]
        if fresh and not self._log.label(fresh):
            raise Refused(
                503, "labels-wait", "Labels cannot be written now", "Send them again", headers=RETRY
            )
        for one in judged:
            self._remember(one.label)
            known, late = "known" if one.known else "unknown", "late" if one.late else "in_time"
            self.seen[one.outcome, known, late] += 1
        return json.dumps({
            "accepted": len(fresh),
            "duplicates": len(judged) - len(fresh),
            "contradictions": sum(j.outcome == "contradiction" for j in judged),
            "unverified": sum(not j.known for j in judged),
            "late": sum(j.late for j in judged),
        }).encode()  # fmt: skip

    def count(self, metrics: Metrics) -> None:
        """Tell the metrics."""
        for kind in COMBINATIONS:
            metrics.reach(metrics.feedback, kind, self.seen[kind])

    def _judge(self, labels: Sequence[Label]) -> list[Judged]:
        """Each label beside what is remembered and what stands before it in the request."""
        here: dict[str, tuple[Label, ...]] = {}
        judged = []
        for label in labels:
            name = label.prediction_id
            earlier = here.get(name) or self._before.get(name, ())
            late = label.known_at - label.made > timedelta(days=self.rules.maturity_days)
            known = name in self._log.recent or bool(earlier)
            judged.append(Judged(label, compare(label, earlier), known, late))
            here[name] = (*earlier, label)[-HISTORY:]
        return judged

    def _remember(self, label: Label) -> None:
        name = label.prediction_id
        self._before[name] = (*self._before.get(name, ()), label)[-HISTORY:]
        self._before.move_to_end(name)
        if len(self._before) > REMEMBERED:
            self._before.popitem(last=False)


def compare(label: Label, earlier: Sequence[Label]) -> str:
    """accepted, duplicate (says nothing new) or contradiction (of the label that counted so far).

    Of `earlier` labels the one that became known last counts, of equal ones the last that came.
    """
    if not earlier:
        return "accepted"
    if label.said and any((e.label, e.known_at) == (label.label, label.known_at) for e in earlier):
        return "duplicate"
    counts = max(enumerate(earlier), key=lambda e: (e[1].known_at, e[0]))[1]
    if label.label != counts.label:
        return "contradiction"
    return "accepted" if label.said else "duplicate"


def add(service: Service, meta: Mapping[str, Any], maturity_days: float) -> None:
    """Give `service` /feedback, where its log has a place for labels; `meta` is model.json's.

    A place that is one file can be read by the monitor and not be added to: no feedback there.
    """
    place = service.log.labels
    if place is None:
        return
    if place.endswith((".parquet", ".jsonl")) or Path(place).is_file():
        logger.warning("no /feedback: the labels are one file, not a folder")
        return
    classes = None if meta["task"] == "regression" else tuple(meta["classes"])
    handler = Feedback(service.log, Rules(classes, maturity_days, service.limits.max_rows))
    service.add("/feedback", Route("POST", handler, group="feedback"))
    service.counting.append(handler.count)
