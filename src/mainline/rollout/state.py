"""rollout.json: what should be served, changed by compare-and-swap and never half-written."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TextIO

from mainline.errors import NotMeasured, RaceError
from mainline.files import write_json

SCHEMA = "rollout/2"
RUNNING = "running"
UNKNOWN = "unknown"  # the boot of a machine that does not name it
BOOT = Path("/proc/sys/kernel/random/boot_id")
SYSCTL = "/usr/sbin/sysctl"  # of macOS, also where PATH is short
# What is told by the clocks of the machine that serves, see `anchored`.
TIMES = ("entered", "entered_monotonic", "warm_until", "hold_until", "hold_monotonic", "boot_id")
STATUSES = ("idle", RUNNING, "promoted", "settled", "rolled-back", "aborted", "observed")


@dataclass(frozen=True)
class Arm:
    """One live model version: where it came from and the local port on which it answers."""

    version: str
    digest: str
    port: int
    program: str
    artifact: str = ""


@dataclass(frozen=True)
class Stage:
    """One step of a plan: `weight` per cent, and the canary requests and seconds that a PASS needs.

    `max_seconds` is None where `hold_seconds` of the rollout counts, `judge` where all is judged.
    """

    name: str
    weight: int
    requests: int
    min_seconds: float = 0.0
    max_seconds: float | None = None
    judge: tuple[str, ...] | None = None


@dataclass(frozen=True)
class State:
    """The whole of rollout.json.

    `generation` rises with every change, `route` is the generation of the last change of weights
    (what Envoy shows in x-rollout-generation). `status` is one of

        idle         nothing was ever rolled out
        running      a canary is beside the stable version
        promoted     the new version has all traffic, guarded; the old one, `previous`, is warm
        settled      the promotion holds: its labels have matured, or its time is over
        rolled-back  the guard, its watcher or a person sent all traffic back
        aborted      a person ended the rollout, or another one superseded it
        observed     a plan of shadow alone is over

    `version` is what the last rollout was about, `plan_name` the plan that `plan` came from.
    `paused` says who paused it, when and why, or is None. `entered` (Unix seconds) is when the
    current stage, or the promotion, began; `warm_until` (Unix seconds) how long a promotion is
    guarded at least; both by the clock of the machine that serves. `looks` holds, for each stage
    judged so far, the sums that its verdict rests on. An arm whose port is 0 is served nowhere.
    `hold_until` is in Unix seconds; `hold_monotonic` says the same on the clock of this boot, which
    does not jump.
    """

    generation: int = 0
    route: int = 0
    status: str = "idle"
    reason: str = ""
    version: str = ""
    stable: Arm | None = None
    canary: Arm | None = None
    previous: Arm | None = None
    plan: tuple[Stage, ...] = ()
    plan_name: str = "canary"
    paused: Mapping[str, Any] | None = None
    entered: float | None = None
    entered_monotonic: float | None = None
    warm_until: float | None = None
    stage: str | None = None
    weight: int = 0
    started: int = 0
    hold_seconds: float = 0.0
    hold_until: float | None = None
    hold_monotonic: float | None = None
    boot_id: str = ""
    limits: Mapping[str, Any] = field(default_factory=dict)
    looks: tuple[Mapping[str, Any], ...] = ()
    verdicts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether a rollout is under way."""
        return self.status == RUNNING and self.canary is not None

    @property
    def provisional(self) -> bool:
        """Whether a promotion may still be taken back to the old, warm version by itself."""
        return self.status == "promoted" and self.previous is not None

    @property
    def current(self) -> Stage | None:
        """The stage that traffic is in, or None."""
        return next((s for s in self.plan if s.name == self.stage), None)

    def held_too_long(self) -> bool:
        """Whether nobody moved this stage on in time; right also after a clock jump or a boot."""
        if not self.running or self.hold_until is None or self.hold_monotonic is None:
            return False
        if of_this_boot(self.boot_id):
            return time.monotonic() >= self.hold_monotonic
        return time.time() >= self.hold_until


def boot_id() -> str:
    """A name of this boot of the machine, because monotonic clocks start again with each.

    UNKNOWN where the machine has none.
    """
    with contextlib.suppress(OSError):
        return BOOT.read_text("ascii").strip()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return _boot_session() or UNKNOWN
    return UNKNOWN


@functools.cache
def _boot_session() -> str:
    """What macOS calls a boot. Asked once: a guard wants to know several times a second."""
    words = [SYSCTL, "-n", "kern.bootsessionuuid"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()


def of_this_boot(name: str) -> bool:
    """Whether `name` is this boot. None is where boots have no names: each would be the same."""
    return name == boot_id() != UNKNOWN


def begun_now(state: State) -> State:
    """`state` with its stage, or its promotion, entered now."""
    return replace(
        state, entered=time.time(), entered_monotonic=time.monotonic(), boot_id=boot_id()
    )


def held(state: State) -> State:
    """`state` with its stage entered now, and the time until which it may be held."""
    return held_anew(begun_now(state))


def seconds_in(state: State) -> float:
    """Seconds since the stage of `state` was entered; right also after a clock jump."""
    if state.entered is None or state.entered_monotonic is None:
        return 0.0
    if of_this_boot(state.boot_id):
        return time.monotonic() - state.entered_monotonic
    return time.time() - state.entered


def warm_left(state: State) -> float:
    """Seconds of the guarded time of a promotion that are left; right also after a clock jump."""
    if state.warm_until is None or state.entered is None:
        return 0.0
    return state.warm_until - state.entered - seconds_in(state)


def held_anew(state: State) -> State:
    """`state` with the time until which its stage may be held counted from now."""
    stage = state.current
    if state.entered is not None:  # its monotonic clock may be that of another boot
        since = time.monotonic() - seconds_in(state)
        state = replace(state, entered_monotonic=since)
    longest = stage.max_seconds if stage and stage.max_seconds else state.hold_seconds
    return replace(
        state,
        hold_until=time.time() + longest,
        hold_monotonic=time.monotonic() + longest,
        boot_id=boot_id(),
    )


def anchored(wanted: State, old: State) -> State:
    """`wanted` with the times that it gives anew, after `old`, counted by this machine's clocks.

    It may have been decided on another machine, such as a runner that asks over ssh: how long a
    stage is held and a promotion is warm is known there, but its clocks and its boot say nothing
    here. A time that `wanted` has of `old` was counted here already.
    """
    found = wanted
    if wanted.entered is not None and wanted.entered != old.entered:
        found = begun_now(wanted)
        if wanted.warm_until is not None and found.entered is not None:
            warm = wanted.warm_until - wanted.entered
            found = replace(found, warm_until=found.entered + warm)
    elif wanted.entered is not None:
        found = replace(wanted, entered_monotonic=old.entered_monotonic, boot_id=old.boot_id)
    if wanted.hold_until is not None and wanted.hold_until != old.hold_until:
        found = held_anew(found)
    return found


def to_dict(state: State) -> dict[str, Any]:
    """The document written to rollout.json."""
    return {"schema": SCHEMA, **asdict(state)}


def from_dict(document: Mapping[str, Any]) -> State:
    """Read what to_dict wrote; ValueError, KeyError or TypeError when it is something else."""
    if document["schema"] != SCHEMA:
        raise ValueError(f"schema {document['schema']!r}")
    known = {f.name for f in fields(State)}
    values = {k: v for k, v in document.items() if k in known}
    for name in ("stable", "canary", "previous"):
        values[name] = Arm(**values[name]) if values.get(name) else None
    values["plan"] = tuple(_stage(s) for s in values.get("plan", ()))
    values["looks"] = tuple(values.get("looks", ()))
    return State(**values)


def _stage(document: Mapping[str, Any]) -> Stage:
    judge = document.get("judge")
    return Stage(**{**document, "judge": tuple(judge) if judge is not None else None})


def read(target: Path) -> State:
    """The state of `target`; an empty one where nothing was ever rolled out.

    Raises NotMeasured (12) when the file is there and cannot be read.
    """
    path = target / "rollout.json"
    try:
        return from_dict(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return State()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotMeasured(
            f"rollout.json cannot be read ({error})",
            "Restore it, or run `./mainline rollout down` and start again",
        ) from error


def swap(target: Path, old: State, new: State) -> State:
    """Write `new` (its generation is set here) if `target` still has `old`'s generation.

    Hold `locked(target)` around reading and swapping. Raises RaceError (24) when somebody was
    faster. The rename and its folder are synced, so a weight survives a power cut.
    """
    if read(target).generation != old.generation:
        raise RaceError("The rollout was changed by somebody else", "Look at it and try again")
    new = replace(new, generation=old.generation + 1)
    write_json(target / "rollout.json", to_dict(new))
    sync_folder(target)
    return new


def sync_folder(folder: Path) -> None:
    """fsync a folder, without which a rename may be lost with the power."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(target: Path, name: str = "rollout.lock", wait: float = 15.0) -> Iterator[None]:
    """Hold an advisory lock that the kernel drops when its owner dies, however it dies.

    Raises RaceError (24) when it is not free within `wait` seconds, NotMeasured (12) where the
    folder cannot be written.
    """
    import fcntl

    deadline = time.monotonic() + wait
    with _lock_file(target, name) as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() >= deadline:
                    raise RaceError(
                        "Another rollout command is at work here", "Wait for it, then try again"
                    ) from error
                time.sleep(0.02)
        yield


def _lock_file(target: Path, name: str) -> TextIO:
    try:
        target.mkdir(parents=True, exist_ok=True)
        return (target / name).open("a")
    except OSError as error:
        raise NotMeasured(
            f"The folder {target.name}/ of the rollout cannot be written ({error.strerror})",
            "Give it to the user who runs this, and see that the disk is neither full nor "
            "read-only",
        ) from error


def record(target: Path, event: str, **values: Any) -> None:
    """Append one line to history.jsonl: `t` (Unix seconds), `event` and `values`.

    Raises OSError where not all of it could be written. What is torn then spoils no line after it.
    """
    said = json.dumps({"t": round(time.time(), 3), "event": event, **values}, allow_nan=False)
    line = said.encode("utf-8") + b"\n"
    with (target / "history.jsonl").open("a+b", buffering=0) as stream:
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            line = line if stream.read(1) == b"\n" else b"\n" + line
        while line:  # on a full disk a write is short first, and only the next one raises
            line = line[stream.write(line) :]


def history(target: Path) -> list[dict[str, Any]]:
    """All lines of history.jsonl in order; a torn line is left out."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for line in (target / "history.jsonl").read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found
