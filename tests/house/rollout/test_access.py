"""The access log, read as it grows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mainline.rollout.access import BURST, Tail, count, failed, percentile
from mainline.rollout.join import Join

GOOD = {"gen": "gen-3", "arm": "canary", "code": 200, "flags": "-", "ms": 5, "attempts": 1,
        "served": "127.0.0.1:9002"}  # fmt: skip
HOST = "127.0.0.1:9002"


def test_a_torn_last_line_waits_for_its_end(tmp_path: Path) -> None:
    """A line is given out once, whole, when its end has been written."""
    path = tmp_path / "log"
    tail = Tail(path)
    assert list(tail.lines()) == []
    path.write_bytes(b"one\ntw")
    assert list(tail.lines()) == [b"one"]
    with path.open("ab") as stream:
        stream.write(b"o\nthree\n")
    assert list(tail.lines()) == [b"two", b"three"]
    assert list(tail.lines()) == []


def test_a_rotated_file_is_read_to_its_end_before_the_next(tmp_path: Path) -> None:
    """What was written before the rotation and what comes after it are both seen."""
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    tail = Tail(path)
    assert list(tail.lines()) == [b"one"]
    with path.open("ab") as stream:
        stream.write(b"two\n")
    path.rename(tmp_path / "log.1")
    path.write_bytes(b"three\n")
    assert list(tail.lines()) == [b"two", b"three"]


def test_what_was_written_while_the_last_lines_were_given_out_is_not_lost(tmp_path: Path) -> None:
    """A line that came before the rotation, after the last read, is read all the same."""
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    found = []
    for line in Tail(path).lines():
        found.append(line)
        if line == b"one":
            with path.open("ab") as stream:
                stream.write(b"two\n")
            path.rename(tmp_path / "log.1")
            path.write_bytes(b"three\n")
    assert found == [b"one", b"two", b"three"]


def test_what_is_there_can_be_skipped(tmp_path: Path) -> None:
    """Only what comes later is given out, a torn line among it."""
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\nthr")
    tail = Tail(path)
    tail.skip()
    with path.open("ab") as stream:
        stream.write(b"ee\nfour\n")
    assert list(tail.lines()) == [b"three", b"four"]


def test_a_truncated_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    """A file that became shorter began again."""
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\n")
    tail = Tail(path)
    assert len(list(tail.lines())) == 2
    path.write_bytes(b"new\n")
    assert list(tail.lines()) == [b"new"]


def test_a_new_reader_goes_on_where_the_old_one_was(tmp_path: Path) -> None:
    """Inode and offset are enough to go on, and a torn line is not lost between two readers."""
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    first = Tail(path)
    assert list(first.lines()) == [b"one"]
    with path.open("ab") as stream:
        stream.write(b"o\n")
    assert list(Tail(path, first.inode, first.offset).lines()) == [b"two"]


@pytest.mark.parametrize(
    ("change", "bad"),
    [
        ({}, False),
        ({"code": 404}, False),
        ({"code": 500}, True),
        ({"code": 0, "flags": "UC"}, True),
        ({"code": 0, "flags": "DC"}, False),
        ({"attempts": 2}, True),
        ({"served": "127.0.0.1:9001"}, True),
        ({"arm": "stable", "served": "127.0.0.1:9001"}, False),
        ({"model": "b" * 12}, False),
        ({"model": None, "code": 404}, False),
        ({"model": "a" * 12}, True),
        ({"arm": "stable", "served": "127.0.0.1:9001", "model": "a" * 12}, False),
    ],
)
def test_what_is_an_error_of_the_assigned_arm(change: dict[str, object], bad: bool) -> None:
    """Retries and answers from the other model do not hide a canary that failed."""
    assert failed({**GOOD, **change}, HOST, "b" * 12) is bad


def test_counts_are_by_generation_and_arm() -> None:
    """Lines of another generation stay apart, and what cannot be read is counted as such."""
    entries = [GOOD, {**GOOD, "code": 503, "ms": 400}, {**GOOD, "arm": "stable"},
               {**GOOD, "gen": "gen-2"}, {**GOOD, "gen": "confirm"}]  # fmt: skip
    lines = [json.dumps(e).encode() for e in entries] + [b'{"gen": "gen-', b"null"]
    for wrong in ({"ms": "soon"}, {"code": [500]}, {"attempts": "two"}, {"gen": 3}):
        lines.append(json.dumps({**GOOD, **wrong}).encode())
    looks = count(lines, HOST, 250)
    canary = looks["gen-3"].arms["canary"]
    assert (canary.n, canary.errors, canary.slow, canary.slow_looks) == (2, 1, 1, 1)
    assert looks["gen-3"].arms["stable"].n == 1
    assert looks["gen-2"].arms["canary"].n == 1
    assert looks[""].unread == 6, "a line that is no number is no reason to stop looking"
    assert set(looks) == {"", "gen-2", "gen-3"}


def test_predictions_that_were_asked_for_are_told_to_the_join() -> None:
    """By generation and assigned arm; what is no prediction needs no record, nor what failed."""
    join = Join()
    entries = [{**GOOD, "id": "a", "path": "/predict"}, {**GOOD, "id": "b", "path": "/healthz"},
               {**GOOD, "id": "c", "path": "/predict", "code": 503},
               {**GOOD, "id": "d", "path": "/predict", "gen": "confirm"}]  # fmt: skip
    count([json.dumps(e).encode() for e in entries], HOST, 250, join)
    assert {k: v.asked for k, v in join.sides().items()} == {"gen-3/canary": 1}
    join.record("gen-3/canary", "a")
    assert join.total({"gen-3"}).found == 1


def test_the_other_model_behind_the_canarys_port_is_an_error() -> None:
    """What names another model was answered by another one, whatever its port."""
    lines = [json.dumps({**GOOD, "model": "a" * 12}).encode()]
    assert count(lines, HOST, 250, None, "b" * 12)["gen-3"].arms["canary"].errors == 1


def test_percentiles() -> None:
    """Nearest rank, and nothing of nothing."""
    assert percentile([], 0.5) is None
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(i) for i in range(100)], 0.99) == 99.0


def test_what_is_late_at_one_moment_counts_for_a_few() -> None:
    """A process that was held makes sixty requests late at once, which have one cause."""
    late = [{**GOOD, "arm": "canary", "ms": 400}] * 48 + [{**GOOD, "arm": "stable", "ms": 400}] * 12
    arms = count([json.dumps(e).encode() for e in late], HOST, 250)["gen-3"].arms
    assert (arms["canary"].slow, arms["stable"].slow) == (48, 12), "all of them are told"
    assert arms["canary"].witnesses == pytest.approx(0.8 * BURST)
    assert arms["stable"].witnesses == pytest.approx(0.2 * BURST)
    few = count([json.dumps(e).encode() for e in late[:3]], HOST, 250)["gen-3"].arms["canary"]
    assert few.witnesses == few.slow == 3
