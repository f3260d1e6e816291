"""`mainline log compact`: closed days of the prediction log as Parquet, each record exactly once.

A part is written beside the lines, read back and compared with them, and only then are the lines
removed: whenever it is killed, every record is in one of the two, and the next run goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mainline.errors import DataError, RaceError, SettingsError
from mainline.files import replacing
from mainline.serve.parts import PARTS, as_json, read_part, to_table
from mainline.serve.reading import days
from mainline.serve.records import Record, parse

SLACK = timedelta(hours=1)  # a clock that is behind, a request that was long under way


def run(
    root: Path, log: str | None = None, before: str | None = None, now: datetime | None = None
) -> dict[str, Any]:
    """Compact the days of the log at `log` (else MAINLINE_LOG, monitor.log) that have ended.

    `before` (YYYY-MM-DD) leaves that day and later ones alone; a day counts as ended an hour
    after midnight UTC of the next. Gives `days`, `records` (in new parts), `files` (removed),
    `skipped` (unreadable lines, which go with them) and a sentence. Raises SettingsError without
    an address, DataError when the place fails, RaceError where another run is at work.
    """
    from mainline import settings

    address = log or os.environ.get("MAINLINE_LOG") or settings.load(root).monitor.log
    if not address:
        raise SettingsError(
            "No prediction log is set", "Name it by --log, MAINLINE_LOG or monitor.log"
        )
    if "://" not in address:
        address = str(root / address)
    moment = (now or datetime.now(UTC)) - SLACK
    last = min(moment.strftime("%Y-%m-%d"), before or "9999")
    done = compact(address, last)
    text = (
        f"Compacted {done['days']} day{'s' * (done['days'] != 1)}: {done['records']} records, "
        f"{done['files']} files of lines removed"
        if done["files"]
        else "Nothing to compact"
    )
    if done["skipped"]:
        text += f"; {done['skipped']} lines could not be read"
    return {**done, "text": text}


def compact(address: str, before: str) -> dict[str, int]:
    """Compact each day of the log at `address` that is earlier than `before` (YYYY-MM-DD)."""
    import fsspec  # type: ignore[import-untyped]

    total = dict.fromkeys(("days", "records", "files", "skipped"), 0)
    try:
        system, root = fsspec.core.url_to_fs(address)
        local = Path(root) if "://" not in address else None
        with _alone(local):
            for day in days(system, root):
                if day[-10:] < before and _is_day(day[-10:]):
                    for name, n in _compact_day(system, day, local is not None).items():
                        total[name] += n
    except (OSError, ImportError, ValueError) as error:
        raise DataError(
            f"The prediction log at {address} could not be compacted ({error})",
            "Nothing was lost; mend the cause and run it again",
        ) from error
    return total


def _compact_day(system: Any, day: str, local: bool) -> dict[str, int]:
    """Write parts of what no part holds yet, check them, remove the lines."""
    done = dict.fromkeys(("days", "records", "files", "skipped"), 0)
    if local:
        for left in Path(day).glob(".tmp-*.parquet"):  # of a run that was killed
            left.unlink(missing_ok=True)
    with contextlib.ExitStack() as locks:
        files = [f for f in sorted(system.glob(f"{day}/*.jsonl")) if not local or _lock(f, locks)]
        if not files:
            return done
        held = {
            name
            for part in sorted(system.glob(f"{day}/{PARTS}"))
            for name in map(_identity, read_part(system.cat_file(part)))
        }
        fresh: dict[str, Record] = {}
        for file in files:
            records, torn = parse(system.cat_file(file))
            done["skipped"] += torn
            fresh.update((name, r) for r in records if (name := _identity(r)) not in held)
        for group in _groups(fresh):
            _write_part(system, day, group, local)
        for file in files:
            system.rm_file(file)
    return {**done, "days": 1, "records": len(fresh), "files": len(files)}


def _groups(fresh: Mapping[str, Record]) -> Iterator[dict[str, Record]]:
    """Records by identity, those with the same fields and features together, in a fixed order."""
    groups: dict[tuple[Any, ...], dict[str, Record]] = {}
    for name in sorted(fresh, key=lambda n: (str(fresh[n].get("ts")), n)):
        record = fresh[name]
        features = record.get("features")
        shape = tuple(features) if isinstance(features, dict) else repr(type(features))
        groups.setdefault((tuple(record), shape), {})[name] = record
    yield from groups.values()


def _write_part(system: Any, day: str, group: Mapping[str, Record], local: bool) -> None:
    """Write one part and hold what can be read of it against the records."""
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(to_table(list(group.values())), stream, compression="zstd")
    digest = hashlib.sha256("\n".join(group).encode()).hexdigest()
    name = f"{day}/part-{digest}.parquet"
    if local:
        with replacing(Path(name)) as temporary:
            temporary.write_bytes(stream.getvalue())
    else:
        system.pipe_file(name, stream.getvalue())
    if [_identity(r) for r in read_part(system.cat_file(name))] != list(group):
        system.rm_file(name)
        raise DataError(
            f"{name.rsplit('/', 1)[-1]} does not hold what was written to it",
            "The lines were kept; look at the disk, or report this",
        )


def _identity(record: Record) -> str:
    """The same for the same record, in whatever form it is kept."""
    return hashlib.sha256(as_json(_plain(record)).encode()).hexdigest()


def _plain(value: Any) -> Any:
    # 1 and 1.0 are one number to JSON, and a column holds either kind.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _is_day(text: str) -> bool:
    try:
        return datetime.strptime(text, "%Y-%m-%d").strftime("%Y-%m-%d") == text
    except ValueError:
        return False


def _lock(file: str, locks: contextlib.ExitStack) -> bool:
    """Keep the writer of `file` away until the day is done; False while it is writing there."""
    if os.name != "posix":
        return True
    import fcntl

    descriptor = os.open(file, os.O_RDONLY)
    locks.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


@contextlib.contextmanager
def _alone(folder: Path | None) -> Iterator[None]:
    """One run at a time on one folder. On an object store two of them do the same twice."""
    if folder is None or os.name != "posix" or not folder.is_dir():
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RaceError("The log is being compacted already", "Wait for it") from error
    else:
        yield
    finally:
        os.close(descriptor)
