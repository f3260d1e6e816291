"""Parity under live traffic: a sample of what a version answers, held against its own model.

`python -m mainline.rollout.parity TARGET DIGEST BENTO` runs beside the guard while a version is
rolled out. It follows the prediction log, takes a sample by the hash of the prediction id (so that
every slice is in it), and scores the logged features offline. What it counted is in parity.json,
together with how far it read: killed, it goes on where it was.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import os
import re
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mainline.rollout import host, offline
from mainline.rollout.answers import LATE
from mainline.rollout.follow import Follower, read_line
from mainline.rollout.offline import Offline, is_bento
from mainline.rollout.predictions import same
from mainline.rollout.replay import replay_logged
from mainline.rollout.state import Arm, State, boot_id
from mainline.rollout.state import read as read_state

__all__ = ["Parity", "command", "given", "keep", "read", "replay_logged"]
PROGRAM = "parity"
FILE = "parity.json"
RATE = 20.0  # answers a second that are held against the model at most
TURN_SECONDS = 0.5
MOST = 100  # of one turn, after a pause
EXAMPLES = 3
ARMS = ("canary", "shadow", "stable")
ID = re.compile(rb'"prediction_id":\s*"([^"\\]+)"')


@dataclass
class Parity:
    """Answers `compared` and `wrong` among them; `unread` could not be read or scored.

    `late` is for how many seconds nothing is known: behind, dead, or not there yet. `examples` are
    a few wrong answers, by id: a feature may be personal.
    """

    compared: int = 0
    wrong: int = 0
    unread: int = 0
    late: float = math.inf
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def known(self) -> bool:
        """Whether it says what is answered now; else it is a hold."""
        return self.late <= LATE


def given(arm: Arm | None) -> bool:
    """Whether the answers of `arm` can be held against its model: it is a Bento, and is here."""
    return arm is not None and is_bento(arm.artifact)


def command(arm: Arm) -> list[str]:
    """The program for the answers of `arm`; it runs in the folder of the target."""
    python = [sys.executable, "-m", "mainline.rollout.parity"]
    return [*python, ".", arm.digest, str(Path(arm.artifact).resolve())]


def wanted(target: Path, state: State, expected: Iterable[str] = ()) -> Arm | None:
    """The arm whose answers are to be watched now: the canary, or a promotion that may go back.

    None where there is none, and where offline answers to each request are known (`expected`, by
    digest: a rehearsal). Once watched it is wanted to the end: a Bento that was deleted is missing
    data, and no reason to do without.
    """
    arm = state.canary if state.running else state.stable if state.provisional else None
    if arm is None or arm.digest in expected:
        return None
    watched = read(target, arm.digest, state.started).late < math.inf
    return arm if given(arm) or watched else None


def keep(target: Path, arm: Arm | None) -> None:
    """See the program of `arm` running, and no other; None stops it. May be called at any time.

    Raises HostError (12) where it does not start.
    """
    kept = target / "programs" / f"{PROGRAM}.json"
    try:
        now = json.loads(kept.read_text("utf-8")).get("command")
    except (OSError, ValueError):
        now = None
    asked = command(arm) if arm else None
    if now is not None and now != asked:
        host.remove_program(target, PROGRAM)
    if asked is not None and now != asked:
        host.add_program(target, PROGRAM, asked, target)


def read(target: Path, digest: str, started: int) -> Parity:
    """What the program last wrote of `digest` in the rollout `started`; never raises."""
    try:
        found = json.loads((target / FILE).read_text("utf-8"))[digest]
        if found["started"] != started:
            return Parity()
        silent = time.monotonic() - found["at"] if found["boot_id"] == boot_id() else math.inf
        return Parity(found["compared"], found["wrong"], found["unread"],
                      max(silent, found["behind"]), found["examples"])  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return Parity()


class Program:
    """Follows the log in `folder` for the answers of `model`, and writes into `target`."""

    def __init__(self, target: Path, folder: Path, model: Offline) -> None:
        self.target, self.model = target, model
        self.follower = Follower(folder)
        self.found = Parity()
        self.started: int | None = None
        self.current = self.last = time.monotonic()
        self._resume()

    def _resume(self) -> None:
        try:
            kept = json.loads((self.target / FILE).read_text("utf-8"))[self.model.digest]
            self.follower.resume(kept["places"])
            self.found = Parity(kept["compared"], kept["wrong"], kept["unread"], 0.0,
                                kept["examples"])  # fmt: skip
            self.started = kept["started"]
        except (OSError, ValueError, KeyError, TypeError):
            return

    def turn(self) -> None:
        """Read what is new, hold a sample of it against the model, and say so."""
        started = read_state(self.target).started
        if started != self.started:
            # Another rollout of the same model: what was logged until now belongs to the last one.
            self.started, self.found = started, Parity()
            self.follower = Follower(self.follower.folder)
            self.follower.skip()
        now = time.monotonic()
        most = min(MOST, max(1, round(RATE * (now - self.last))))
        if self.found.compared < MOST:  # a verdict waits for the first ones
            most = MOST
        self.last = now
        sample = chosen(self.follower.lines(), self.model.digest, most)
        if not self.follower.behind:
            self.current = now
        self._compare([read_line(line) for line in sample])
        self._write()

    def _compare(self, records: Sequence[dict[str, Any] | None]) -> None:
        whole = [r for r in records if r and _whole(r)]
        self.found.unread += len(records) - len(whole)
        ours = [r for r in whole if _ours(r, self.model.digest)]
        for record, scores in zip(
            ours, self.model.scores([r["features"] for r in ours]), strict=True
        ):
            if scores is None:
                self.found.unread += 1
                continue
            self.found.compared += 1
            if not equal(self.model, record, scores):
                self.found.wrong += 1
                if len(self.found.examples) < EXAMPLES:
                    self.found.examples.append(_example(record, scores))

    def _write(self) -> None:
        now = time.monotonic()
        f = self.found
        document = {
            "compared": f.compared, "wrong": f.wrong, "unread": f.unread, "examples": f.examples,
            "behind": round(now - self.current, 3), "at": now, "boot_id": boot_id(),
            "started": self.started, "places": self.follower.to_dict(),
        }  # fmt: skip
        # Counts and places in one rename: killed between two, it counts nothing twice.
        temporary = self.target / f".tmp-{FILE}"
        temporary.write_text(json.dumps({self.model.digest: document}), "utf-8")
        temporary.replace(self.target / FILE)


def chosen(lines: Iterable[bytes], digest: str, most: int) -> list[bytes]:
    """Of the lines of this model the `most` whose prediction ids have the smallest hashes.

    Most lines are never parsed. One without an id that can be found is taken as it is.
    """
    mark = digest.encode()

    def rank(line: bytes) -> bytes:
        found = ID.search(line)
        return hashlib.sha256(found[1]).digest() if found else b""

    return heapq.nsmallest(most, (line for line in lines if mark in line), key=rank)


def equal(model: Offline, record: Mapping[str, Any], scores: Sequence[float]) -> bool:
    """Whether a service answered `scores`, and decided as the model does on what it answered."""
    served = record["scores"]
    if not same(served, scores):
        return False
    said = record.get("decision")
    return said is None or same([float(said)], [model.decision(served)])


def _whole(record: Mapping[str, Any]) -> bool:
    scores, said = record.get("scores"), record.get("decision")
    return (
        isinstance(record.get("features"), dict)
        and isinstance(scores, list)
        and all(isinstance(s, int | float) for s in scores)
        and isinstance(said, int | float | None)
    )


def _ours(record: Mapping[str, Any], digest: str) -> bool:
    """Whether users' traffic made it: rows that were asked past Envoy have no generation."""
    live = str(record.get("generation")).startswith("gen-")
    return live and record.get("digest") == digest and record.get("arm") in ARMS


def _example(record: Mapping[str, Any], scores: Sequence[float]) -> dict[str, Any]:
    return {"prediction_id": record.get("prediction_id"), "request_id": record.get("request_id"),
            "served": record["scores"], "decision": record.get("decision"),
            "offline": list(scores)}  # fmt: skip


def main(target: Path, digest: str, bento: Path) -> None:
    """Compare for ever. A turn that fails is reported, and is no sign of life."""
    os.nice(offline.NICE)
    address = host.log_address(target)
    model = Offline.load(bento)
    if model.digest != digest:
        sys.exit(f"{bento.name} holds {model.digest}, not {digest}")
    program = Program(target, Path(address), model)
    while True:
        began = time.monotonic()
        try:
            program.turn()
        except Exception:
            traceback.print_exc()
        time.sleep(max(0.05, TURN_SECONDS - (time.monotonic() - began)))


if __name__ == "__main__":
    # Before numpy is imported: one thread, in the order of the service.
    os.environ.update(offline.ONE_THREAD)
    main(Path(sys.argv[1]).resolve(), sys.argv[2], Path(sys.argv[3]))
