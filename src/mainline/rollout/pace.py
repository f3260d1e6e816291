"""How many requests a second come of late, from counts of an access log as it grows."""

from __future__ import annotations

import time
from collections import deque

WINDOW = 300.0  # seconds that count as of late
LEAST = 10.0  # seconds without which nothing is said


class Pace:
    """Counts of the last WINDOW seconds. `before` is said until there is something to say."""

    def __init__(self, before: float | None = None, now: float | None = None) -> None:
        self.before = before
        self.began = time.monotonic() if now is None else now
        self.counts: deque[tuple[float, int]] = deque()
        self.first = True

    def add(self, n: int, now: float | None = None) -> None:
        """`n` requests were found in the log since the last call.

        Those of the first call are left out: they may have come at any time before.
        """
        now = time.monotonic() if now is None else now
        if self.first:
            self.first, self.began = False, now
            return
        if n:
            self.counts.append((now, n))
        while self.counts and now - self.counts[0][0] > WINDOW:
            self.counts.popleft()

    def rate(self, now: float | None = None) -> float | None:
        """Requests a second, None where nobody knows."""
        now = time.monotonic() if now is None else now
        seconds = min(WINDOW, now - self.began)
        if self.first or seconds < LEAST:
            return self.before
        return sum(n for at, n in self.counts if now - at <= WINDOW) / seconds
