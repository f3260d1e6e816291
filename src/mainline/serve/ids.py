"""Names and times in the prediction log: ids that sort by time, moments, entities by a key."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
import time
from datetime import UTC, datetime

RANDOM = (1 << 62) - 1
BLOCK = 4096  # random bytes asked for at once: a system call an id costs as much as the rest


class _Uuid7:
    """Time-ordered ids (RFC 9562, version 7): 60 bits of time that never repeat in a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._random = b""
        self._at = 0

    def __call__(self) -> str:
        ms, rest = divmod(time.time_ns(), 1_000_000)
        with self._lock:
            # Method 3 of section 6.2: the 12 bits after the milliseconds are a finer clock.
            self._last = tick = max(self._last + 1, ms << 12 | (rest << 12) // 1_000_000)
            at = self._at
            if at >= len(self._random):
                self._random, at = os.urandom(BLOCK), 0
            self._at = at + 8
            random = int.from_bytes(self._random[at : at + 8], "big") & RANDOM
        value = tick >> 12 << 80 | 7 << 76 | (tick & 0xFFF) << 64 | 2 << 62 | random
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def forget(self) -> None:
        """Throw the random bytes away: a forked child would give out those of its parent."""
        self._lock = threading.Lock()
        self._random = b""
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
