"""The prediction log, followed as it grows: each whole line once, whatever becomes of its files.

A file is known by its inode and by a digest of its first bytes, not by its name: one that was
renamed or copied is gone on with, one that was truncated or whose inode was given to another is
begun anew. A torn last line waits for its rest, and a file that appears late is read from its
beginning.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

LIMIT = 8 << 20  # bytes read in one pass, so that a long pause cannot fill the memory
HEAD = 128  # bytes that tell one file from another: the first prediction id is among them
FULL_TURN = 20  # days that are over are looked at this seldom
RECENT_DAYS = 2


@dataclass
class Place:
    """How far a file was read: `offset` of the next line, and a digest of its first `head` bytes.

    `size` and `changed` (ns) are those at the last look: with the same ones there is nothing new.
    """

    offset: int = 0
    head: int = 0
    mark: str = ""
    size: int = -1
    changed: int = -1


class Follower:
    """New whole lines of all files `date=*/*.jsonl*` below `folder`, which need not be there yet.

    `behind` says whether the last pass left something unread; `failed` counts files that could
    not be opened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.behind = False
        self.failed = 0
        self._places: dict[int, Place] = {}
        self._turn = 0

    def skip(self) -> None:
        """Forget what is in the log already: it belongs to earlier rollouts."""
        for path in self._files():
            try:
                with path.open("rb") as stream:
                    status = os.fstat(stream.fileno())
                    head = stream.read(HEAD)
                    # A torn last line is a prediction of now: it is read when it is whole.
                    whole = _after_last_line(stream, status.st_size)
            except OSError:
                continue
            place = Place(whole, len(head), _digest(head))
            self._places[status.st_ino] = place

    def lines(self) -> Iterator[bytes]:
        """All whole lines since the last call, at most about LIMIT bytes of them."""
        left, self.behind = LIMIT, False
        # Before any of them is changed: a file may have been copied and then truncated.
        marks = {p.mark: p.offset for p in self._places.values() if p.head == HEAD}
        for path in self._files():
            try:
                content = self._read(path, left, marks)
            except FileNotFoundError:  # compacted meanwhile
                continue
            except OSError:
                self.failed += 1
                self.behind = True
                continue
            left -= len(content)
            if content:
                yield from content.removesuffix(b"\n").split(b"\n")
            if left <= 0:
                self.behind = True
                return

    def _read(self, path: Path, limit: int, marks: Mapping[str, int]) -> bytes:
        """The whole lines of one file that are new, at most `limit` bytes."""
        status = path.stat()
        known = self._places.get(status.st_ino)
        if known and (known.size, known.changed) == (status.st_size, status.st_mtime_ns):
            return b""
        with path.open("rb") as stream:
            head = stream.read(HEAD)
            place = self._place(known, head, status.st_size, marks)
            self._places[status.st_ino] = place
            stream.seek(place.offset)
            content = stream.read(limit)
        whole = content[: content.rfind(b"\n") + 1]
        if not whole and len(content) >= LIMIT:
            whole = content  # no line of ours is so long
        place.offset += len(whole)
        if len(content) < limit:
            place.size, place.changed = status.st_size, status.st_mtime_ns
        else:
            self.behind = True
        return whole

    def _place(
        self, known: Place | None, head: bytes, size: int, marks: Mapping[str, int]
    ) -> Place:
        """Where to go on in a file that begins with `head`."""
        offset = 0
        if known and size >= known.offset and _digest(head[: known.head]) == known.mark:
            offset = known.offset
        elif len(head) == HEAD and size >= marks.get(_digest(head), size + 1):
            offset = marks[_digest(head)]
        return Place(offset, len(head), _digest(head))

    def _files(self) -> list[Path]:
        self._turn += 1
        try:
            days = sorted(d.name for d in os.scandir(self.folder) if d.name.startswith("date="))
        except OSError:
            return []
        if self._turn % FULL_TURN != 1:
            days = days[-RECENT_DAYS:]
        found = []
        for day in days:
            try:
                names = sorted(f.name for f in os.scandir(self.folder / day))
            except OSError:
                continue
            found += [self.folder / day / n for n in names if ".jsonl" in n and n[0] != "."]
        return found

    def to_dict(self) -> dict[str, Any]:
        """What another process needs to go on: offset, bytes and digest of the head, by inode."""
        return {str(i): [p.offset, p.head, p.mark] for i, p in self._places.items()}

    def resume(self, document: Mapping[str, Any]) -> None:
        """Go on from what to_dict gave."""
        self._places = {
            int(i): Place(int(offset), int(head), str(mark))
            for i, (offset, head, mark) in document.items()
        }


def read_line(line: bytes) -> dict[str, Any] | None:
    """One line of a log, or None when it is no JSON object. Three times as fast as `json`."""
    try:
        found = from_json(line, allow_inf_nan=False)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def last_records(folder: Path, digest: str, count: int) -> list[dict[str, Any]]:
    """The last `count` records of the model `digest` that users got (arm `stable`), oldest first.

    Read backwards from the newest file on, so that a long log costs no more than a short one.
    """
    found: list[dict[str, Any]] = []
    wanted = digest.encode()
    files = sorted(folder.glob("date=*/*.jsonl*"), key=_changed, reverse=True)
    for path in files:
        for line in _backwards(path):
            # Most lines of other models need not be read to be known.
            record = read_line(line) if wanted in line else None
            if record and record.get("digest") == digest and record.get("arm") == "stable":
                found.append(record)
                if len(found) >= count:
                    return found[::-1]
    return found[::-1]


def _changed(path: Path) -> tuple[int, str]:
    try:
        return path.stat().st_mtime_ns, path.name
    except OSError:
        return 0, path.name


def _backwards(path: Path, chunk: int = 1 << 18) -> Iterator[bytes]:
    """The whole lines of a file, last first; of one that cannot be read, none."""
    try:
        with path.open("rb") as stream:
            at = stream.seek(0, os.SEEK_END)
            rest, torn = b"", True
            while at:
                size = min(chunk, at)
                at -= size
                stream.seek(at)
                rest, *lines = (stream.read(size) + rest).split(b"\n")
                # What stands behind the last line end is empty, or torn.
                yield from (lines[-2::-1] if torn and lines else lines[::-1])
                torn = torn and not lines
            if rest and not torn:
                yield rest
    except OSError:
        return


def _after_last_line(stream: BinaryIO, size: int, chunk: int = 1 << 16) -> int:
    at = size
    while at:
        step = min(chunk, at)
        stream.seek(at - step)
        found = stream.read(step).rfind(b"\n")
        if found >= 0:
            return at - step + found + 1
        at -= step
    return 0


def _digest(head: bytes) -> str:
    return hashlib.sha256(head).hexdigest()[:16]
