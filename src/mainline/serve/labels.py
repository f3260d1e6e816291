"""Labels as a caller may send them: checked against the model's task before any is taken."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_core import from_json

from mainline.serve.ids import timestamp
from mainline.serve.inputs import EXACT, MAX_ERRORS, MAX_ID, Refused

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
SLACK = timedelta(minutes=5)  # by which a caller's clock may be fast
FIELDS = ("prediction_id", "label", "known_at", "source")
SOURCE = "feedback"


@dataclass(frozen=True)
class Rules:
    """What a label of this model may be; `classes` in the order of the model, None of a number.

    A label that becomes known more than `maturity_days` after its prediction counts as late.
    """

    classes: tuple[str, ...] | None
    maturity_days: float = 0.0
    max_labels: int = 1000


@dataclass(frozen=True)
class Label:
    """One checked label. `said` is whether the caller told when it became known."""

    prediction_id: str
    label: Any
    known_at: datetime
    source: str
    said: bool

    @property
    def made(self) -> datetime:
        """When the prediction was made: a UUID of version 7 begins with that time."""
        return made(self.prediction_id)

    def record(self) -> dict[str, Any]:
        """The line for the monitor."""
        return {"prediction_id": self.prediction_id, "label": self.label,
                "known_at": timestamp(self.known_at), "source": self.source}  # fmt: skip


def made(prediction_id: str) -> datetime:
    """The time in an id of version 7 (RFC 9562), UTC."""
    return datetime.fromtimestamp(int(prediction_id[:8] + prediction_id[9:13], 16) / 1000, UTC)


def parse(body: bytes, rules: Rules, now: datetime) -> list[Label]:
    """The labels of `{"labels": [label, ...]}` or of one bare label.

    Raises Refused with 400 when the body is no such JSON, 413 beyond the limit, 422 where a label
    breaks a rule (at most 20 faults are listed).
    """
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refused(400, "not-json", "The body is not JSON", str(error)[:200]) from error
    items = document.get("labels", [document]) if isinstance(document, dict) else None
    if not isinstance(items, list) or not items or ("labels" in document and len(document) > 1):
        raise Refused(
            400, "not-labels", "The body holds no labels",
            'Send {"labels": [{"prediction_id": "...", "label": ...}]} or one of these labels',
        )  # fmt: skip
    if len(items) > rules.max_labels:
        raise Refused(
            413, "too-many-labels", "Too many labels",
            f"{len(items)} labels in one request, {rules.max_labels} are allowed",
        )  # fmt: skip
    found = [check(item, rules, now) for item in items]
    faults = [
        {"row": row, "field": field, "reason": reason}
        for row, item in enumerate(found)
        if not isinstance(item, Label)
        for field, reason in item.items()
    ]
    if faults:
        first, more = faults[0], len(faults) - MAX_ERRORS
        raise Refused(
            422, "invalid-labels", "Labels break the rules",
            f"label {first['row']}, {first['field'] or 'the label'}: {first['reason']}"
            + f", {more} more are not listed" * (more > 0),
            faults[:MAX_ERRORS],
        )  # fmt: skip
    return [label for label in found if isinstance(label, Label)]


def check(item: Any, rules: Rules, now: datetime) -> Label | dict[str | None, str]:
    """The label in `item`, or the fault of each field."""
    if not isinstance(item, dict):
        return {None: "must be an object with prediction_id and label"}
    faults: dict[str | None, str] = {
        str(name)[:MAX_ID]: "is not known" for name in item if name not in FIELDS
    }
    name, source = item.get("prediction_id"), item.get("source")
    name = name.lower() if isinstance(name, str) else ""
    if not UUID7.fullmatch(name):
        faults["prediction_id"] = "must be the prediction_id of an answer"
    elif _ahead(name, now):
        faults["prediction_id"] = "is of a prediction that was not made yet"
    value, fault = label_of(item.get("label"), rules.classes)
    if fault:
        faults["label"] = fault
    known, fault = _time(item.get("known_at"), now)
    if fault:
        faults["known_at"] = fault
    if source is not None and not (isinstance(source, str) and len(source) <= MAX_ID):
        faults["source"] = f"must be a text of at most {MAX_ID} characters"
    if faults:
        return faults
    return Label(name, value, known, source or SOURCE, item.get("known_at") is not None)


def label_of(value: Any, classes: Iterable[str] | None) -> tuple[Any, str | None]:
    """The label as it is written, and what is wrong with it: a class by its name, or a number.

    A class whose name is a whole number is written as that number, as it stands in a table.
    """
    if classes is None:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        good = good and abs(value) <= (EXACT if isinstance(value, int) else float("inf"))
        return value, None if good else "must be a finite number"
    text = str(value).lower() if isinstance(value, bool) else value
    if isinstance(text, int | float) and abs(text) <= EXACT:
        text = str(int(text)) if float(text).is_integer() else str(text)
    known = list(classes)
    if not isinstance(text, str) or text not in known:
        return None, f"must be one of {', '.join(known)}"
    return int(text) if re.fullmatch(r"-?(0|[1-9][0-9]{0,14})", text) else text, None


def _time(value: Any, now: datetime) -> tuple[datetime, str | None]:
    """When a label became known: as it says (a naive time is UTC), now where it says nothing."""
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as it will be written
    if value is None:
        return now, None
    wrong = "must be an ISO 8601 time, such as 2024-09-01T12:00:00Z"
    if not isinstance(value, str) or len(value) > 40:
        return now, wrong
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return now, wrong
    if moment.year < 1970:
        return now, "must not be before 1970"
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return moment, "must not be in the future" if moment > now + SLACK else None


def _ahead(name: str, now: datetime) -> bool:
    try:
        return made(name) > now + SLACK
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return True
