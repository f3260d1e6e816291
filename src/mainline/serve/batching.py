"""Micro-batching: requests that wait at the same time are scored in one call."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
Answer = tuple[list[float], Any]  # the scores and the decision of one row
Score = Callable[[Sequence[Row]], list[Answer]]
logger = logging.getLogger("mainline.serve")


class Overloaded(Exception):
    """More is waiting than the limit allows; the caller should come back later."""


@dataclass(frozen=True)
class _Job:
    rows: Sequence[Row]
    done: asyncio.Future[list[Answer]]


class Batcher:
    """Gathers what is queued, without waiting for more, and scores it in a worker thread.

    The event loop stays free while a batch is scored; what arrives meanwhile is the next batch.
    When a batch fails each of its requests is scored alone, so that one row that breaks the
    features cannot break its neighbours.
    """

    def __init__(self, score: Score, *, max_rows: int = 1000, max_requests: int = 512) -> None:
        self._score = score
        self._max_rows = max_rows
        self._limit_rows = 4 * max_rows
        self._limit_requests = max_requests
        self._jobs: deque[_Job] = deque()
        self._lock = threading.Lock()
        self._running = False
        self.waiting = 0  # rows that are queued
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="score")

    async def submit(self, rows: Sequence[Row]) -> list[Answer]:
        """Scores and decision of each of `rows`; raises Overloaded, or what scoring raised."""
        done: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        with self._lock:
            full = len(self._jobs) >= self._limit_requests
            if full or self.waiting + len(rows) > self._limit_rows:
                raise Overloaded
            self._jobs.append(_Job(rows, done))
            self.waiting += len(rows)
            start, self._running = not self._running, True
        if start:
            self._pool.submit(self._work)
        return await done

    def close(self) -> None:
        """Finish what is queued and end the thread."""
        self._pool.shutdown(wait=True)

    def _work(self) -> None:
        while jobs := self._take():
            results = self._results(jobs)
            jobs[0].done.get_loop().call_soon_threadsafe(_deliver, jobs, results)

    def _take(self) -> list[_Job]:
        """The next batch: at least one request, at most `max_rows` rows; empty ends the thread."""
        with self._lock:
            jobs: list[_Job] = []
            count = 0
            while self._jobs and (not jobs or count + len(self._jobs[0].rows) <= self._max_rows):
                job = self._jobs.popleft()
                jobs.append(job)
                count += len(job.rows)
            self.waiting -= count
            self._running = bool(jobs)
            return jobs

    def _results(self, jobs: Sequence[_Job]) -> list[list[Answer] | Exception]:
        try:
            answers = self._score([row for job in jobs for row in job.rows])
        except Exception as error:  # the forker's code may raise anything
            if len(jobs) == 1:
                return [error]
            return [self._results([job])[0] for job in jobs]
        results: list[list[Answer] | Exception] = []
        start = 0
        for job in jobs:
            results.append(answers[start : start + len(job.rows)])
            start += len(job.rows)
        return results


def _deliver(jobs: Sequence[_Job], results: Sequence[list[Answer] | Exception]) -> None:
    for job, result in zip(jobs, results, strict=True):
        if job.done.done():  # the caller gave up
            continue
        if isinstance(result, Exception):
            job.done.set_exception(result)
        else:
            job.done.set_result(result)
