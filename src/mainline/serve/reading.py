"""The prediction log as it is read: lines and compacted days together, each prediction once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainline.errors import DataError
from mainline.serve.parts import PARTS, read_part
from mainline.serve.records import READ, Record, parse

if TYPE_CHECKING:
    import pandas as pd


def read_log(
    address: str | Path | None,
    since: datetime | date | str | None = None,
    until: datetime | date | str | None = None,
    arms: Iterable[str] | None = None,
    keep: Callable[[Record], bool] | None = None,
) -> pd.DataFrame:
    """All predictions with `since` <= ts < `until` (naive moments are UTC), sorted by ts.

    Columns: those of READ (`ts` is a timezone-aware UTC timestamp, `scores` a list, `row` the
    caller's own id of the row as text, or None where it sent none), then one column a feature,
    under the feature's own name. `arms` keeps only these; by default all but `shadow`, because a
    mirrored request was already counted; `keep` says of each record whether it is wanted, which
    bounds the memory where few of a long log are. A prediction that stands twice, as while a day is
    compacted, is read once. A torn or unreadable line is left out, and `frame.attrs["skipped"]`
    says how many. Without an address, or with nothing there, the frame is empty. Raises DataError
    when the place cannot be read.
    """
    import pandas as pd

    low, high = _moment(since), _moment(until)
    wanted = None if arms is None else frozenset(arms)
    records: list[Record] = []
    skipped = 0
    for found, torn in _files(str(address) if address else None, low, high):
        records += [r for r in found if _keep(r.get("arm"), wanted) and (keep is None or keep(r))]
        skipped += torn
    records = once(records)
    frame = pd.DataFrame({f: [r.get(f) for r in records] for f in READ}, columns=list(READ))
    frame["ts"] = pd.to_datetime(frame["ts"], utc=True, format="ISO8601", errors="coerce")
    frame["row"] = pd.Series([_text(r.get("row")) for r in records], dtype=object)
    features = [r.get("features") or {} for r in records]
    shapes = dict.fromkeys(map(tuple, features))  # a few: rows of one model have the same keys
    names = dict.fromkeys(n for shape in shapes for n in shape if n not in READ)
    frame = pd.concat(
        [frame, pd.DataFrame({n: [row.get(n) for row in features] for n in names})],
        axis=1,
    )
    inside = frame["ts"].notna()
    if low is not None:
        inside &= frame["ts"] >= low
    if high is not None:
        inside &= frame["ts"] < high
    frame = frame[inside].sort_values(["ts", "prediction_id"], ignore_index=True)
    frame.attrs["skipped"] = skipped
    return frame


def once(records: Iterable[Record]) -> list[Record]:
    """The first record of each prediction id; one without an id is always kept."""
    seen: set[str] = set()
    kept = []
    for record in records:
        name = record.get("prediction_id")
        if isinstance(name, str):
            if name in seen:
                continue
            seen.add(name)
        kept.append(record)
    return kept


def days(system: Any, root: str) -> list[str]:
    """The folders of days below `root` on a file system of fsspec, in order."""
    return [str(day).rstrip("/") for day in sorted(system.glob(f"{root.rstrip('/')}/date=*"))]


def _files(
    address: str | None, low: datetime | None, high: datetime | None
) -> Iterable[tuple[list[Record], int]]:
    """The records of each file of the days from `low` to `high`, and its unreadable lines."""
    if address is None:
        return
    import fsspec  # type: ignore[import-untyped]

    try:
        system, root = fsspec.core.url_to_fs(address)
        for day in days(system, root):
            if not _day_inside(day[-10:], low, high):
                continue
            # Lines first: `compact` writes a part before it removes them, so whatever it does
            # meanwhile a record is in one of the two.
            lines = [system_cat(system, name) for name in sorted(system.glob(f"{day}/*.jsonl"))]
            for name in sorted(system.glob(f"{day}/{PARTS}")):
                yield read_part(system.cat_file(name)), 0
            for content in lines:
                yield parse(content)
    except (OSError, ImportError, ValueError) as error:
        raise DataError(
            f"The prediction log at {address} could not be read ({error})",
            "Check its address in MAINLINE_LOG or monitor.log",
        ) from error


def system_cat(system: Any, name: str) -> bytes:
    """The bytes of a file; none where `compact` has just removed it."""
    try:
        return bytes(system.cat_file(name))
    except FileNotFoundError:
        return b""


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _keep(arm: object, wanted: frozenset[str] | None) -> bool:
    return arm != "shadow" if wanted is None else arm in wanted


def _moment(value: datetime | date | str | None) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _day_inside(day: str, low: datetime | None, high: datetime | None) -> bool:
    try:
        start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    except ValueError:
        return False
    return not (
        (low is not None and start + timedelta(days=1) <= low)
        or (high is not None and start >= high)
    )
