"""The prediction log, followed: parity with offline answers, and pairs."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from mainline.rollout.follow import last_records
from mainline.rollout.join import Join, Sides
from mainline.rollout.predictions import Watch, same

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def line(request: str, arm: str, digest: str, score: float, **more: object) -> bytes:
    record = {"request_id": request, "row": 0, "arm": arm, "digest": digest, "scores": [score],
              "ms": 3.0, "generation": "gen-2", "status": 200, **more}  # fmt: skip
    return json.dumps(record).encode()


def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path, {A: [[0.1], [0.2]], B: [[0.3], [0.4]]}, 250)


def test_served_answers_are_held_against_the_offline_ones(tmp_path: Path) -> None:
    """Only replayed requests of models with offline answers are compared."""
    found = watch(tmp_path)
    found.take([
        line("replay-0-1", "stable", A, 0.1), line("replay-1-2", "canary", B, 0.4),
        line("replay-0-3", "canary", B, 0.7), line("someone", "canary", B, 0.7),
        line("replay-9-4", "canary", B, 0.7),
    ])  # fmt: skip
    assert (found.seen[A].compared, found.seen[A].wrong) == (1, 0)
    assert (found.seen[B].compared, found.seen[B].wrong) == (2, 1)
    assert found.seen[B].n == 4


def test_pairs_are_shadow_less_stable_in_either_order(tmp_path: Path) -> None:
    """The two logs may be read in any order; rows of one request are paired one by one."""
    found = watch(tmp_path)
    found.take([
        line("x", "stable", A, 0.1), line("x", "shadow", B, 0.4),
        line("y", "shadow", B, 0.5), line("y", "stable", A, 0.3),
        line("z", "stable", A, 0.1, row=0), line("z", "shadow", B, 0.9, row=1),
    ])  # fmt: skip
    assert found.pairs.n == 2
    assert found.pairs.mean == pytest.approx(0.25)
    assert found.timings["gen-2/shadow"].n == 3


def test_a_row_may_be_named_by_its_own_id(tmp_path: Path) -> None:
    """The log's `row` is whatever the table calls its rows."""
    found = watch(tmp_path)
    found.take([line("x", "stable", A, 0.1, row="t-7"), line("x", "shadow", B, 0.1, row="t-7")])
    assert found.pairs.n == 1


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    """A damaged line is no prediction and no secret."""
    found = watch(tmp_path)
    found.take([b"{", b'{"scores": [], "digest": "x"}', line("x", "stable", A, 0.1)])
    assert found.unread == 2


def test_a_watch_goes_on_where_it_was(tmp_path: Path) -> None:
    """Counts and offsets survive the process; what was there before a rollout is skipped."""
    day = tmp_path / "date=2026-01-01"
    day.mkdir()
    log = day / "h-1-0.jsonl"
    log.write_bytes(line("replay-0-1", "stable", A, 0.1) + b"\n")
    first = watch(tmp_path)
    first.skip()
    with log.open("ab") as stream:
        stream.write(line("replay-1-2", "stable", A, 0.2) + b"\n")
    first.update()
    assert first.seen[A].n == 1
    second = watch(tmp_path)
    second.resume(json.loads(json.dumps(first.to_dict())))
    second.update()
    assert second.to_dict() == first.to_dict()


def test_answers_are_the_same_to_the_last_bits_of_a_sum() -> None:
    """A difference that a sum's order may make is none; any other is one."""
    assert same([0.1 + 0.2], [0.3])
    assert not same([0.3000001], [0.3])
    assert not same([0.3], [0.3, 0.7])


def write(path: Path, *lines: bytes, end: bytes = b"\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        stream.write(b"\n".join(lines) + end)


def scores(count: int, start: int = 0) -> list[bytes]:
    return [line(f"r{i}", "stable", A, i / 1000) for i in range(start, start + count)]


def seen(found: Watch) -> int:
    found.update()
    return found.seen[A].n if A in found.seen else 0


def test_a_torn_last_line_waits_for_its_rest(tmp_path: Path) -> None:
    """Half a record is none, and is no unreadable one either; its other half makes it whole."""
    found, log = watch(tmp_path), tmp_path / "date=2026-01-01" / "h-1-1.jsonl"
    whole = line("x", "stable", A, 0.25)
    write(log, *scores(2), whole[:50], end=b"")
    assert (seen(found), found.unread) == (2, 0)
    write(log, whole[50:])
    assert (seen(found), found.unread) == (3, 0)


def test_a_renamed_file_is_read_to_its_end_and_not_again(tmp_path: Path) -> None:
    """Rotated between two looks: what was not read yet is, under whatever name."""
    found, log = watch(tmp_path), tmp_path / "date=2026-01-01" / "h-1-1.jsonl"
    write(log, *scores(5))
    assert seen(found) == 5
    write(log, *scores(3, 5))
    log.rename(log.with_name("h-1-1.jsonl.1"))
    write(log, *scores(2, 8))
    assert seen(found) == 10
    log.with_name("h-1-1.jsonl.1").rename(log.with_name("h-1-1.2.jsonl"))
    assert seen(found) == 10


def test_a_copied_and_truncated_file_is_not_counted_twice(tmp_path: Path) -> None:
    """The other way to rotate: the copy goes on where the file was read to."""
    found, log = watch(tmp_path), tmp_path / "date=2026-01-01" / "h-1-1.jsonl"
    write(log, *scores(5))
    assert seen(found) == 5
    write(log, *scores(3, 5))
    log.with_name("h-1-1.jsonl.1").write_bytes(log.read_bytes())
    log.write_bytes(b"")
    write(log, *scores(2, 8))
    assert seen(found) == 10


def test_a_file_that_appears_late_and_a_folder_that_was_deleted(tmp_path: Path) -> None:
    """No folder yet is no error; files of other writers and days are found; one that is gone is."""
    found = watch(tmp_path / "log")
    found.skip()
    assert seen(found) == 0
    write(tmp_path / "log" / "date=2026-01-01" / "h-1-1.jsonl", *scores(4))
    assert seen(found) == 4
    shutil.rmtree(tmp_path / "log")
    assert seen(found) == 4
    write(tmp_path / "log" / "date=2026-01-02" / "h-2-1.jsonl", *scores(3, 4))
    assert seen(found) == 7
    # Days that are over are looked at now and then.
    write(tmp_path / "log" / "date=2025-12-30" / "h-3-1.jsonl", *scores(1, 7))
    for day in ("2026-01-03", "2026-01-04"):
        write(tmp_path / "log" / f"date={day}" / "h-4-1.jsonl", *scores(1, int(day[-1]) + 10))
    assert [seen(found) for _ in range(25)][-1] == 10


def test_another_file_in_the_place_of_one_is_read_from_its_beginning(tmp_path: Path) -> None:
    """An inode may be given to a new file, which is longer than the old one was."""
    found, log = watch(tmp_path), tmp_path / "date=2026-01-01" / "h-1-1.jsonl"
    write(log, *scores(2))
    assert seen(found) == 2
    log.write_bytes(b"\n".join(scores(6, 100)) + b"\n")
    assert seen(found) == 8


def test_rows_of_one_request_without_ids_are_paired_in_their_order(tmp_path: Path) -> None:
    """The n-th answer of one model belongs to the n-th of the other, however they come."""
    found = watch(tmp_path)
    stable = [line("x", "stable", A, s, row=None) for s in (0.1, 0.5, 0.9)]
    shadow = [line("x", "shadow", B, s, row=None) for s in (0.2, 0.6, 1.0)]
    found.take([stable[0], stable[1], shadow[0], stable[2], shadow[1], shadow[2]])
    assert found.pairs.n == 3
    assert found.pairs.mean == pytest.approx(0.1)
    assert found.pairs.sd == pytest.approx(0.0, abs=1e-6)


def test_a_score_or_a_time_that_is_no_number_is_unread(tmp_path: Path) -> None:
    """Another writer's record must not stop the guard."""
    found = watch(tmp_path)
    found.take([
        line("x", "stable", A, "much"), line("x", "stable", A, 0.1, ms="soon"),  # type: ignore[arg-type]
        line("x", "stable", A, None), b"[1]", b"\xff",  # type: ignore[arg-type]
    ])  # fmt: skip
    assert found.unread == 5 and found.pairs.n == 0


def test_the_join_is_told_of_each_record(tmp_path: Path) -> None:
    """By generation and assigned arm."""
    found = watch(tmp_path)
    found.join = Join()
    found.join.request("gen-2/stable", "x", True, now=0.0)
    found.take([line("x", "stable", A, 0.1), line("y", "canary", B, 0.1)])
    sides = found.join.sides(now=time.monotonic() + 60)
    assert sides == {"gen-2/stable": Sides(1, 1, 0, 0), "gen-2/canary": Sides(0, 0, 0, 1)}


def test_the_last_rows_that_users_asked_for(tmp_path: Path) -> None:
    """Of one model, the newest, in their order; copies, other models and torn lines are not."""
    log = tmp_path / "date=2026-01-01" / "h-1-1.jsonl"
    write(log, *scores(300), line("s", "shadow", A, 0.1), line("b", "stable", B, 0.1))
    write(log, *scores(100, 300), b'{"torn": ', end=b"")
    found = last_records(tmp_path, A, 150)
    assert [r["request_id"] for r in found] == [f"r{i}" for i in range(250, 400)]
    assert len(last_records(tmp_path, A, 1000)) == 400
    assert last_records(tmp_path / "none", A, 10) == []
