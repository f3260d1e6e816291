"""How a model's answers lie: counts of first scores in bins and of decisions, and their moments."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

BINS = 10
MOST_DECISIONS = 50  # a regression decides on a number, which is no class to be counted


@dataclass
class Moments:
    """The number of values, their sum and their sum of squares."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def take(self, value: float) -> None:
        """Take one value."""
        self.n += 1
        self.total += value
        self.squares += value * value

    @property
    def mean(self) -> float:
        """The mean; 0 of nothing."""
        return self.total / self.n if self.n else 0.0

    @property
    def sd(self) -> float:
        """The standard deviation; 0 of fewer than two."""
        if self.n < 2:
            return 0.0
        return math.sqrt(max(0.0, (self.squares - self.n * self.mean**2) / (self.n - 1)))


@dataclass
class Spread(Moments):
    """Answers counted one by one: the moments of their scores, their range, and their parts.

    `bins` (k + 1,) counts scores by the `edges` (k,) given to `add`; `decided` counts decisions by
    their text, and is None when there were too many different ones.
    """

    low: float | None = None
    high: float | None = None
    bins: list[int] = field(default_factory=list)
    decided: dict[str, int] | None = field(default_factory=dict)

    def add(self, score: float, decision: object = None, edges: Sequence[float] = ()) -> None:
        """Count one answer; `edges` must be the same at each call."""
        self.take(score)
        if self.low is None or score < self.low:
            self.low = score
        if self.high is None or score > self.high:
            self.high = score
        if edges:
            if not self.bins:
                self.bins = [0] * (len(edges) + 1)
            self.bins[bisect.bisect_right(edges, score)] += 1
        if decision is not None and self.decided is not None:
            name = str(decision)
            self.decided[name] = self.decided.get(name, 0) + 1
            if len(self.decided) > MOST_DECISIONS:
                self.decided = None

    def to_dict(self) -> dict[str, Any]:
        """For the record; `Spread(**document)` is this one again."""
        return asdict(self)


def cuts(scores: Sequence[float]) -> list[float]:
    """At most BINS - 1 edges that cut `scores` into parts as equal as ties let them be.

    Each lies half-way between two scores: the last bits of a sum put none on its other side.
    """
    ordered = sorted(scores)
    found = set()
    for i in range(1, BINS if ordered else 1):
        value = ordered[len(ordered) * i // BINS]
        before = bisect.bisect_left(ordered, value) - 1
        if before >= 0:
            found.add((ordered[before] + value) / 2)
    return sorted(found)


def recorded(
    new: Sequence[float],
    old: Sequence[float],
    decisions: tuple[Sequence[object], Sequence[object]] | None = None,
) -> dict[str, Any]:
    """What `limits["recorded"]` keeps of two models' first scores (rows,) on the same rows.

    `decisions` are those of (new, old). The document is what facts.Recorded.read takes.
    """
    gaps = [a - b for a, b in zip(new, old, strict=True)]
    mean = sum(gaps) / len(gaps)
    sd = math.sqrt(sum((g - mean) ** 2 for g in gaps) / max(1, len(gaps) - 1))
    edges = cuts([*new, *old])
    said_new, said_old = decisions or ((), ())
    first, second = _counted(new, said_new, edges), _counted(old, said_old, edges)
    return {
        "mean": mean, "sd": sd, "rows": len(gaps), "edges": edges,
        "new": [n / len(gaps) for n in first.bins], "old": [n / len(gaps) for n in second.bins],
        "decided": _shares(first.decided, second.decided, len(gaps)),
    }  # fmt: skip


def _counted(
    scores: Sequence[float], decisions: Sequence[object], edges: Sequence[float]
) -> Spread:
    found = Spread()
    for i, score in enumerate(scores):
        found.add(score, decisions[i] if len(decisions) else None, edges)
    return found


def _shares(
    new: Mapping[str, int] | None, old: Mapping[str, int] | None, rows: int
) -> dict[str, list[float]]:
    if not new or not old:
        return {}
    return {k: [new.get(k, 0) / rows, old.get(k, 0) / rows] for k in sorted({*new, *old})}
