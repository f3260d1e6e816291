"""The records of the prediction log: their fields, their lines, and how a request becomes some.

Imported by the writer, which starts without site-packages: the standard library only.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from mainline.serve.ids import hash_entity, timestamp

VERSION = 1
# The columns of the log, in its order; `features` holds one value a feature column.
FIELDS = (
    "v", "prediction_id", "request_id", "row", "ts", "model", "digest", "arm", "generation",
    "entity", "features", "scores", "decision", "threshold", "ms", "status",
)  # fmt: skip
READ = tuple(f for f in FIELDS if f not in ("v", "features"))
ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False)
Record = dict[str, Any]
# (request id, arm, generation, Unix time in s, ms, prediction ids, rows, answers), where a row is
# the checked one and an answer (scores, decision): what costs a request least to hand over.
Request = tuple[
    str, str, str | None, float, float,
    Sequence[str], Sequence[Mapping[str, Any]], Sequence[tuple[Sequence[float], Any]],
]  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """What all records of one service have in common, and which fields of a row they take.

    `features` are the columns that are logged; `row_id` and `entity` name the columns with the
    caller's own id and the entity, which is hashed with `entity_key` or left out.
    """

    model: str
    digest: str
    threshold: float | None = None
    features: tuple[str, ...] = ()
    row_id: str | None = None
    entity: str | None = None
    entity_key: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For the way to the writer; `Shape(**document)` is this one again."""
        return asdict(self)

    def records(self, request: Request) -> list[Record]:
        """The records of one answered request, a row each, keys as in FIELDS."""
        request_id, arm, generation, at, ms, ids, rows, answers = request
        ts = timestamp(datetime.fromtimestamp(at, UTC))
        ms = round(ms, 3)
        return [
            {
                "v": VERSION, "prediction_id": prediction, "request_id": request_id,
                "row": _text(row.get(self.row_id or "")), "ts": ts, "model": self.model,
                "digest": self.digest, "arm": arm, "generation": generation,
                "entity": hash_entity(row.get(self.entity or ""), self.entity_key),
                "features": {name: row.get(name) for name in self.features},
                "scores": scores, "decision": decision, "threshold": self.threshold, "ms": ms,
                "status": 200,
            }
            for prediction, row, (scores, decision) in zip(ids, rows, answers, strict=True)
        ]  # fmt: skip


def day_of(record: Mapping[str, Any]) -> str:
    """The UTC day of a record, YYYY-MM-DD; raises ValueError where its `ts` is none."""
    return _day(str(record["ts"])[:10])


@functools.lru_cache(maxsize=64)
def _day(text: str) -> str:
    # It names a folder, so it must be nothing else.
    return datetime.strptime(text, "%Y-%m-%d").strftime("%Y-%m-%d")


def encode(record: Mapping[str, Any]) -> bytes:
    """One line of the log, ASCII; half a character (a lone surrogate) becomes U+FFFD.

    Raises ValueError for NaN or infinity, which JSON does not have.
    """
    line = ENCODER.encode(record)
    if "\\ud" in line:  # beyond the 65,536 first characters, or half of such a one
        line = ENCODER.encode(_whole(record))
    return line.encode() + b"\n"


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_whole(k): _whole(v) for k, v in value.items()}
    return [_whole(v) for v in value] if isinstance(value, list) else value


def parse(content: bytes) -> tuple[list[Record], int]:
    """The records in the lines of a file, and how many lines could not be read (a torn one)."""
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    try:
        # One call for the whole file is several times faster than one a line.
        found = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        found = [_line(line) for line in lines]
    if len(found) != len(lines):  # a torn line that its neighbours happen to complete
        found = [_line(line) for line in lines]
    records = [r for r in found if isinstance(r, dict)]
    return records, len(lines) - len(records)


def _line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _text(value: object) -> str | None:
    return None if value is None else str(value)
