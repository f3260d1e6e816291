"""The prediction log: JSON Lines, one writer a file, never in the way of a request."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import socket
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainline.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1
# The columns of the log, in its order; `features` holds one value a feature column.
FIELDS = (
    "v", "prediction_id", "request_id", "row", "ts", "model", "digest", "arm", "generation",
    "entity", "features", "scores", "decision", "threshold", "ms", "status",
)  # fmt: skip
READ = tuple(f for f in FIELDS if f not in ("v", "features"))
Record = dict[str, Any]


class _Uuid7:
    """Time-ordered ids (RFC 9562, version 7): 60 bits of time that never repeat in a process."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        ms, rest = divmod(time.time_ns(), 1_000_000)
        with self._lock:
            # Method 3 of section 6.2: the 12 bits after the milliseconds are a finer clock.
            self._last = tick = max(self._last + 1, ms << 12 | (rest << 12) // 1_000_000)
        random = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
        value = tick >> 12 << 80 | 7 << 76 | (tick & 0xFFF) << 64 | 2 << 62 | random
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


uuid7 = _Uuid7()


def timestamp(moment: datetime) -> str:
    """`moment` as the log writes it: UTC, milliseconds, `Z`. A naive one is taken as UTC."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def hash_entity(entity: object, key: str | None) -> str | None:
    """HMAC-SHA256 of an entity, 32 hex digits; None without an entity or without a key.

    A plain hash of a customer number is undone by trying all numbers, so without a secret key
    nothing at all is written.
    """
    if entity is None or not key:
        return None
    return hmac.new(key.encode(), str(entity).encode(), hashlib.sha256).hexdigest()[:32]


class PredictionLog:
    """Appends records to `<address>/date=YYYY-MM-DD/<host>-<pid>-<n>.jsonl` from a thread.

    `write` never blocks and never raises: beyond `limit` waiting records, or when the place
    cannot be written, records are dropped and counted in `dropped`. A local file is appended to
    every `every` seconds; on an object store, which cannot append, each turn is a file of its
    own. With no address nothing is written and nothing is counted.
    """

    def __init__(
        self, address: str | None, *, limit: int = 20_000, every: float | None = None
    ) -> None:
        self.address = address.rstrip("/") if address else None
        self.dropped = 0
        self.written = 0
        self._limit = limit
        self._remote = bool(self.address and "://" in self.address)
        self._every = every if every is not None else (20.0 if self._remote else 0.1)
        self._queue: deque[Sequence[Record]] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._hurry = False
        self._closed = False
        self._files: dict[str, Path] = {}
        # An object is overwritten silently, and a restarted container has its old name and pid.
        self._number = time.time_ns() // 1_000_000 if self._remote else 0
        self._thread: threading.Thread | None = None

    def write(self, records: Sequence[Record]) -> bool:
        """Queue `records` (keys as in FIELDS) for writing; False when they were dropped."""
        if self.address is None or not records:
            return True
        with self._changed:
            if self._closed or self._waiting + len(records) > self._limit:
                self.dropped += len(records)
                return False
            self._queue.append(records)
            self._waiting += len(records)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            return True

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was queued is written or counted as dropped; False on timeout."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._waiting == 0, timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Flush, then refuse further records. Safe to call twice."""
        self.flush(timeout)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._hurry or self._closed, self._every)
                batch = [record for records in self._queue for record in records]
                self._queue.clear()
                self._hurry = False
                if self._closed and not batch:
                    return
            written = self._store(batch)
            with self._changed:
                self.written += written
                self.dropped += len(batch) - written
                self._waiting -= len(batch)
                self._changed.notify_all()

    def _store(self, batch: Sequence[Record]) -> int:
        """Write `batch`, each record into the folder of its own day; returns how many it wrote."""
        days: dict[str, list[bytes]] = defaultdict(list)
        for record in batch:
            with contextlib.suppress(TypeError, ValueError, KeyError):
                days[str(record["ts"])[:10]].append(encode(record))
        written = 0
        for day, lines in days.items():
            try:
                self._append(day, b"".join(lines))
                written += len(lines)
            except Exception:  # a full disk, a lost bucket: the service must go on
                # A torn line may stand at the end of this file: the next one goes elsewhere.
                self._files.pop(day, None)
        return written

    def _append(self, day: str, content: bytes) -> None:
        if self._remote:
            import fsspec  # type: ignore[import-untyped]

            with fsspec.open(f"{self.address}/date={day}/{self._name()}", "wb") as stream:
                stream.write(content)
            return
        if day not in self._files:
            self._files[day] = self._claim(Path(str(self.address)) / f"date={day}")
        with self._files[day].open("ab", buffering=0) as file:
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]

    def _name(self) -> str:
        self._number += 1
        host = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:64] or "host"
        return f"{host}-{os.getpid()}-{self._number}.jsonl"

    def _claim(self, folder: Path) -> Path:
        """A new file that no other writer has: containers all run as the same process id."""
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = folder / self._name()
            with contextlib.suppress(FileExistsError):
                path.open("xb").close()
                return path


def encode(record: Mapping[str, Any]) -> bytes:
    """One line of the log. Raises ValueError for NaN or infinity, which JSON does not have."""
    line = json.dumps(record, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return line.encode() + b"\n"


def read_log(
    address: str | Path | None,
    since: datetime | date | str | None = None,
    until: datetime | date | str | None = None,
    arms: Iterable[str] | None = None,
) -> pd.DataFrame:
    """All predictions with `since` <= ts < `until` (naive moments are UTC), sorted by ts.

    Columns: those of READ (`ts` is a timezone-aware UTC timestamp, `scores` a list, `row` the
    caller's own id of the row as text, or None where it sent none), then one column a feature,
    under the feature's own name. `arms` keeps only these; by default all but `shadow`, because a
    mirrored request was already counted. A torn or unreadable line is left out, and
    `frame.attrs["skipped"]` says how many. Without an address, or with nothing there, the frame
    is empty. Raises DataError when the place cannot be read.
    """
    import pandas as pd

    low, high = _moment(since), _moment(until)
    wanted = None if arms is None else frozenset(arms)
    records: list[Record] = []
    skipped = 0
    for content in _contents(str(address) if address else None, low, high):
        found, torn = _parse(content)
        records += [r for r in found if _keep(r.get("arm"), wanted)]
        skipped += torn
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


def _parse(content: bytes) -> tuple[list[Record], int]:
    """The records of one file and how many lines could not be read."""
    lines = content.splitlines()
    try:
        # One call for the whole file is several times faster than one a line.
        found = json.loads(b"[" + b",".join(lines) + b"]")
    except ValueError:
        found = [_line(line) for line in lines]
    records = [r for r in found if isinstance(r, dict)]
    return records, len(found) - len(records)


def _line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _contents(address: str | None, low: datetime | None, high: datetime | None) -> Iterable[bytes]:
    """The bytes of each file of the days from `low` to `high`, in the order of their names."""
    if address is None:
        return
    import fsspec  # type: ignore[import-untyped]

    try:
        system, root = fsspec.core.url_to_fs(address)
        for day in sorted(system.glob(f"{root.rstrip('/')}/date=*")):
            if not _day_inside(day.rstrip("/")[-10:], low, high):
                continue
            for name in sorted(system.glob(f"{day.rstrip('/')}/*.jsonl")):
                yield system.cat_file(name)
    except (OSError, ImportError, ValueError) as error:
        raise DataError(
            f"The prediction log at {address} could not be read ({error})",
            "Check its address in MAINLINE_LOG or monitor.log",
        ) from error


def _day_inside(day: str, low: datetime | None, high: datetime | None) -> bool:
    try:
        start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    except ValueError:
        return False
    return not (
        (low is not None and start + timedelta(days=1) <= low)
        or (high is not None and start >= high)
    )
