"""The access log held against the prediction log, request by request, in bounded memory.

Each request that Envoy counted with 200 for /predict must have its record, and each record for a
user a request. Either log may be late: what has no other half waits for `GRACE` seconds, is then
counted as missing, and is found after all when its other half comes. Of halves beyond `MOST` only
the number is kept: a late other half then takes one from that number.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

GRACE = 5.0  # seconds
MOST = 50_000  # halves of each log that are remembered by name
USERS = ("stable", "canary")


@dataclass
class Sides:
    """Of one generation and arm: requests `asked` of Envoy and their records.

    `found` requests have a record. `unlogged` have none after the grace, `unseen` records have no
    request; both may still be found, and are counted then.
    """

    asked: int = 0
    found: int = 0
    unlogged: int = 0
    unseen: int = 0

    def add(self, other: Sides) -> None:
        """Add the counts of `other`."""
        self.asked += other.asked
        self.found += other.found
        self.unlogged += other.unlogged
        self.unseen += other.unseen


class _Half:
    """Requests that one log has named and the other has not: by name, in order of coming."""

    def __init__(self) -> None:
        # A plain dict takes longer to say which is its oldest, the more were taken from its front.
        self.fresh: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self.late: OrderedDict[bytes, str] = OrderedDict()
        self.nameless: dict[str, int] = {}

    def put(self, name: bytes, key: str, now: float) -> None:
        self.fresh[name] = (key, now)

    def has(self, name: bytes) -> bool:
        return name in self.fresh or name in self.late

    def take(self, name: bytes, key: str) -> bool:
        """Whether the other half of `name` was here; it is not any more."""
        if self.fresh.pop(name, None) or self.late.pop(name, None):
            return True
        if self.nameless.get(key):
            self.nameless[key] -= 1
            return True
        return False

    def age(self, now: float, most: int) -> None:
        """Let what waited for the grace be late, and forget the oldest names beyond `most`."""
        over = []
        for name, (key, at) in self.fresh.items():
            if now - at < GRACE:
                break
            over.append((name, key))
        for name, key in over:
            del self.fresh[name]
            self.late[name] = key
        while len(self.late) + len(self.fresh) > most:
            if self.late:
                key = self.late.popitem(last=False)[1]
            else:
                key = self.fresh.popitem(last=False)[1][0]
            self.nameless[key] = self.nameless.get(key, 0) + 1

    def counts(self) -> dict[str, int]:
        """How many are late, by key."""
        found = {k: n for k, n in self.nameless.items() if n}
        for key in self.late.values():
            found[key] = found.get(key, 0) + 1
        return found

    def waiting(self) -> dict[str, int]:
        """How many there are, fresh or late, by key."""
        found = self.counts()
        for key, _ in self.fresh.values():
            found[key] = found.get(key, 0) + 1
        return found


class Join:
    """Counts by key, `<generation>/<arm>` such as `gen-7/canary`; the arm is the assigned one.

    A mirrored copy (arm `shadow`) is in no access log, so its record is held against nothing.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.asked: dict[str, int] = {}
        self.found: dict[str, int] = {}
        self._requests, self._records = _Half(), _Half()
        self._done: OrderedDict[bytes, None] = OrderedDict()

    def request(self, key: str, name: str, answered: bool, now: float | None = None) -> None:
        """A line of the access log for /predict: `answered` with 200, or not.

        What was not answered may have a record (a client that went away) and needs none. A client
        that gives two requests one name has them counted, and held against the log once.
        """
        short = _name(name)
        found = short in self._done or self._records.take(short, key)
        if not answered:
            self._finish(short)
            return
        self.asked[key] = self.asked.get(key, 0) + 1
        if found or self._requests.has(short):
            self.found[key] = self.found.get(key, 0) + 1
        if found:
            self._finish(short)
        else:
            self._requests.put(short, key, time.monotonic() if now is None else now)

    def record(self, key: str, name: str, now: float | None = None) -> None:
        """A record of the prediction log; a request of many rows, or tried twice, has many."""
        if key.rpartition("/")[2] not in USERS:
            return
        short = _name(name)
        if short in self._done or self._records.has(short):
            return
        if self._requests.take(short, key):
            self.found[key] = self.found.get(key, 0) + 1
            self._finish(short)
        else:
            self._records.put(short, key, time.monotonic() if now is None else now)

    def _finish(self, short: bytes) -> None:
        # The records of its other rows come right behind.
        self._done[short] = None
        if len(self._done) > self.most // 2:
            self._done.popitem(last=False)

    def sides(self, now: float | None = None) -> dict[str, Sides]:
        """What is known now, by key."""
        now = time.monotonic() if now is None else now
        self._requests.age(now, self.most)
        self._records.age(now, self.most)
        unlogged, unseen = self._requests.counts(), self._records.counts()
        return {
            key: Sides(self.asked.get(key, 0), self.found.get(key, 0), unlogged.get(key, 0),
                       unseen.get(key, 0))
            for key in {**self.asked, **unlogged, **unseen}
        }  # fmt: skip

    def total(self, generations: Collection[str], now: float | None = None) -> Sides:
        """All sides of these generations (`gen-7`) together."""
        whole = Sides()
        for key, found in self.sides(now).items():
            if key.rpartition("/")[0] in generations:
                whole.add(found)
        return whole

    def to_dict(self) -> dict[str, Any]:
        """What a restarted guard needs to go on: numbers without names."""
        halves = {"requests": self._requests.waiting(), "records": self._records.waiting()}
        return {"asked": self.asked, "found": self.found, **halves}

    def resume(self, document: Mapping[str, Any]) -> None:
        """Go on from what to_dict gave. Halves that wait lost their names, and count as late."""
        self.asked, self.found = dict(document["asked"]), dict(document["found"])
        self._requests, self._records = _Half(), _Half()
        self._requests.nameless = dict(document["requests"])
        self._records.nameless = dict(document["records"])


def document(found: Mapping[str, Sides]) -> dict[str, dict[str, int]]:
    """`found` for the record."""
    return {key: asdict(sides) for key, sides in found.items()}


def _name(request: str) -> bytes:
    # Eight bytes for an id of any length; two of 50,000 meet once in ten billion rollouts.
    return hashlib.blake2b(request.encode("utf-8", "replace"), digest_size=8).digest()
