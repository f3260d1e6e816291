"""The prediction log: what is written, what is dropped, what is read back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mainline.errors import DataError
from mainline.serve.log import (
    PredictionLog,
    encode,
    hash_entity,
    read_log,
    timestamp,
    uuid7,
)

START = datetime(2024, 7, 1, 23, 59, tzinfo=UTC)


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
    log = PredictionLog(str(folder), every=0.01)
    log.write(records)
    log.close()
    return log


def test_ids_are_version_7_and_sort_by_time_of_making() -> None:
    """Ids sort as they were made, carry the variant and version of RFC 9562 and the time."""
    before = datetime.now(UTC).timestamp() * 1000
    ids = [uuid7() for _ in range(5000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {i[14] for i in ids} == {"7"}
    assert {i[19] for i in ids} <= set("89ab")
    assert abs(int(ids[0].replace("-", "")[:12], 16) - before) < 5000


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


def test_each_record_goes_into_the_folder_of_its_day(tmp_path: Path) -> None:
    """A request after midnight is in the next day's folder, in a file of this process."""
    written(tmp_path, [record(0), record(1)])
    assert [p.parent.name for p in sorted(tmp_path.rglob("*.jsonl"))] == [
        "date=2024-07-01",
        "date=2024-07-02",
    ]


def test_a_torn_last_line_costs_that_line_only(tmp_path: Path) -> None:
    """A process killed while it wrote leaves half a line; the rest is read, the half counted."""
    written(tmp_path, [record(i - 10) for i in range(5)])
    (path,) = tmp_path.rglob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-40])
    frame = read_log(tmp_path)
    assert len(frame) == 4
    assert frame.attrs["skipped"] == 1


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


def test_beyond_its_bound_the_log_drops_and_counts(tmp_path: Path) -> None:
    """A log that cannot keep up costs records, never a request."""
    log = PredictionLog(str(tmp_path), limit=3, every=60)
    assert log.write([record(0), record(1)])
    assert not log.write([record(2), record(3)])
    assert log.write([record(4)])
    log.close()
    assert (log.written, log.dropped) == (3, 2)
    assert not log.write([record(5)])
    assert len(read_log(tmp_path)) == 3


def test_a_place_that_cannot_be_written_drops_and_counts(tmp_path: Path) -> None:
    """A full or missing disk never reaches the caller; a record that is no JSON neither."""
    (tmp_path / "file").write_text("")
    log = written(tmp_path / "file", [record(0)])
    assert (log.written, log.dropped) == (0, 1)
    log = written(tmp_path / "log", [record(0), record(1, features={"amount": float("nan")})])
    assert (log.written, log.dropped) == (1, 1)


def test_two_writers_never_share_a_file(tmp_path: Path) -> None:
    """The same host and process id, as in two containers, still means two files."""
    written(tmp_path, [record(-5)])
    written(tmp_path, [record(-4)])
    assert len(list(tmp_path.rglob("*.jsonl"))) == 2
    assert len(read_log(tmp_path)) == 2


def test_any_fsspec_place_can_hold_the_log() -> None:
    """On an object store, which cannot append, each turn is an object of its own."""
    log = PredictionLog("memory://bucket/log", every=60)
    for i in (0, 0):
        log.write([record(i)])
        log.flush()
    log.close()
    assert log.dropped == 0
    assert len(read_log("memory://bucket/log")) == 2


def test_without_an_address_nothing_is_written_and_nothing_read() -> None:
    """No log is a setting, not a fault."""
    log = PredictionLog(None)
    assert log.write([record(0)])
    log.close()
    assert (log.written, log.dropped) == (0, 0)
    frame = read_log(None)
    assert frame.empty
    assert {"ts", "arm", "scores"} <= set(frame.columns)


def test_an_unknown_kind_of_place_is_one_clear_error() -> None:
    """A mistyped address names itself and the setting."""
    with pytest.raises(DataError, match="nowhere://x"):
        read_log("nowhere://x")


def test_a_line_is_one_line_whatever_it_carries() -> None:
    """A request id with a line end in it cannot forge a second record."""
    line = encode(record(0, request_id='x"}\n{"v":1}\u2028'))
    assert line.count(b"\n") == 1
    assert json.loads(line)["request_id"] == 'x"}\n{"v":1}\u2028'


def test_entities_are_hashed_with_a_key_or_not_written() -> None:
    """The same customer has the same name in the log, and without a key none at all."""
    assert hash_entity(42, "secret") == hash_entity(42, "secret")
    assert hash_entity(42, "secret") != hash_entity(42, "other")
    assert hash_entity(42, None) is None
    assert hash_entity(None, "secret") is None
