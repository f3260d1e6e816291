"""What was answered: served against offline answers, and shadow against stable, from the log.

Replayed requests carry `replay-<i>-<n>` as their request id, i being the row of the offline
answers. Any request that was mirrored is logged by both models under one request id: a pair.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainline.rollout.follow import Follower, read_line
from mainline.rollout.join import Join
from mainline.rollout.spread import Moments, Spread

if TYPE_CHECKING:
    from mainline.rollout.parity import Parity

REPLAY = re.compile(r"^replay-(\d+)-\w+$")
WAITING = 20_000  # requests of which halves of pairs are remembered
MOST_ROWS = 1000  # of one request that wait for their other half
# The same row scored alone or among others may differ in the last bits of a sum, and in no more.
EXACT = 1e-9


@dataclass
class Seen:
    """Counts for one model digest: parity with offline, range of its first score, slow answers."""

    n: int = 0
    compared: int = 0
    wrong: int = 0
    low: float | None = None
    high: float | None = None

    def score(self, value: float) -> None:
        """Take one first score into the range."""
        self.n += 1
        self.low = value if self.low is None else min(self.low, value)
        self.high = value if self.high is None else max(self.high, value)


@dataclass
class Timing:
    """Answers of one arm in one generation, by the service's own clock."""

    n: int = 0
    slow: int = 0


@dataclass
class Watch:
    """Follows the prediction log; all that it knows is in `pairs`, `seen`, `timings`, `spreads`.

    `spreads` are the answers to users by generation and arm, cut at `edges`. `join` is told of each
    record. `live` is what the program of `parity` says of a sample; None where none is asked for.
    """

    folder: Path
    expected: Mapping[str, Sequence[Sequence[float]]]
    slow_ms: float
    edges: Sequence[float] = ()
    pairs: Moments = field(default_factory=Moments)
    seen: dict[str, Seen] = field(default_factory=dict)
    timings: dict[str, Timing] = field(default_factory=dict)
    spreads: dict[str, Spread] = field(default_factory=dict)
    unread: int = 0
    join: Join | None = None
    live: Parity | None = None
    _follower: Follower = field(init=False)
    _waiting: OrderedDict[str, tuple[str, list[float]]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._follower = Follower(self.folder)

    @property
    def behind(self) -> bool:
        """Whether there was more in the log than one update reads."""
        return self._follower.behind

    def skip(self) -> None:
        """Forget what is in the log already: it belongs to earlier rollouts."""
        self._follower.skip()

    def update(self) -> None:
        """Read what was logged since the last call."""
        self.take(self._follower.lines())

    def take(self, lines: Iterable[bytes]) -> None:
        """Count log lines. One that cannot be read is counted in `unread`."""
        for line in lines:
            record = read_line(line)
            if record is None:
                self.unread += 1
            elif record.get("status") in (None, 200, "ok"):
                try:
                    self._count(record)
                except (TypeError, ValueError):  # a score or a time that is no number
                    self.unread += 1

    def _count(self, record: Mapping[str, Any]) -> None:
        scores, digest = record.get("scores"), record.get("digest")
        if not isinstance(scores, list) or not scores or not isinstance(digest, str):
            self.unread += 1
            return
        arm, request = str(record.get("arm")), str(record.get("request_id"))
        first, slow = float(scores[0]), float(record.get("ms") or 0) > self.slow_ms
        timing = self.timings.setdefault(f"{record.get('generation')}/{arm}", Timing())
        timing.n += 1
        timing.slow += slow
        seen = self.seen.setdefault(digest, Seen())
        seen.score(first)
        self._compare(seen, digest, request, scores)
        if arm in ("canary", "stable"):
            spread = self.spreads.setdefault(f"{record.get('generation')}/{arm}", Spread())
            spread.add(float(scores[0]), record.get("decision"), self.edges)
        if arm in ("shadow", "stable"):
            # A request may have many rows: each of them is half of a pair.
            self._pair(arm, f"{request}/{record.get('row')}", first)
        if self.join is not None:
            self.join.record(f"{record.get('generation')}/{arm}", request)

    def _compare(self, seen: Seen, digest: str, request: str, scores: list[float]) -> None:
        answers, replayed = self.expected.get(digest), REPLAY.match(request)
        if answers is None or replayed is None or int(replayed[1]) >= len(answers):
            return
        seen.compared += 1
        seen.wrong += not same(scores, answers[int(replayed[1])])

    def _pair(self, arm: str, request: str, score: float) -> None:
        other = self._waiting.get(request)
        if other is None:
            self._waiting[request] = (arm, [score])
            if len(self._waiting) > WAITING:
                self._waiting.popitem(last=False)
        elif other[0] == arm:
            # Rows without an id of their own: the first of one log belongs to that of the other.
            if len(other[1]) < MOST_ROWS:
                other[1].append(score)
        else:
            half = other[1].pop(0)
            if not other[1]:
                del self._waiting[request]
            self.pairs.take(score - half if arm == "shadow" else half - score)

    def to_dict(self) -> dict[str, Any]:
        """What a restarted guard needs to go on; halves of pairs are forgotten."""
        return {
            "pairs": asdict(self.pairs),
            "seen": {k: asdict(v) for k, v in self.seen.items()},
            "timings": {k: asdict(v) for k, v in self.timings.items()},
            "spreads": {k: v.to_dict() for k, v in self.spreads.items()},
            "unread": self.unread,
            "places": self._follower.to_dict(),
            "join": self.join.to_dict() if self.join is not None else None,
        }

    def resume(self, document: Mapping[str, Any]) -> None:
        """Go on from what to_dict gave."""
        self.pairs = Moments(**document["pairs"])
        self.seen = {k: Seen(**v) for k, v in document["seen"].items()}
        self.timings = {k: Timing(**v) for k, v in document["timings"].items()}
        self.spreads = {k: Spread(**v) for k, v in document["spreads"].items()}
        self.unread = document["unread"]
        self._follower.resume(document["places"])
        if self.join is not None and document["join"] is not None:
            self.join.resume(document["join"])


def same(served: Sequence[float], offline: Sequence[float]) -> bool:
    """Whether two answers to one row are equal, but for the last bits of a sum."""
    return len(served) == len(offline) and all(
        abs(a - b) <= EXACT * max(1.0, abs(b)) for a, b in zip(served, offline, strict=True)
    )


def load_expected(path: Path) -> dict[str, list[list[float]]]:
    """Offline answers by model digest, row by row; empty where none were given."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return {str(k): v for k, v in document.items()}
