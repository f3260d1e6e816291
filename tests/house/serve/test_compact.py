"""Compaction: every record exactly once, whatever is in it and whenever the run is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mainline.errors import DataError, RaceError, SettingsError
from mainline.serve import compact as step
from mainline.serve.compact import compact
from mainline.serve.ids import timestamp, uuid7
from mainline.serve.parts import from_table, read_part, to_table
from mainline.serve.reading import read_log
from mainline.serve.records import encode
from mainline.serve.sink import Sink, append

START = datetime(2024, 7, 1, 12, tzinfo=UTC)
POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")


def record(i: int, **more: Any) -> dict[str, Any]:
    """One record of the log, six hours after the one before."""
    return {
        "v": 1, "prediction_id": uuid7(), "request_id": f"r{i}", "row": None if i % 3 else str(i),
        "ts": timestamp(START + timedelta(hours=6 * i)), "model": "m", "digest": "sha256:00",
        "arm": "stable", "generation": None, "entity": None,
        "features": {"amount": i / 3, "os": None if i % 2 else "é", "new": bool(i % 2)},
        "scores": [0.1, i / 7], "decision": i % 2, "threshold": 0.2, "ms": 1.0, "status": 200,
        **more,
    }  # fmt: skip


def filled(folder: Path, n: int = 12) -> list[dict[str, Any]]:
    """A log of `n` records in two files a day, one record in both, some of another shape."""
    records = [record(i) for i in range(n)]
    records += [
        record(1, features={"amount": 1.5}),
        record(1, features={"amount": "text"}),
        record(1, features={}, generation=7),
        record(1, features=None, generation="gen-7"),
        record(1, scores=[1, 2.5], decision="a", more={"deep": [1, None, {"x": 2**70}]}),
        record(1, **{"odd.json": 1, "": None}),
    ]
    append(str(folder), records[::2])
    append(str(folder), [*records[1::2], records[0]])
    return records


def found(folder: Path) -> list[dict[str, Any]]:
    """All records that are there, in lines or in parts, however often, by id."""
    records = [json.loads(x) for p in folder.rglob("*.jsonl") for x in p.read_bytes().splitlines()]
    for path in folder.rglob("part-*.parquet"):
        records += read_part(path.read_bytes())
    return sorted(records, key=lambda r: str(r["prediction_id"]))


def lines(folder: Path) -> list[Path]:
    """The files of lines."""
    return sorted(folder.rglob("*.jsonl"))


def test_closed_days_become_parquet_and_read_as_before(tmp_path: Path) -> None:
    """Every record once, every value as it was, the lines gone; the reader sees no difference."""
    records = filled(tmp_path)
    before = read_log(tmp_path)
    done = compact(str(tmp_path), "2024-07-04")
    assert done == {"days": 3, "records": len(found(tmp_path)) - 2, "files": 6, "skipped": 0}
    assert {p.parent.name for p in lines(tmp_path)} == {"date=2024-07-04"}
    assert found(tmp_path) == sorted(records, key=lambda r: r["prediction_id"])
    pd.testing.assert_frame_equal(read_log(tmp_path), before, check_column_type=False)
    part = next(iter(tmp_path.rglob("part-*.parquet")))
    assert len(part.stem) == len("part-") + 64
    assert compact(str(tmp_path), "2024-07-04")["files"] == 0


def test_a_feature_is_a_typed_column_of_its_own(tmp_path: Path) -> None:
    """Whoever reads the Parquet finds numbers, texts and truths, not JSON."""
    append(str(tmp_path), [record(i) for i in range(2)])
    compact(str(tmp_path), "2024-07-03")
    (path,) = tmp_path.rglob("*.parquet")
    frame = pd.read_parquet(path)
    assert frame["features.amount"].dtype == float
    assert frame["features.new"].dtype == bool
    assert frame["prediction_id"].is_unique


def test_values_of_many_kinds_come_back_as_they_were() -> None:
    """No value is rounded, cut or turned into another kind; such a column is kept as JSON."""
    rng = random.Random(7)
    kinds: list[Callable[[], Any]] = [
        lambda: None, lambda: rng.random(), lambda: rng.randrange(-5, 5), lambda: 2**64 + 1,
        lambda: "x" * rng.randrange(3), lambda: rng.random() < 0.5, lambda: [1, "a"],
        lambda: {"a": None}, lambda: 1e308, lambda: -0.0, lambda: 0.1 + 0.2,
    ]  # fmt: skip
    for _ in range(60):
        some = rng.sample(kinds, rng.randrange(1, 4))
        records = [
            record(i, a=rng.choice(some)(), features={"f": rng.choice(some)(), "json": 1})
            for i in range(9)
        ]
        back = from_table(to_table(records))
        assert back == records
        assert [encode(r) for r in back] == [encode(r) for r in records] or _numbers_only(some)


def _numbers_only(some: list[Callable[[], Any]]) -> bool:
    # A column of 1 and 2.5 holds 1.0: the same number.
    return any(isinstance(make(), int) for make in some)


def test_a_day_that_is_not_over_is_left_alone(tmp_path: Path) -> None:
    """A writer may still be at work there; an hour after midnight it is not."""
    append(str(tmp_path), [record(0)])
    late = datetime(2024, 7, 2, 0, 59, tzinfo=UTC)
    assert step.run(tmp_path, str(tmp_path), now=late)["files"] == 0
    assert step.run(tmp_path, str(tmp_path), before="2024-07-01")["files"] == 0
    after = late + timedelta(minutes=2)
    assert step.run(tmp_path, str(tmp_path), now=after)["text"].startswith("Compacted 1 day:")


def test_lines_that_come_late_make_a_part_of_their_own(tmp_path: Path) -> None:
    """A record after the day was compacted, and one that is there already, are each kept once."""
    first, second = record(0), record(1, ts=record(0)["ts"])
    append(str(tmp_path), [first])
    compact(str(tmp_path), "2024-07-03")
    append(str(tmp_path), [first, second])
    done = compact(str(tmp_path), "2024-07-03")
    assert (done["records"], len(lines(tmp_path))) == (1, 0)
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    assert len(read_log(tmp_path)) == 2


def test_an_unreadable_line_is_counted_and_its_neighbours_kept(tmp_path: Path) -> None:
    """Half a line is no record; whoever runs it is told how many there were."""
    append(str(tmp_path), [record(0), record(1)])
    with lines(tmp_path)[0].open("ab") as stream:
        stream.write(b'{"v": 1, "predi')
    done = compact(str(tmp_path), "2024-07-03")
    assert (done["records"], done["skipped"], len(read_log(tmp_path))) == (2, 1, 2)


def test_a_part_that_does_not_hold_its_records_costs_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written is read back from the disk before a line is removed."""
    append(str(tmp_path), [record(0), record(1)])
    whole = step.read_part
    monkeypatch.setattr(step, "read_part", lambda content: whole(content)[:-1])
    with pytest.raises(DataError, match="does not hold"):
        compact(str(tmp_path), "2024-07-03")
    assert len(lines(tmp_path)) == 1
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_full_disk_costs_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is removed, nothing is left behind, and the cause is one sentence."""

    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    append(str(tmp_path), [record(0), record(1)])
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match="No space left"):
        compact(str(tmp_path), "2024-07-03")
    assert len(found(tmp_path)) == 2
    assert [p.suffix for p in tmp_path.rglob("*.*") if p.is_file()] == [".jsonl"]


def test_any_fsspec_place_can_be_compacted() -> None:
    """Objects are written whole and removed like files."""
    place = "memory://compacted/log"
    records = [record(i) for i in range(4)]
    append(place, records)
    done = compact(place, "2024-07-03")
    assert (done["records"], len(read_log(place))) == (4, 4)
    assert compact(place, "2024-07-03")["files"] == 0


def test_without_an_address_it_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 22, and where to set it."""
    monkeypatch.delenv("MAINLINE_LOG", raising=False)
    with pytest.raises(SettingsError, match="MAINLINE_LOG"):
        step.run(Path(__file__).parents[3])


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    """`mainline log compact` runs where there is no repository, and tells a program in JSON."""
    append(str(tmp_path / "log"), [record(0), record(1)])
    command = [sys.executable, "-m", "mainline", "log", "compact", "--log", str(tmp_path / "log")]
    done = subprocess.run(
        [*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")},
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert (told["days"], told["records"], told["files"]) == (1, 2, 1)


@POSIX
def test_a_file_that_is_written_right_now_is_left_for_the_next_run(tmp_path: Path) -> None:
    """And a writer whose file was compacted begins another: neither loses a record."""
    import fcntl

    sink = Sink(str(tmp_path))
    first, second = record(0), record(0)
    sink.put(1, b"", lambda _: [first])
    assert sink.flush()
    with lines(tmp_path)[0].open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        assert compact(str(tmp_path), "2024-07-03")["files"] == 0
    assert compact(str(tmp_path), "2024-07-03")["files"] == 1
    sink.put(1, b"", lambda _: [second])
    assert sink.flush()
    sink.close()
    assert (sink.written, len(lines(tmp_path)), len(read_log(tmp_path))) == (2, 1, 2)


@POSIX
def test_a_writer_and_a_run_at_the_same_time_lose_and_double_nothing(tmp_path: Path) -> None:
    """Late records of a closed day are written while that day is compacted again and again."""
    sink = Sink(str(tmp_path))
    records = [record(0) for _ in range(400)]
    runs = 0
    for i, one in enumerate(records):
        sink.put(1, b"", lambda _, one=one: [one])  # type: ignore[misc]
        if i % 100 == 0:
            assert sink.flush()  # else a slow machine may have nothing to compact
        if i % 10 == 0:
            runs += compact(str(tmp_path), "2024-07-03")["files"] > 0
    sink.close()
    compact(str(tmp_path), "2024-07-03")
    assert runs > 1 and sink.written == 400
    assert found(tmp_path) == sorted(records, key=lambda r: r["prediction_id"])


@POSIX
def test_a_writer_keeps_off_a_file_that_is_being_compacted(tmp_path: Path) -> None:
    """It could be read already and removed next: what is written there now would be lost."""
    import fcntl

    sink = Sink(str(tmp_path))
    sink.put(1, b"", lambda _: [record(0)])
    assert sink.flush()
    (path,) = lines(tmp_path)
    before = path.read_bytes()
    with path.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        sink.put(1, b"", lambda _: [record(0)])
        assert sink.flush()
    sink.close()
    assert path.read_bytes() == before
    assert (sink.written, len(lines(tmp_path))) == (2, 2)


@POSIX
def test_a_file_that_was_compacted_between_opening_and_locking_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer has it open and it has no name any more: nobody would ever read it."""
    import fcntl

    sink = Sink(str(tmp_path))
    sink.put(1, b"", lambda _: [record(0)])
    assert sink.flush()
    (path,) = lines(tmp_path)
    lock = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        path.unlink(missing_ok=True)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    second = record(0)
    sink.put(1, b"", lambda _: [second])
    assert sink.flush()
    sink.close()
    assert (sink.written, found(tmp_path)) == (2, [second])


@POSIX
def test_a_new_file_that_is_compacted_before_it_is_locked_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is empty, so compaction takes it away at once, and the writer begins another."""
    import fcntl

    lock, taken = fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if not taken:
            taken.extend(lines(tmp_path))
            taken[0].unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    kept = record(0)
    append(str(tmp_path), [kept])
    assert taken
    assert found(tmp_path) == [kept]


@POSIX
def test_two_runs_at_once_on_one_folder_are_one(tmp_path: Path) -> None:
    """The second says so with status 24 and changes nothing."""
    append(str(tmp_path), [record(0)])
    with step._alone(tmp_path), pytest.raises(RaceError):
        compact(str(tmp_path), "2024-07-03")
    assert compact(str(tmp_path), "2024-07-03")["files"] == 1


def killed_at(folder: Path, number: int) -> bool:
    """Compact in a child that dies by -9 just before it touches a file for the `number`th time."""
    child = os.fork()
    if child == 0:
        seen = 0

        def die(event: str, values: tuple[Any, ...]) -> None:
            nonlocal seen
            touches = event in ("open", "os.rename", "os.remove", "os.chmod", "os.truncate")
            if (
                touches
                and isinstance(values[0], str | Path)
                and str(values[0]).startswith(str(folder))
            ):
                seen += 1
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(die)
        try:
            compact(str(folder), "2024-07-04")
        finally:
            os._exit(0)
    end = time.monotonic() + 60
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.WIFSIGNALED(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the run hangs")
        time.sleep(0.005)


@POSIX
@pytest.mark.slow
def test_killed_at_any_step_and_run_again_it_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """At every file that it opens, renames or removes: the reader sees each record once, always."""
    boundaries = 0
    for number in range(1, 400):
        folder = tmp_path / str(number)
        records = sorted(filled(folder, 6), key=lambda r: r["prediction_id"])
        ids = [r["prediction_id"] for r in records]
        killed = killed_at(folder, number)
        assert sorted(read_log(folder)["prediction_id"]) == ids, number
        if not killed:
            break
        boundaries += 1
        if number % 2:  # and once more, at another place
            killed_at(folder, 3 + number % 5)
            assert sorted(read_log(folder)["prediction_id"]) == ids, number
        compact(str(folder), "2024-07-04")
        assert found(folder) == records, number
        assert not lines(folder)
        assert not list(folder.rglob(".tmp-*"))
    assert boundaries > 20
