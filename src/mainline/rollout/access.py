"""Envoy's access log, read as it grows: counts by the arm that was assigned, not by who answered.

A retry that hid a failing canary, and a share that fell back to stable, are the canary's errors.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from mainline.rollout.follow import read_line
from mainline.rollout.join import Join

PREDICT = "/predict"
BURST = 5
LIMIT = 8 << 20  # bytes read in one look, so that a long pause cannot fill the memory


@dataclass
class Tail:
    """New whole lines of a growing file. A torn last line waits; a rotated file is read to its end.

    `inode` and `offset` (of the next line not yet given out) are where a new Tail may go on. The
    first look at a file that is no longer the one remembered starts at its beginning.
    """

    path: Path
    inode: int = 0
    offset: int = 0
    _stream: BinaryIO | None = None
    _torn: bytes = b""

    def lines(self) -> Iterator[bytes]:
        """All whole lines since the last call, at most about LIMIT bytes of them."""
        while True:
            if self._stream is None and not self._open():
                return
            assert self._stream is not None
            if os.fstat(self._stream.fileno()).st_size < self.offset + len(self._torn):
                self._stream.seek(0)
                self.offset, self._torn = 0, b""
            content = self._stream.read(LIMIT)
            whole, mark, torn = (self._torn + content).rpartition(b"\n")
            self._torn = torn
            self.offset += len(whole) + len(mark)
            yield from whole.split(b"\n") if whole else ()
            if len(content) == LIMIT or not self._rotated():
                return
            if content:  # more may have been written before it was rotated
                continue
            self.close()
            self.inode, self.offset = 0, 0

    def skip(self) -> None:
        """Go on behind what is there."""
        while [*self.lines()]:
            pass

    def close(self) -> None:
        """Give the file back."""
        if self._stream is not None:
            self._stream.close()
        self._stream, self._torn = None, b""

    def _open(self) -> bool:
        try:
            self._stream = self.path.open("rb")
        except FileNotFoundError:
            return False
        inode = os.fstat(self._stream.fileno()).st_ino
        if inode != self.inode:
            self.inode, self.offset = inode, 0
        self._stream.seek(self.offset)
        return True

    def _rotated(self) -> bool:
        try:
            return self.path.stat().st_ino != self.inode
        except FileNotFoundError:
            return False


@dataclass
class ArmCounts:
    """Requests of one arm: how many, how many failed, how many of those `timed` were slow.

    `slow_looks` is in how many looks there was a slow one: bursts are one event. `discount` is how
    many of the slow ones are no evidence of their own (`temper`).
    """

    n: int = 0
    errors: int = 0
    slow: int = 0
    timed: int = 0
    slow_looks: int = 0
    discount: float = 0.0

    @property
    def witnesses(self) -> float:
        """Slow requests that count as evidence."""
        return self.slow - self.discount

    def add(self, other: ArmCounts) -> None:
        """Add the counts of `other`."""
        self.n += other.n
        self.errors += other.errors
        self.slow += other.slow
        self.timed += other.timed
        self.slow_looks += other.slow_looks
        self.discount += other.discount


def temper(arms: Mapping[str, ArmCounts]) -> None:
    """Let the slow requests of one look count for BURST at most, in the arms' own proportion.

    What is late at one moment mostly has one cause, such as a process that the machine held for a
    moment. A likelihood ratio to a power below 1 is still an e-value (by Jensen's inequality), so
    what is said about errors of the judge stays true.
    """
    slow = sum(a.slow for a in arms.values())
    if slow > BURST:
        for counts in arms.values():
            counts.discount = counts.slow * (1 - BURST / slow)


@dataclass
class Look:
    """What one look at the access log found for one generation of the route."""

    arms: dict[str, ArmCounts] = field(
        default_factory=lambda: {"stable": ArmCounts(), "canary": ArmCounts()}
    )
    ms: dict[str, list[float]] = field(default_factory=lambda: {"stable": [], "canary": []})
    diverted: int = 0
    unread: int = 0


def failed(entry: Mapping[str, Any], canary: str | None, model: str | None = None) -> bool:
    """Whether this request is an error of the arm that it was assigned to.

    A status of 500 or more, no response at all, a second attempt, and (for the canary, whose host
    is `canary`) an answer that came from another host, or names another model than `model` (the
    first digits of its digest). A client's own mistake (4xx) is none, nor is a client that went
    away before the answer (flag DC alone).
    """
    code = int(entry.get("code") or 0)
    if code == 0 and entry.get("flags") == "DC":
        return False
    if code == 0 or code >= 500 or int(entry.get("attempts") or 0) > 1:
        return True
    if entry.get("arm") != "canary" or canary is None:
        return False
    other = model is not None and (entry.get("model") or model) != model
    return other or entry.get("served") != canary


def count(
    lines: Iterable[bytes],
    canary: str | None,
    slow_ms: float,
    join: Join | None = None,
    model: str | None = None,
) -> dict[str, Look]:
    """Looks by route generation (`gen-7`) from lines of the access log.

    `canary` is the host:port that the canary answers from, `model` what it calls itself in its
    X-Model-Version. Lines that cannot be read are counted under the generation "" as `unread`.
    Predictions that were asked for are told to `join`.
    """
    looks: dict[str, Look] = {}
    for line in lines:
        entry = read_line(line)
        try:
            if entry is None or not isinstance(entry.get("gen"), str):
                raise ValueError("no line of the access log")
            if _ours(entry):
                look = looks.setdefault(entry["gen"], Look())
                _count(look, entry, failed(entry, canary, model), slow_ms, canary)
                if join is not None and entry.get("path") == PREDICT:
                    key = f"{entry['gen']}/{entry['arm']}"
                    join.request(key, str(entry.get("id")), entry.get("code") == 200)
        except (TypeError, ValueError):  # a status or a time that is no number, too
            looks.setdefault("", Look()).unread += 1
    for look in looks.values():
        temper(look.arms)
    return looks


def _ours(entry: Mapping[str, Any]) -> bool:
    """Whether a client asked for this: Envoy logs what it answers by itself, too."""
    return entry["gen"].startswith("gen-") and entry.get("arm") in ("stable", "canary")


def _count(
    look: Look, entry: Mapping[str, Any], bad: bool, slow_ms: float, canary: str | None
) -> None:
    arm, ms = entry["arm"], float(entry.get("ms") or 0)
    counts = look.arms[arm]
    counts.n += 1
    counts.errors += bad
    counts.slow += ms > slow_ms
    counts.timed += 1
    counts.slow_looks = int(counts.slow > 0)
    look.ms[arm].append(ms)
    look.diverted += arm == "canary" and entry.get("served") != canary


def percentile(values: list[float], share: float) -> float | None:
    """The nearest-rank percentile (share in 0..1) of `values`; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
