"""The split into train, tune and test: a salted hash, so that new rows never reshuffle old ones."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from mainline.data.schema import ROW_ID, Schema
from mainline.data.table import as_text, identifying, row_ids
from mainline.errors import DataError
from mainline.files import digest_json
from mainline.settings import Settings, Split

PARTS = ("train", "tune", "test")


def bucket(salt: str, key: str) -> int:
    """`sha256(salt | key) mod 1000`: stable over machines and Python versions."""
    return int.from_bytes(hashlib.sha256(f"{salt}|{key}".encode()).digest(), "big") % 1000


def assign(frame: pd.DataFrame, settings: Settings, schema: Schema) -> pd.Series:
    """The part of each row: 'train', 'tune' or 'test'.

    Kinds: `entity` keeps all rows of one key together, `block` all rows of one stretch of time
    (for time series, where a hash of rows leaks), `row` hashes the row id, `time` gives the
    newest rows to test. Raises DataError where a part would be empty.
    """
    split = settings.split
    if split.kind == "time":
        parts = _by_time(frame, split, schema)
    else:
        keys = split_keys(frame, split, schema)
        buckets = {k: bucket(split.salt, k) for k in keys.unique()}
        numbers = keys.map(buckets).to_numpy()
        limit = round(1000 * split.test), round(1000 * (split.test + split.tune))
        parts = np.select([numbers < limit[0], numbers < limit[1]], ["test", "tune"], "train")
    found = pd.Series(parts, index=frame.index, dtype=object)
    for part in PARTS:
        if not (found == part).any():
            raise DataError(
                f"The split leaves no row for the part {part!r} ({len(frame)} rows in all)",
                "Add rows, or change split.kind, split.key or the shares in params.yaml",
            )
    return found


def split_keys(frame: pd.DataFrame, split: Split, schema: Schema) -> pd.Series:
    """The text that is hashed for each row. A missing key is a DataError."""
    if split.kind == "row":
        ids = row_ids(frame, schema)
        # Rows that are equal but for their label belong together, or a test row has been seen.
        return ids if schema.row_id else ids.str.rpartition("-")[0]
    name = split.key or (schema.entity if split.kind == "entity" else schema.time) or ROW_ID
    if frame[name].isna().any():
        raise DataError(
            f"The split column {name!r} is missing in {int(frame[name].isna().sum())} rows",
            "Fill it or drop these rows",
        )
    if split.kind == "block":
        length = pd.Timedelta(split.block)
        numbers = (frame[name] - pd.Timestamp(0)) // length
        return numbers.astype("int64").astype(str)
    return as_text(frame[name])


def dependent(frame: pd.DataFrame, split: Split, schema: Schema) -> pd.Series | None:
    """The text that rows which depend on one another share: what the split keeps together.

    An entity where the split does not keep it together; None where every row stands alone.
    """
    if split.kind in ("entity", "block"):
        return split_keys(frame, split, schema)
    if schema.entity and frame[schema.entity].notna().all():
        return as_text(frame[schema.entity])
    return None


def _by_time(frame: pd.DataFrame, split: Split, schema: Schema) -> np.ndarray:
    name = split.key or schema.time or ROW_ID
    order = np.lexsort((row_ids(frame, schema).to_numpy().astype(str), frame[name].to_numpy()))
    rank = np.empty(len(frame), dtype=float)
    rank[order] = (np.arange(len(frame)) + 0.5) / len(frame)
    old = 1 - split.test - split.tune
    return np.select([rank < old, rank < 1 - split.test], ["train", "tune"], "test")


def split_digest(settings: Settings, schema: Schema) -> str:
    """The digest of what divides the rows: two sides of a comparison must have the same.

    That is the split settings and, where rows are named by their values, the columns so used.
    """
    document = settings.split.model_dump(mode="json")
    if schema.row_id is None and settings.split.kind in ("row", "time"):
        document["columns"] = sorted(c.name for c in identifying(schema))
    return digest_json(document)
