"""The access log against the prediction log: late is not lost, and memory has an end."""

from __future__ import annotations

import json

from mainline.rollout.join import GRACE, Join, Sides

STABLE, CANARY = "gen-4/stable", "gen-4/canary"


def test_each_request_has_its_record_in_whatever_order_the_logs_are_read() -> None:
    """Either log may be read first; many rows of one request are one request."""
    join = Join()
    join.request(STABLE, "a", True, now=0.0)
    join.record(STABLE, "a", now=0.1)
    join.record(STABLE, "a", now=0.1)
    join.record(CANARY, "b", now=0.2)
    join.record(CANARY, "b", now=0.2)
    join.request(CANARY, "b", True, now=0.3)
    assert join.sides(now=60.0) == {STABLE: Sides(1, 1, 0, 0), CANARY: Sides(1, 1, 0, 0)}


def test_what_is_late_is_missing_after_the_grace_and_found_when_it_comes() -> None:
    """A log file that appears late is no loss for good, whichever of the two it is."""
    join = Join()
    join.request(CANARY, "a", True, now=0.0)
    join.record(CANARY, "b", now=0.0)
    assert join.sides(now=GRACE - 0.1)[CANARY] == Sides(1, 0, 0, 0)
    assert join.sides(now=GRACE + 0.1)[CANARY] == Sides(1, 0, 1, 1)
    join.record(CANARY, "a", now=100.0)
    join.request(CANARY, "b", True, now=100.0)
    assert join.sides(now=200.0)[CANARY] == Sides(2, 2, 0, 0)


def test_a_record_that_nobody_asked_for_stays_one() -> None:
    """Another writer in the log, or a service that names its requests itself."""
    join = Join()
    for i in range(50):
        join.request(CANARY, f"asked-{i}", True, now=0.0)
        join.record(CANARY, f"other-{i}", now=0.0)
    assert join.sides(now=GRACE)[CANARY] == Sides(50, 0, 50, 50)


def test_mirrored_copies_and_failed_requests_need_no_other_half() -> None:
    """A copy is in no access log; a request without an answer may be logged, and need not be."""
    join = Join()
    join.record("gen-2/shadow", "a", now=0.0)
    join.request(STABLE, "gone", False, now=0.0)
    join.record(STABLE, "gone", now=1.0)
    join.record(STABLE, "late", now=1.0)
    join.request(STABLE, "late", False, now=2.0)
    join.request(STABLE, "failed", False, now=2.0)
    assert all(s == Sides() for s in join.sides(now=60.0).values())


def test_one_name_for_many_requests_is_held_against_the_log_once() -> None:
    """A client that sends the same request id again and again causes no hold."""
    join = Join()
    for _ in range(5):
        join.request(STABLE, "same", True, now=0.0)
    join.record(STABLE, "same", now=0.0)
    for _ in range(5):
        join.request(STABLE, "same", True, now=0.0)
        join.record(STABLE, "same", now=0.0)
    assert join.sides(now=60.0)[STABLE] == Sides(10, 10, 0, 0)


def test_memory_has_an_end_and_a_late_log_is_found_all_the_same() -> None:
    """With no record for long only numbers are kept, and they fall when the records come."""
    join = Join(most=1000)
    for i in range(20_000):
        join.request(CANARY, f"r{i}", True, now=i / 2000)
    join.sides(now=100.0)
    assert len(join._requests.late) == 1000
    assert join.sides(now=100.0)[CANARY] == Sides(20_000, 0, 20_000, 0)
    for i in range(20_000):
        join.record(CANARY, f"r{i}", now=200.0)
    assert join.sides(now=300.0)[CANARY] == Sides(20_000, 20_000, 0, 0)
    assert len(join._done) <= 500


def test_a_restarted_guard_goes_on_with_numbers() -> None:
    """Names are gone with the process; a record that comes later is not one too many."""
    join = Join()
    for name in ("a", "b"):
        join.request(CANARY, name, True, now=0.0)
    join.record(STABLE, "c", now=0.0)
    again = Join()
    again.resume(json.loads(json.dumps(join.to_dict())))
    assert again.sides(now=0.1)[CANARY] == Sides(2, 0, 2, 0)
    again.record(CANARY, "a", now=1.0)
    again.request(STABLE, "c", True, now=1.0)
    assert again.sides(now=60.0) == {CANARY: Sides(2, 1, 1, 0), STABLE: Sides(1, 1, 0, 0)}


def test_only_the_generations_asked_for_are_counted() -> None:
    """What ran before this rollout is none of its business."""
    join = Join()
    join.request("gen-1/stable", "old", True, now=0.0)
    join.request("gen-4/stable", "a", True, now=0.0)
    join.request("gen-4/canary", "b", True, now=0.0)
    assert join.total({"gen-4"}, now=60.0) == Sides(2, 0, 2, 0)
