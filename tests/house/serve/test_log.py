"""The prediction log: what is handed over, written, dropped and read back, and who may die."""

from __future__ import annotations

import json
import marshal
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from mainline.errors import DataError
from mainline.serve.ids import hash_entity, timestamp, uuid7
from mainline.serve.log import PredictionLog
from mainline.serve.reading import read_log
from mainline.serve.records import Shape, encode
from mainline.serve.sink import Sink, append
from mainline.serve.writer import Assembler, message, pieces

START = datetime(2024, 7, 1, 23, 59, tzinfo=UTC)
SOURCE = Path(__file__).parents[3] / "src"
POSIX = pytest.mark.skipif(os.name != "posix", reason="there a thread writes")
SHAPE = Shape("m", "sha256:00", 0.2, ("amount", "os"), "id", "customer", "key")


def record(i: int, arm: str = "stable", **more: Any) -> dict[str, Any]:
    """One record of the log, a minute after the one before."""
    return {
        "v": 1, "prediction_id": uuid7(), "request_id": f"r{i}", "row": 0,
        "ts": timestamp(START + timedelta(minutes=i)), "model": "m", "digest": "sha256:00",
        "arm": arm, "generation": None, "entity": None, "features": {"amount": i / 3, "os": "x"},
        "scores": [0.25], "decision": 1, "threshold": 0.2, "ms": 1.5, "status": 200, **more,
    }  # fmt: skip


def written(folder: Path, records: list[dict[str, Any]]) -> PredictionLog:
    """A closed log that wrote `records`."""
    log = PredictionLog(str(folder), patience=0)
    log.write(records)
    log.close()
    return log


def until(true: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def gone(pid: int | None) -> bool:
    """Whether a process has ended; one that waits to be buried has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def adds_up(log: PredictionLog, accepted: int) -> dict[str, int]:
    """The counts, after they were held against what was accepted."""
    counts = log.counts()
    assert sum(counts.values()) == accepted
    return counts


def test_ids_are_version_7_and_sort_by_time_of_making() -> None:
    """Ids sort as they were made, carry the variant and version of RFC 9562 and the time."""
    before = datetime.now(UTC).timestamp() * 1000
    ids = [uuid7() for _ in range(5000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {i[14] for i in ids} == {"7"}
    assert {i[19] for i in ids} <= set("89ab")
    assert abs(int(ids[0].replace("-", "")[:12], 16) - before) < 5000


@POSIX
def test_forked_workers_make_ids_of_their_own() -> None:
    """Random bytes that were fetched before a fork are not used on both sides of it."""
    uuid7()
    child = os.fork()
    if child == 0:
        os._exit(0 if uuid7._random == "" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_written_is_read_back_with_a_column_a_feature(tmp_path: Path) -> None:
    """A float survives to the last bit, the time is UTC, each feature is a column."""
    log = written(tmp_path, [record(i) for i in range(5)])
    frame = read_log(tmp_path)
    assert (log.written, log.dropped, len(frame)) == (5, 0, 5)
    assert frame["amount"].tolist() == [i / 3 for i in range(5)]
    assert frame["os"].tolist() == ["x"] * 5
    assert str(frame["ts"].dt.tz) == "UTC"
    assert frame["ts"].iloc[1].to_pydatetime() == START + timedelta(minutes=1)
    assert "features" not in frame


def test_a_request_becomes_a_record_a_row(tmp_path: Path) -> None:
    """Only features are logged; the entity is hashed by the writer, the row id kept as text."""
    log = PredictionLog(str(tmp_path), shape=SHAPE)
    rows = [{"amount": 1.5, "os": None, "id": 7, "customer": "c"}, {"amount": 2.5, "email": "x@y"}]
    answers = [([0.1, 0.9], 1), ([0.8, 0.2], 0)]
    assert log.answered(
        ("r-1", "canary", "g7", START.timestamp(), 1.23456, ["a", "b"], rows, answers)
    )
    log.close()
    (path,) = tmp_path.rglob("*.jsonl")
    first, second = map(json.loads, path.read_bytes().splitlines())
    assert first == {
        "v": 1, "prediction_id": "a", "request_id": "r-1", "row": "7", "ts": timestamp(START),
        "model": "m", "digest": "sha256:00", "arm": "canary", "generation": "g7",
        "entity": hash_entity("c", "key"), "features": {"amount": 1.5, "os": None},
        "scores": [0.1, 0.9], "decision": 1, "threshold": 0.2, "ms": 1.235, "status": 200,
    }  # fmt: skip
    assert (second["row"], second["entity"], second["features"]["os"]) == (None, None, None)
    assert "email" not in second["features"]


def test_each_record_goes_into_the_folder_of_its_day(tmp_path: Path) -> None:
    """A request after midnight UTC is in the next day's folder; a clock set back goes back."""
    log = PredictionLog(str(tmp_path))
    for i in (0, 1, -1, 2):
        log.write([record(i)])
        log.flush()
    log.close()
    found = {p.parent.name: p.read_bytes().count(b"\n") for p in tmp_path.rglob("*.jsonl")}
    assert found == {"date=2024-07-01": 2, "date=2024-07-02": 2}


def test_a_file_that_is_large_enough_is_followed_by_another(tmp_path: Path) -> None:
    """No file is beyond the limit, whether one turn filled it or many, and none is empty."""
    size = len(encode(record(-9)))
    for turn in (1, 7):
        folder = tmp_path / str(turn)
        log = PredictionLog(str(folder), file_bytes=4 * size)
        for start in range(0, 21, turn):
            log.write([record(-9 - i) for i in range(start, start + turn)])
            log.flush()
        log.close()
        sizes = [p.stat().st_size for p in folder.rglob("*.jsonl")]
        assert log.written == 21 == len(read_log(folder))
        assert 0 < min(sizes) <= max(sizes) <= 4 * size
        assert len(sizes) <= 9


def test_a_torn_last_line_costs_that_line_only(tmp_path: Path) -> None:
    """A machine that lost power leaves half a line; the rest is read, the half counted."""
    written(tmp_path, [record(i - 10) for i in range(5)])
    (path,) = tmp_path.rglob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-40])
    frame = read_log(tmp_path)
    assert len(frame) == 4
    assert frame.attrs["skipped"] == 1


def test_a_record_that_stands_twice_is_read_once(tmp_path: Path) -> None:
    """A day that is being compacted stands there twice, and counts once."""
    rows = [record(i - 10) for i in range(3)]
    written(tmp_path, rows)
    written(tmp_path, rows[1:])
    assert len(read_log(tmp_path)) == 3


def test_shadow_rows_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    """A mirrored request was counted on the stable side already."""
    written(
        tmp_path,
        [record(0), record(1, "shadow"), record(2, "canary"), record(3, "batch")],
    )
    assert read_log(tmp_path)["arm"].tolist() == ["stable", "canary", "batch"]
    assert read_log(tmp_path, arms=["shadow"])["arm"].tolist() == ["shadow"]


def test_since_is_inside_and_until_is_not(tmp_path: Path) -> None:
    """Windows that touch share no row."""
    written(tmp_path, [record(i) for i in range(-3, 4)])
    middle = START
    assert len(read_log(tmp_path, until=middle)) == 3
    assert len(read_log(tmp_path, since=middle)) == 4
    assert len(read_log(tmp_path, since="2024-07-02")) == 3
    assert len(read_log(tmp_path, since=START.date(), until=datetime(2024, 7, 2))) == 4


def test_after_its_end_the_log_takes_nothing_and_counts_it(tmp_path: Path) -> None:
    """What comes too late is counted as such; closing twice is harmless."""
    log = written(tmp_path, [record(0)])
    assert not log.write([record(1), record(2)])
    log.close()
    assert adds_up(log, 3)["closed"] == 2
    assert len(read_log(tmp_path)) == 1


def test_a_place_that_cannot_be_written_is_given_up_at_the_end(tmp_path: Path) -> None:
    """A missing disk never reaches the caller, and what it cost is counted."""
    (tmp_path / "file").write_text("")
    log = written(tmp_path / "file", [record(0)])
    assert adds_up(log, 1)["place"] == 1


@pytest.mark.parametrize("own_process", [pytest.param(True, marks=POSIX), False])
def test_what_is_no_json_costs_itself_only(tmp_path: Path, own_process: bool) -> None:
    """NaN, a foreign object, a day that is a path: counted, and the neighbours are written."""
    log = PredictionLog(str(tmp_path / "log"), own_process=own_process)
    assert log.write([record(0), record(1, features={"amount": float("nan")}), record(2)])
    assert not log.write([record(3, features={"amount": object()})])
    assert log.write([record(4, ts="../../etc"), record(5, ts=None)])
    log.close()
    assert adds_up(log, 6) == {
        "written": 2, "waiting": 0, "full": 0, "invalid": 4, "place": 0, "writer": 0, "closed": 0
    }  # fmt: skip
    assert {p.name for p in tmp_path.iterdir()} == {"log"}


def test_two_writers_never_share_a_file(tmp_path: Path) -> None:
    """The same host and process id, as in two containers, still means two files."""
    for i in (-5, -4):
        assert append(str(tmp_path), [record(i)]) == (1, 0)
    assert len(list(tmp_path.rglob("*.jsonl"))) == 2
    assert len(read_log(tmp_path)) == 2


@pytest.mark.parametrize("own_process", [pytest.param(True, marks=POSIX), False])
def test_any_fsspec_place_can_hold_the_log(tmp_path: Path, own_process: bool) -> None:
    """On an object store, which cannot append, each turn is an object of its own."""
    address = f"file://{tmp_path}/log" if own_process else "memory://bucket/log"
    log = PredictionLog(address)
    assert (log._writer.__class__.__name__ == "Process") == own_process
    for i in (0, 0):
        log.write([record(i)])
        assert log.flush()
    log.close()
    assert adds_up(log, 2)["written"] == 2
    assert len(read_log(address)) == 2
    if own_process:
        assert len(list(tmp_path.rglob("*.jsonl"))) == 2


def test_without_an_address_nothing_is_written_and_nothing_read() -> None:
    """No log is a setting, not a fault, and starts no process."""
    log = PredictionLog(None)
    log.start()
    assert log.write([record(0)])
    assert log.pid is None
    log.close()
    assert (log.written, log.dropped) == (0, 0)
    frame = read_log(None)
    assert frame.empty
    assert {"ts", "arm", "scores"} <= set(frame.columns)


def test_an_unknown_kind_of_place_is_one_clear_error() -> None:
    """A mistyped address names itself and the setting."""
    with pytest.raises(DataError, match="nowhere://x"):
        read_log("nowhere://x")


FORGED = 'x"}\n{"v":1}\r\n\u2028\x85\x00\x1b[2J\ud800'


def test_a_line_is_one_line_whatever_it_carries(tmp_path: Path) -> None:
    """Line ends, controls and half characters in any text forge no second record."""
    forged = record(0, request_id=FORGED, features={FORGED: FORGED}, row=FORGED)
    written(tmp_path, [forged])
    (path,) = tmp_path.rglob("*.jsonl")
    content = path.read_bytes()
    assert content.count(b"\n") == 1 and content.isascii() and b"\x1b" not in content
    whole = FORGED.replace("\ud800", "\ufffd")
    assert json.loads(content) == {
        **forged, "request_id": whole, "features": {whole: whole}, "row": whole
    }  # fmt: skip
    frame = read_log(tmp_path)
    assert (len(frame), frame.attrs["skipped"]) == (1, 0)
    assert frame["row"].tolist() == [whole]


def test_entities_are_hashed_with_a_key_or_not_written() -> None:
    """The same customer has the same name in the log, and without a key none at all."""
    assert hash_entity(42, "secret") == hash_entity(42, "secret")
    assert hash_entity(42, "secret") != hash_entity(42, "other")
    assert hash_entity(42, None) is None
    assert hash_entity(None, "secret") is None


# ---- the pipe ----------------------------------------------------------------------------------


def test_a_message_survives_any_cut_and_one_given_up_is_left_out() -> None:
    """The pipe gives bytes as it likes; half a message before another is none."""
    large = message(b"r", 3, bytes(range(256)) * 80)
    small = message(b"a", 1, b"x")
    half = b"".join(list(pieces(large))[:2])
    stream = b"".join([*pieces(small), half, *pieces(large), *pieces(small)])
    for step in (1, 3, 4096, len(stream)):
        assembler = Assembler()
        found = [
            m for at in range(0, len(stream), step) for m in assembler.feed(stream[at : at + step])
        ]
        assert [(kind, count) for kind, count, _ in found] == [(b"a", 1), (b"r", 3), (b"a", 1)]
        assert found[1][2] == bytes(range(256)) * 80


@contextmanager
def paused(log: PredictionLog) -> Iterator[None]:
    """A writer that hangs, as one whose disk does."""
    assert log.pid is not None
    os.kill(log.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(log.pid, signal.SIGCONT)


@POSIX
def test_a_writer_that_hangs_holds_up_no_request_and_drops_are_counted(tmp_path: Path) -> None:
    """Beyond what the pipe holds records are dropped whole, at once, and the rest is written."""
    log = PredictionLog(str(tmp_path))
    log.write([record(0)])
    assert log.flush()
    many = [[record(0) for _ in range(25)] for _ in range(200)]  # 10 MB: many pieces each
    with paused(log):
        began = time.monotonic()
        taken = [log.write(records) for records in many]
        assert time.monotonic() - began < 10, "a request waited for the disk"
        counts = adds_up(log, 5001)
        assert counts["waiting"] == 25 * sum(taken)
        assert counts["full"] == 25 * (200 - sum(taken)) > 0
        assert sum(taken) > 0
    log.close()
    assert adds_up(log, 5001)["written"] == 1 + 25 * sum(taken)
    frame = read_log(tmp_path)
    assert (len(frame), frame.attrs["skipped"]) == (1 + 25 * sum(taken), 0)


@POSIX
def test_a_writer_that_is_killed_is_started_anew_and_its_loss_counted(tmp_path: Path) -> None:
    """The service goes on; what the dead writer had not written is counted to the record."""
    log = PredictionLog(str(tmp_path))
    log.write([record(0), record(0)])
    assert log.flush()
    first = log.pid
    assert first is not None
    with paused(log):
        log.write([record(1)] * 3)
        os.kill(first, signal.SIGKILL)
    until(lambda: log.counts()["writer"] == 3)
    until(lambda: log.write([record(2)]))  # not at once: a writer that always dies is no loop
    assert log.pid != first
    log.close()
    counts = log.counts()
    assert counts["written"] == 3
    assert sum(counts.values()) - counts["writer"] == 3
    assert len(read_log(tmp_path)) == 3


@POSIX
def test_signals_that_end_a_service_do_not_end_its_writer(tmp_path: Path) -> None:
    """A terminal and a supervisor send them to all; the records of the last request come after."""
    log = PredictionLog(str(tmp_path))
    log.write([record(0)])
    assert log.flush() and log.pid is not None
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(log.pid, name)
    log.write([record(1)])
    log.close()
    assert adds_up(log, 2)["written"] == 2


WORKER = """
import os, sys, time
from mainline.serve.ids import uuid7
from mainline.serve.log import PredictionLog
from mainline.serve.records import Shape
log = PredictionLog(sys.argv[1], shape=Shape("m", "sha256:00", 0.5, ("amount",)))
log.start()
os.write(1, f"{log.pid}\\n".encode())
while True:
    for size in (1, 1, 1, 40):
        ids = [uuid7() for _ in range(size)]
        rows, answers = [{"amount": 1.5, "more": "x" * 100}] * size, [([0.5], 1)] * size
        taken = log.answered(("r", "stable", None, time.time(), 1.0, ids, rows, answers))
        if taken:
            os.write(1, "".join(f"{i}\\n" for i in ids).encode())  # the answer
    time.sleep(0.001)
"""


@POSIX
@pytest.mark.parametrize("delay", [0.2, 0.5, 0.9])
def test_a_worker_killed_by_9_loses_nothing_that_it_answered(tmp_path: Path, delay: float) -> None:
    """Two workers under load, killed: every id that was given out is in the log, once."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "log")], stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        for _ in range(2)
    ]  # fmt: skip
    writers = [int((w.stdout or sys.stdin).readline()) for w in workers]
    killed = time.monotonic() + delay
    answered = []
    for worker in workers:
        time.sleep(max(0.0, killed - time.monotonic()))
        worker.send_signal(signal.SIGKILL)
        assert worker.stdout is not None
        answered += worker.stdout.read().decode().split()
        worker.wait()
    until(lambda: all(map(gone, writers)))
    frame = read_log(tmp_path / "log")
    assert len(answered) > 100
    assert set(answered) <= set(frame["prediction_id"])
    assert frame.attrs["skipped"] == 0
    # One request a worker may have been handed over and not yet answered.
    assert len(frame) - len(answered) <= 2 * 40


HELD = (
    WORKER.replace(
        "while True:", "if os.fork() == 0: os.close(1); time.sleep(300)\nfor _ in range(20):"
    )
    + "os.kill(os.getpid(), 9)"
)


@POSIX
def test_a_child_that_holds_the_pipe_open_keeps_no_writer(tmp_path: Path) -> None:
    """What the forker's code forks inherits the pipe; the writer ends with its worker anyway."""
    worker = subprocess.Popen(
        [sys.executable, "-c", HELD, str(tmp_path / "log")], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, start_new_session=True,
    )  # fmt: skip
    assert worker.stdout is not None
    writer, *answered = worker.stdout.read().decode().split()
    worker.wait()
    try:
        until(lambda: gone(int(writer)))
        assert sorted(answered) == sorted(read_log(tmp_path / "log")["prediction_id"])
    finally:
        os.killpg(worker.pid, signal.SIGKILL)


@POSIX
def test_a_forked_process_has_a_writer_of_its_own(tmp_path: Path) -> None:
    """Two processes on one pipe would mix the pieces of their messages."""
    log = PredictionLog(str(tmp_path))
    log.write([record(0)])
    child = os.fork()
    if child == 0:
        first = log.pid
        log.write([record(1)])
        log.close()
        os._exit(0 if log.written == 1 and log.pid != first else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    log.close()
    assert adds_up(log, 1)["written"] == 1
    assert len(read_log(tmp_path)) == 2


# ---- a full disk -------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system can only be mounted by root on Linux")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, leave: int) -> Path:
    """A file that leaves `leave` bytes of a full disk."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(4096)) == 4096:
                pass
        except OSError:
            pass
        stream.truncate(ballast.stat().st_size - leave)
    return ballast


@POSIX
def test_a_full_disk_loses_nothing_and_when_there_is_room_all_is_written(small_disk: Path) -> None:
    """Requests go on; what does not fit waits, its line is not torn, and it is written later."""
    ballast = fill(small_disk, leave=8192)
    log = PredictionLog(str(small_disk / "log"))
    for i in range(50):
        assert log.write([record(-i - 1)])
    until(lambda: log.counts()["written"] > 5)
    time.sleep(1.2)  # it has tried again, in vain
    counts = adds_up(log, 50)
    assert (counts["waiting"], counts["place"]) == (50 - counts["written"], 0)
    assert 5 < counts["written"] < 50
    ballast.unlink()
    assert log.flush()
    log.close()
    assert adds_up(log, 50)["written"] == 50
    frame = read_log(small_disk / "log")
    assert (len(frame), frame.attrs["skipped"]) == (50, 0)
    assert len(list(small_disk.rglob("*.jsonl"))) == 1


@POSIX
def test_beyond_the_bound_a_full_disk_costs_the_newest_and_counts_them(small_disk: Path) -> None:
    """The memory of a service is no disk: after `queue_bytes` records are dropped, not kept."""
    ballast = fill(small_disk, leave=0)
    log = PredictionLog(str(small_disk / "log"), queue_bytes=20_000)
    for i in range(200):
        log.write([record(-i - 1)])
        time.sleep(0.001)
    size = len(marshal.dumps([record(-1)], 2))
    until(lambda: log.counts()["waiting"] <= 20_000 // size)
    counts = adds_up(log, 200)
    assert counts["written"] == 0 < counts["waiting"]
    ballast.unlink()
    log.close()
    assert len(read_log(small_disk / "log")) == log.counts()["written"] == counts["waiting"]


@POSIX
def test_a_disk_that_stays_full_ends_the_writer_in_time(small_disk: Path) -> None:
    """Neither the service nor its writer hangs at the end; what was lost is counted."""
    fill(small_disk, leave=0)
    log = PredictionLog(str(small_disk / "log"), patience=0.5)
    log.write([record(0)] * 7)
    writer = log.pid
    log.close()
    assert adds_up(log, 7)["place"] == 7
    assert writer is not None and gone(writer)


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
from mainline.serve.log import PredictionLog
log = PredictionLog(sys.argv[1], own_process=False)
sys.path.insert(0, sys.argv[2])
from test_log import record
log.write([record(-i - 1) for i in range(30)])
assert not log.flush(1.5)
counts = log.counts()
assert 3 <= counts["written"] < 30 and counts["waiting"] == 30 - counts["written"], counts
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
log.close()
assert log.counts()["written"] == 30, log.counts()
"""


@POSIX
def test_a_file_that_may_not_grow_is_gone_on_with_when_it_may(tmp_path: Path) -> None:
    """The same for everybody who is not root: a limit on the size of files, then none."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "log"), str(Path(__file__).parent)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    frame = read_log(tmp_path / "log")
    assert (len(frame), frame.attrs["skipped"]) == (30, 0)


def test_a_file_that_somebody_moved_is_followed_by_a_new_one(tmp_path: Path) -> None:
    """A writer whose file was taken away under it begins another, on a whole line."""
    sink = Sink(str(tmp_path))
    for i in range(3):
        sink.put(1, b"", lambda _, i=i: [record(i - 10)])  # type: ignore[misc]
        assert sink.flush()
        for path in tmp_path.rglob("*.jsonl"):
            path.rename(path.with_suffix(".taken"))
    sink.close()
    assert sorted(p.read_bytes().count(b"\n") for p in tmp_path.rglob("*.taken")) == [1, 1, 1]
