"""Compacted days: records as a table, a column a field and one a feature, and back again."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mainline.serve.records import Record

if TYPE_CHECKING:
    import pyarrow as pa

PARTS = "part-*.parquet"
TEXT = ".json"  # ends the name of a column whose values are of many types, kept as JSON


def read_part(content: bytes) -> list[Record]:
    """The records of a compacted file."""
    import pyarrow.parquet as pq

    return from_table(pq.read_table(io.BytesIO(content)))


def to_table(records: Sequence[Record]) -> pa.Table:
    """A column a field and one a feature, of `records` that all have the same fields and features.

    Where the values of a column are not of one type they are kept as JSON, in a column whose
    name ends with `.json`. `from_table` gives the same records again.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name, example in records[0].items():
        if name == "features" and isinstance(example, dict) and example:
            for feature in example:
                _column(columns, f"features.{feature}", [r["features"][feature] for r in records])
        else:
            _column(columns, name, [r[name] for r in records])
    return pa.table(columns)


def from_table(table: pa.Table) -> list[Record]:
    """The records of a table that `to_table` made."""
    names, columns = [], []
    for name in table.column_names:
        values = table[name].to_pylist()
        if name.endswith(TEXT):
            values = [json.loads(v) for v in values]
        names.append(name.removesuffix(TEXT))
        columns.append(values)
    records = []
    for values in zip(*columns, strict=True):
        record: Record = {}
        for name, value in zip(names, values, strict=True):
            if name.startswith("features."):
                record.setdefault("features", {})[name.removeprefix("features.")] = value
            else:
                record[name] = value
        records.append(record)
    return records


def _column(columns: dict[str, Any], name: str, values: list[Any]) -> None:
    import pyarrow as pa

    made = None
    if name != "features" and not name.endswith(TEXT):
        with contextlib.suppress(pa.ArrowException, OverflowError):
            made = pa.array(values)
            made = made if made.to_pylist() == values else None
    if made is None:
        name += TEXT
        made = pa.array([as_json(v) for v in values], pa.string())
    columns[name] = made


def as_json(value: Any) -> str:
    """Compact JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
