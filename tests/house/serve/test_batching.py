"""Micro-batching: together where possible, apart where needed, refused where too much."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from mainline.serve.batching import Answer, Batcher, Overloaded, Row


class Slow:
    """Scores a row by its `x`; the first call waits until it is let go."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = threading.Event()

    def __call__(self, rows: Sequence[Row]) -> list[Answer]:
        self.sizes.append(len(rows))
        if len(self.sizes) == 1:
            assert self.go.wait(10)
        if any(row["x"] == "bad" for row in rows):
            raise ValueError("bad row")
        return [([row["x"]], 0) for row in rows]


async def queued(batcher: Batcher, slow: Slow, *requests: list[Any]) -> list[Any]:
    """The results of `requests`, sent while the first call is under way."""
    first = asyncio.ensure_future(batcher.submit([{"x": 0.0}]))
    while not slow.sizes:
        await asyncio.sleep(0.001)
    rest = [asyncio.ensure_future(batcher.submit([{"x": x} for x in r])) for r in requests]
    await asyncio.sleep(0.01)
    slow.go.set()
    results = await asyncio.gather(*rest, return_exceptions=True)
    await first
    return list(results)


def test_what_waits_is_scored_in_one_call_and_given_back_in_order() -> None:
    """Three requests that waited cost one call, and each gets its own rows."""
    slow = Slow()
    batcher = Batcher(slow)
    results = asyncio.run(queued(batcher, slow, [1.0], [2.0, 3.0], [4.0]))
    batcher.close()
    assert slow.sizes == [1, 4]
    assert results == [[([1.0], 0)], [([2.0], 0), ([3.0], 0)], [([4.0], 0)]]


def test_a_row_that_breaks_the_features_breaks_its_own_request_only() -> None:
    """Its neighbours in the batch are scored again without it."""
    slow = Slow()
    batcher = Batcher(slow)
    results = asyncio.run(queued(batcher, slow, [1.0], ["bad"], [2.0]))
    batcher.close()
    assert results[0] == [([1.0], 0)]
    assert isinstance(results[1], ValueError)
    assert results[2] == [([2.0], 0)]


def test_a_batch_has_a_largest_size() -> None:
    """More than `max_rows` waiting rows are scored in several calls."""
    slow = Slow()
    batcher = Batcher(slow, max_rows=3)
    asyncio.run(queued(batcher, slow, [1.0, 2.0], [3.0, 4.0], [5.0]))
    batcher.close()
    assert slow.sizes == [1, 2, 3]


@pytest.mark.parametrize("limits", [{"max_requests": 2}, {"max_rows": 1}])
def test_beyond_its_limit_the_queue_refuses(limits: dict[str, int]) -> None:
    """Too many waiting requests or rows is said at once, and nothing is lost of the others."""
    slow = Slow()
    batcher = Batcher(slow, **limits)
    results = asyncio.run(queued(batcher, slow, *[[1.0]] * 5))
    batcher.close()
    refused = [r for r in results if isinstance(r, Overloaded)]
    assert 1 <= len(refused) < 5
    assert batcher.waiting == 0
