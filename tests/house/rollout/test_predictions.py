"""The prediction log, followed: parity with offline answers, and pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
