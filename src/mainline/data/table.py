"""The table: rows and labels under data/, read with the dtypes of schema.yaml.

A typed frame has float64 for numbers and integers, objects (`str` or None) for categories, bools
(`true`/`false`) and text, and naive UTC `datetime64[ns]` for times.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline.data.schema import ROW_ID, Column, Schema
from mainline.errors import DataError
from mainline.files import digest_tree
from mainline.settings import Settings

READABLE = (".parquet", ".pq", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
LABEL_COLUMNS = ("row_id", "label", "known_at", "source")
TRUE, FALSE = {"true", "1", "1.0", "yes", "t", "y"}, {"false", "0", "0.0", "no", "f", "n"}


@dataclass(frozen=True)
class Problem:
    """Values that do not have the type which schema.yaml gives their column."""

    column: str
    rule: str
    rows: tuple[int, ...]


def row_files(root: Path) -> list[Path]:
    """The files of rows under `data/`, sorted by path; everything but `data/labels/`."""
    data = root / "data"
    return sorted(
        f
        for f in data.rglob("*")
        if f.is_file()
        and f.name.endswith(READABLE)
        and not f.name.startswith(".")
        and f.relative_to(data).parts[0] != "labels"
    )


def read_file(path: Path) -> pd.DataFrame:
    """Read one CSV, TSV or Parquet file as it is; text stays text.

    Raises DataError (20) when it is missing, empty, not UTF-8, without rows or unreadable.
    """
    if not path.is_file():
        raise DataError(f"{path.name} was not found", "Name a CSV, TSV or Parquet file")
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty", "Restore it or add a file with rows")
    try:
        if path.name.endswith((".parquet", ".pq")):
            frame = pd.read_parquet(path)
        elif path.name.endswith(READABLE):
            frame = _read_text(path)
        else:
            raise DataError(
                f"{path.name} is no table that is known here", "Use CSV, TSV or Parquet"
            )
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} is not UTF-8 (byte {error.start})", "Save it as UTF-8"
        ) from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path.name} has no columns", "Give it a header and rows") from error
    except (ValueError, OSError, EOFError, zlib.error) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{path.name} could not be read ({reason})", "Mend or export it again"
        ) from error
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise DataError(f"{path.name} has the column {repeated[0]!r} twice", "Rename one")
    if frame.empty:
        raise DataError(f"{path.name} has no rows", "Add rows or remove the file")
    return frame


def _read_text(path: Path) -> pd.DataFrame:
    """A CSV or TSV file; the header is read as a row, since pandas would rename repeated names."""
    options: dict[str, Any] = {"sep": "\t" if ".tsv" in path.suffixes else ",", "dtype": str,
                               "keep_default_na": False, "encoding": "utf-8-sig"}  # fmt: skip
    header = pd.read_csv(path, header=None, nrows=1, **options).iloc[0]
    frame = pd.read_csv(path, **options).replace({"": None})
    if len(header) == len(frame.columns) and isinstance(frame.index, pd.RangeIndex):
        frame.columns = pd.Index(header.to_numpy(), dtype=object)
        return frame
    raise ValueError("its rows have more cells than its header")


def read_rows(root: Path) -> pd.DataFrame:
    """All rows under `data/` as stored, in the order of the file names.

    Raises DataError (20) when there is none: mostly the data was not pulled yet.
    """
    files = row_files(root)
    if not files:
        remedy = (
            "Run `./mainline data pull`"
            if (root / "data.dvc").exists()
            else ("Add rows with `./mainline data add FILE`")
        )
        raise DataError("There are no rows under data/", remedy)
    return pd.concat([read_file(f) for f in files], ignore_index=True)


def read_labels(root: Path) -> pd.DataFrame:
    """Labels that came after their rows: row_id, label, known_at, source; the last one wins."""
    files = sorted((root / "data" / "labels").glob("*.parquet"))
    if not files:
        return pd.DataFrame({c: pd.Series(dtype=object) for c in LABEL_COLUMNS})
    return last_labels(pd.concat([check_labels(read_file(f), f.name) for f in files]))


def check_labels(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Labels with their types; DataError (20) when a column is gone or a value is missing."""
    gone = [c for c in ("row_id", "label", "known_at") if c not in frame]
    if gone:
        raise DataError(f"{name} has no column {gone[0]!r}", f"Columns: {', '.join(LABEL_COLUMNS)}")
    frame = frame.assign(
        row_id=frame["row_id"].astype(str),
        known_at=_datetimes(frame["known_at"]),
        source=frame.get("source", pd.Series("", index=frame.index)).astype(object),
    )
    for column in ("row_id", "label", "known_at"):
        empty = int(frame[column].isna().sum())
        if empty:
            raise DataError(f"{name}: {column!r} is missing in {empty} rows", "Fill or drop them")
    return frame[list(LABEL_COLUMNS)]


def last_labels(labels: pd.DataFrame) -> pd.DataFrame:
    """One label a row: the one that became known last."""
    return labels.sort_values("known_at", kind="stable").drop_duplicates("row_id", keep="last")


def coerce(raw: pd.DataFrame, schema: Schema) -> tuple[pd.DataFrame, list[Problem]]:
    """Give the columns of `raw` that schema.yaml knows its types.

    Values that do not fit become missing and are listed as problems, so that all of them can be
    reported at once. Columns that are gone or unknown are left for the caller to judge.
    """
    typed: dict[str, pd.Series] = {}
    problems = []
    for column in schema.columns:
        if column.name not in raw:
            continue
        series = raw[column.name]
        typed[column.name] = coerce_column(series, column)
        lost = series.notna().to_numpy() & typed[column.name].isna().to_numpy()
        if lost.any():
            rows = tuple(int(i) for i in np.flatnonzero(lost))
            problems.append(Problem(column.name, f"type {column.type}", rows))
    frame = pd.DataFrame(typed, index=raw.index)
    if schema.row_id is None:
        # A file that goes from one side of a comparison to the other carries the ids it was given.
        given = as_text(raw[ROW_ID]) if ROW_ID in raw else content_ids(frame, schema)
        frame.insert(0, ROW_ID, given)
    return frame, problems


def coerce_column(series: pd.Series, column: Column) -> pd.Series:
    """One column with the dtype of its schema type; what does not fit becomes missing."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)
    if column.type in ("number", "integer"):
        if series.dtype.kind in "mM":  # a time is no number, though pandas would make it one
            return pd.Series(np.nan, index=series.index)
        if series.dtype == object or isinstance(series.dtype, pd.StringDtype):
            series = series.map(lambda v: v.strip() if isinstance(v, str) else v)
        numbers = pd.to_numeric(series, errors="coerce").astype("float64")
        # An infinity is no measurement: it is reported as a value of the wrong type.
        numbers = numbers.where(np.isfinite(numbers))
        if column.type == "integer":
            numbers = numbers.where(numbers == np.floor(numbers))
        return numbers
    if column.type == "datetime":
        return _datetimes(series)
    if column.type == "bool":
        return series.map(_truth).astype(object)
    return as_text(series)


def as_text(series: pd.Series) -> pd.Series:
    """Objects that are `str` or None; whole floats lose their `.0` (a CSV and a Parquet agree)."""
    text = series.astype(object)
    text = text.where(series.notna(), None)
    if pd.api.types.infer_dtype(text, skipna=True) == "string":
        return text
    return text.map(_text).astype(object)


def _text(value: Any) -> str | None:
    # Value by value: the service sees one row where training saw the whole column.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return None if value is None else str(value)


def _truth(value: Any) -> str | None:
    text = str(value).strip().lower()
    return "true" if text in TRUE else "false" if text in FALSE else None


def _datetimes(series: pd.Series) -> pd.Series:
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        times = series.dt.tz_convert("UTC").dt.tz_localize(None)
    elif pd.api.types.is_datetime64_any_dtype(series.dtype):
        times = series
    else:
        times = pd.to_datetime(series, errors="coerce", utc=True, format="ISO8601")
        times = times.dt.tz_localize(None)
    return times.astype("datetime64[ns]")


def identifying(schema: Schema) -> list[Column]:
    """The columns that name a row where schema.yaml names no id."""
    return [c for c in schema.columns
            if c.role not in ("target", "drop") and c.available == "at_prediction"]  # fmt: skip


def content_ids(frame: pd.DataFrame, schema: Schema) -> pd.Series:
    """A name for each row from its values, never from its label; equal rows are numbered.

    Dropped columns are left out too: one of them may repeat the label.
    """
    own = [c.name for c in identifying(schema) if c.name in frame]
    numbers = pd.util.hash_pandas_object(frame[own], index=False)
    nth = numbers.groupby(numbers).cumcount()
    return (numbers.map("{:016x}".format) + "-" + nth.astype(str)).astype(object)


def row_ids(frame: pd.DataFrame, schema: Schema) -> pd.Series:
    """The row ids of a typed frame, as text."""
    return as_text(frame[schema.row_id or ROW_ID])


def known_times(frame: pd.DataFrame, schema: Schema) -> pd.Series | None:
    """When each label became known, or None where the table does not say."""
    return frame[schema.known_at] if schema.known_at and schema.known_at in frame else None


def load_table(root: Path, schema: Schema) -> pd.DataFrame:
    """All rows with the dtypes of schema.yaml; the target is the label known last.

    Raises DataError (20) when a column is gone or a value has the wrong type; `mainline validate`
    lists all such rows.
    """
    raw = read_rows(root)
    optional = {schema.target, schema.known_at}
    gone = [c.name for c in schema.columns if c.name not in raw and c.name not in optional]
    if gone:
        raise DataError(
            f"The column {gone[0]!r} of schema.yaml is not in the data",
            "Add it, or take it out of schema.yaml",
        )
    frame, problems = coerce(raw, schema)
    if problems:
        first = problems[0]
        raise DataError(
            f"{len(first.rows)} values of {first.column!r} are not of {first.rule}",
            "Run `./mainline validate` to see them all",
        )
    return join_labels(frame, read_labels(root), schema)


def join_labels(frame: pd.DataFrame, labels: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Put later `labels` into the target of `frame`, and their times into `known_at`."""
    column = schema.by_name[schema.target]
    if schema.target not in frame:
        frame = frame.assign(
            **{schema.target: coerce_column(pd.Series(None, frame.index, object), column)}
        )
    if labels.empty:
        return frame
    found = labels.set_index("row_id").reindex(row_ids(frame, schema))
    found.index = frame.index
    values = coerce_column(found["label"], column)
    frame = frame.assign(**{schema.target: frame[schema.target].where(values.isna(), values)})
    if schema.known_at:
        times = found["known_at"].astype("datetime64[ns]")
        old = frame[schema.known_at] if schema.known_at in frame else pd.Series(pd.NaT, frame.index)
        frame = frame.assign(**{schema.known_at: old.where(times.isna(), times)})
    return frame


def usable(frame: pd.DataFrame, settings: Settings, schema: Schema) -> pd.Series:
    """Which rows may train and test: labelled, matured, and inside the training window.

    The clock is the newest time at which any label became known, so that the answer follows from
    the data alone. A positive is often known before a negative: rows younger than the maturity
    are left out even when they have a label, or they would show positives only.
    """
    keep = frame[schema.target].notna()
    known = known_times(frame, schema)
    if schema.time is None or known is None or known[keep].isna().all():
        return keep
    as_of = known[keep].max()
    keep &= frame[schema.time] <= as_of - pd.Timedelta(days=settings.monitor.maturity_days)
    if settings.train.window_days is not None:
        keep &= frame[schema.time] > as_of - pd.Timedelta(days=settings.train.window_days)
    return keep


def data_digest(root: Path) -> str | None:
    """The digest of everything under `data/`; None where there is nothing."""
    return digest_tree(root / "data") if (root / "data").is_dir() else None


def restrict(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The columns `names` of `frame`; DataError (20) names the first that is gone."""
    names = list(names)
    gone = [n for n in names if n not in frame]
    if gone:
        raise DataError(f"The column {gone[0]!r} is not in the data", "Add it")
    return frame[names]
