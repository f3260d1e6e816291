"""Names and times in the prediction log: ids that sort by time, moments, entities by a key."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
import time
from datetime import UTC, datetime

BLOCK = 4096  # random bytes asked for at once: a system call an id costs as much as the rest
VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class _Uuid7:
    """Time-ordered ids (RFC 9562, version 7): 60 bits of time that never repeat in a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._random = ""
        self._at = 0

    def __call__(self) -> str:
        ms, rest = divmod(time.time_ns(), 1_000_000)
        with self._lock:
            # Method 3 of section 6.2: the 12 bits after the milliseconds are a finer clock.
            self._last = tick = max(self._last + 1, ms << 12 | (rest << 12) // 1_000_000)
            at = self._at
            if at >= len(self._random):
                self._random, at = os.urandom(BLOCK).hex(), 0
            self._at = at + 16
            random = self._random[at : at + 16]
        clock = f"{tick:015x}"
        return (
            f"{clock[:8]}-{clock[8:12]}-7{clock[12:]}"
            f"-{VARIANT[random[0]]}{random[1:4]}-{random[4:]}"
        )

    def forget(self) -> None:
        """Throw the random bytes away: a forked child would give out those of its parent."""
        self._lock = threading.Lock()
        self._random = ""
        self._at = 0


uuid7 = _Uuid7()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=uuid7.forget)


def timestamp(moment: datetime) -> str:
    """`moment` as the log writes it: UTC, milliseconds, `Z`. A naive one is taken as UTC."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def hash_entity(entity: object, key: str | None) -> str | None:
    """HMAC-SHA256 of an entity, 32 hex digits; None without an entity or without a key.

    A plain hash of a customer number is undone by trying all numbers, so without a secret key
    nothing at all is written.
    """
    if entity is None or not key:
        return None
    return hmac.new(key.encode(), str(entity).encode(), hashlib.sha256).hexdigest()[:32]
