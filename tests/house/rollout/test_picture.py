"""The picture of a rollout is drawn from its record alone, whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainline.errors import MainlineError
from mainline.rollout import picture
from mainline.rollout.course import count, course


def look(t: float, stage: str, weight: int, e: float = 1.0, **bad: int) -> dict[str, Any]:
    """One look of the guard, as history.jsonl keeps it."""
    nothing = {"stable": 0, "canary": 0}
    return {
        "t": t, "event": "look", "stage": stage, "weight": weight,
        "n": {"stable": 90, "canary": 10}, "errors": nothing | bad,
        "slow": nothing, "e": {"errors": e, "latency": 1.0},
        "total": {"stable": 90 * t, "canary": 10 * t},
    }  # fmt: skip


RECORD: list[dict[str, Any]] = [
    {
        "t": 0,
        "event": "started",
        "version": "card-fraud@v1.1.0",
        "plan": "The plan is canary",
        "weight": 0,
    },
    {"t": 1, "event": "stage", "stage": "shadow", "weight": 0},
    *[look(1 + k / 4, "shadow", 0) for k in range(8)],
    {"t": 3, "event": "verdict", "verdict": "PASS", "stage": "shadow", "weight": 0},
    {"t": 3.1, "event": "stage", "stage": "canary-50", "weight": 50},
    *[look(3.1 + k / 4, "canary-50", 50, 1.5**k, canary=k % 2) for k in range(8)],
    {"t": 5, "event": "paused", "by": "a person"},
    {"t": 6, "event": "resumed", "by": "a person"},
    {"t": 6.5, "event": "promoted", "stage": "promote", "weight": 0},
    {"t": 9, "event": "rolled-back", "weight": 0, "reason": "it cost $5 and $6 <b>more</b>"},
]


def test_the_share_follows_each_change_up_to_a_rollback_after_all() -> None:
    """A promotion is 100%, and one that is taken back ends at 0, though its state says weight 0."""
    found = course(RECORD)
    assert found is not None
    assert found.weights == [(0, 0.0), (3.1, 50.0), (6.5, 100.0), (9, 0.0)]
    assert (found.ended, found.end) == ("promoted", 6.5)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_record_is_the_same_picture(tmp_path: Path, suffix: str) -> None:
    """Bytes depend on the record alone, so that a picture in Git changes with its run only."""
    first, second = (picture.draw(RECORD, tmp_path / f"{n}{suffix}") for n in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert len(first.read_bytes()) < 200_000


def test_it_says_what_happened() -> None:
    """Stages, endings, the pause and the reason are written; none is taken for a formula."""
    found = course(RECORD)
    assert found is not None
    figure = picture.drawn(found)
    share = figure.axes[0]
    words = [t.get_text() for t in (*figure.texts, *share.texts)]
    assert words[0] == (
        "card-fraud@v1.1.0: promoted after 6.5 seconds, rolled back after 9.0 seconds"
    )
    assert words[1:3] == ["The plan is canary", "it cost $5 and $6 <b>more</b>"]
    assert {"shadow", "canary-50", "promoted", "rolled back", "paused"} <= set(words)
    assert not any(t.get_parse_math() for t in figure.texts if "$" in t.get_text())


@pytest.mark.parametrize(
    "record",
    [
        [{"t": 0, "event": "first", "version": "v1.0.0"}],
        [*RECORD[:2]],
        [*RECORD[:2], {"t": 3, "event": "look"}],
        [*RECORD[:6], {"t": 2.6, "event": "paused"}],
        [*RECORD[:3], {"t": 4e6, "event": "settled"}],
        [*RECORD[:2], {**look(2, "shadow", 0), "e": {"errors": None}, "n": 5, "total": "x"}],
        [{"event": "look"}, 7, *RECORD, {"t": 9.5, "event": ["odd"]}],
    ],
    ids=["first", "begun", "empty look", "still paused", "weeks", "odd look", "odd lines"],
)
def test_any_record_is_drawn(tmp_path: Path, record: list[Any]) -> None:
    """A record that broke off, or holds what nobody expects, is drawn as far as it goes."""
    assert picture.draw(record, tmp_path / "a.png").stat().st_size > 1000


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    """No rollout, another version, and a file that is no picture end with a sentence."""
    for record, name, version in (([], "a.svg", ""), (RECORD, "a.txt", "")):
        with pytest.raises(MainlineError, match=r"no rollout|no picture"):
            picture.draw(record, tmp_path / name, version)
    assert not list(tmp_path.iterdir())


def test_the_record_of_a_target_is_what_is_drawn(tmp_path: Path) -> None:
    """Lines as they stand in history.jsonl are drawn, of the version that was asked for."""
    lines = [json.dumps(e) for e in (*RECORD, {**RECORD[0], "t": 20, "version": "x@v2.0.0"})]
    record = [json.loads(line) for line in lines]
    earlier, last = course(record, "v1.1.0"), course(record)
    assert earlier is not None and last is not None
    assert (len(earlier.looks), len(last.looks)) == (16, 0)


def test_a_look_after_a_long_pause_is_spread_over_it() -> None:
    """What came in over five seconds is not drawn as if all of it had come in the last half."""
    edges, at = np.linspace(0, 6, 13), np.array([0.5, 1.0, 6.0])
    bins = picture._spread(edges, at, np.array([1.0, 2.0, 50.0]), 0.5)
    assert bins.sum() == 53
    assert bins[:2].tolist() == [1.0, 2.0]
    assert np.allclose(bins[2:], 5.0)


def test_after_a_promotion_the_requests_are_the_new_versions() -> None:
    """The guard counts a promoted version as stable, which it is; in the picture it goes on."""
    promoted = {**look(7, "promoted", 100), "n": {"stable": 400, "canary": 0}}
    assert (count(promoted, "n", "canary"), count(promoted, "n", "stable")) == (400, 0)
    assert count(look(4, "canary-50", 50), "n", "canary") == 10
