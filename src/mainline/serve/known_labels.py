"""Labels from wherever they come: with the rows, in data/labels/, or at an address of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline.data.schema import Schema
from mainline.data.table import LABEL_COLUMNS, as_text, check_labels, last_labels, row_files
from mainline.errors import DataError
from mainline.serve.records import parse
from mainline.train.bundle import encode_target

KEYS = ("row_id", "prediction_id")


def all_labels(root: Path, schema: Schema, address: str | None) -> pd.DataFrame:
    """Every label known here: key, label, known_at, source, by (row_id or prediction_id: the key).

    Times are naive UTC. A label may stand more than once; `known_by` takes the last. Raises
    DataError when a file or the address cannot be read.
    """
    found = [_of_rows(root, schema)]
    for path in sorted((root / "data" / "labels").glob("*.parquet")):
        found.append(_table(_read(str(path)), path.name))
    if address:
        found.append(at_address(address))
    return _together(found)


def feedback(log: pd.DataFrame, labels: pd.DataFrame) -> dict[str, int]:
    """What of the labels by prediction id cannot be used as it is, in numbers of predictions.

    `unmatched` have no row in the log, `contradicted` have labels that differ (the one that became
    known last counts); `skipped_lines` of files of labels could not be read.
    """
    given = labels[labels["by"] == "prediction_id"]
    different = given.assign(label=as_text(given["label"])).groupby("key")["label"].nunique()
    return {
        "unmatched": len(set(given["key"]) - set(log["prediction_id"].astype(str))),
        "contradicted": int((different > 1).sum()),
        "skipped_lines": int(labels.attrs.get("skipped", 0)),
    }


def known_by(labels: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    """One label a key: the one that became known last, of those known by `as_of`."""
    return last_labels(
        labels[labels["known_at"] <= as_of].rename(columns={"key": "row_id"})
    ).rename(columns={"row_id": "key"})


def join(log: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """`label` and `known_at` for each row of the log (n,), by prediction id, else by row id."""
    by_key = labels.set_index("key")[["label", "known_at"]]
    found = by_key.reindex(log["prediction_id"].astype(str))
    other = by_key.reindex(log["row"].astype(str))
    found.index = other.index = log.index
    missing = found["known_at"].isna()
    return found.where(~missing, other)


def encoded(label: pd.Series, meta: Mapping[str, Any]) -> np.ndarray:
    """Labels as the model's numbers (n,), NaN where there is none."""
    y = np.full(len(label), np.nan)
    there = label.notna().to_numpy()
    if there.any():
        known = label[there]
        if meta["task"] == "regression":
            known = pd.to_numeric(known)
        y[there] = encode_target(known, meta["task"], meta["classes"])
    return y


def matured(rows: pd.DataFrame, as_of: pd.Timestamp, maturity_days: float) -> pd.DataFrame:
    """The rows whose label is final by `as_of`, with `matured_at`, in that order.

    `rows` has ts, known_at (NaT where no label is known) and whatever else the caller needs.
    """
    final = rows["ts"] + pd.Timedelta(days=maturity_days)
    when = rows["known_at"].where(rows["known_at"] > final, final)
    when = when.where(rows["known_at"].notna())
    found = rows.assign(matured_at=when)[when <= as_of]
    return found.sort_values(["matured_at", "ts"], kind="stable", ignore_index=True)


def at_address(address: str) -> pd.DataFrame:
    """All label files (Parquet or JSON Lines) at an fsspec address, a folder or a file."""
    import fsspec  # type: ignore[import-untyped]

    try:
        system, where = fsspec.core.url_to_fs(address)
        if system.isfile(where):
            names = [where]
        else:
            names = sorted(n for n in system.find(where) if n.endswith((".parquet", ".jsonl")))
        tables = []
        for name in names:
            with system.open(name, "rb") as stream:
                tables.append(_table(_read(stream, name), Path(name).name))
    except (OSError, ImportError, ValueError) as error:
        raise DataError(
            f"The labels at {address} could not be read ({error})",
            "Check the address in MAINLINE_LABELS or monitor.labels",
        ) from error
    return _together(tables)


def _together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    made = pd.concat([t for t in tables if len(t)] or [_empty()], ignore_index=True)
    made.attrs["skipped"] = sum(t.attrs.get("skipped", 0) for t in tables)
    return made


def _read(source: Any, name: str = ".parquet") -> pd.DataFrame:
    if name.endswith(".jsonl"):
        records, torn = parse(source.read())
        frame = pd.DataFrame(records, dtype=object)
        frame.attrs["skipped"] = torn
        return frame
    try:
        return pd.read_parquet(source)
    except (OSError, ValueError) as error:
        raise DataError(
            f"A file of labels could not be read ({error})", "Write it again"
        ) from error


def _table(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Labels with the column `key`; raises DataError when a column is gone or a value missing."""
    skipped = frame.attrs.get("skipped", 0)
    if not len(frame):
        empty = _empty()
        empty.attrs["skipped"] = skipped
        return empty
    key = next((k for k in KEYS if k in frame), None)
    if key is None:
        raise DataError(
            f"{name} has neither row_id nor prediction_id", "Name the row of each label"
        )
    made = check_labels(frame.rename(columns={key: "row_id"}), name).rename(
        columns={"row_id": "key"}
    )
    made = made.assign(by=key)
    made.attrs["skipped"] = skipped
    return made


def _of_rows(root: Path, schema: Schema) -> pd.DataFrame:
    """Labels that came with their rows, where the table says when each became known."""
    if not (schema.row_id and schema.known_at):
        return _empty()
    wanted = [schema.row_id, schema.target, schema.known_at]
    found = []
    for path in row_files(root):
        if path.suffix not in (".parquet", ".pq"):
            continue
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        if set(wanted) <= set(pq.read_schema(path).names):
            rows = pd.read_parquet(path, columns=wanted).dropna(subset=wanted)
            rows.columns = ["row_id", "label", "known_at"]
            found.append(_table(rows, path.name))
    return pd.concat(found, ignore_index=True) if found else _empty()


def _empty() -> pd.DataFrame:
    names = ["key", *LABEL_COLUMNS[1:], "by"]
    empty = pd.DataFrame({c: pd.Series(dtype=object) for c in names})
    return empty.astype({"known_at": "datetime64[ns]"})
