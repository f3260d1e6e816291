"""A target whose calls an agent performs, at the other end of one kept-open process.

A connection that is cut is made once more and the call made again: every call may be. Within
`alone` the lock died with the connection, and is asked for again first; what somebody else did in
between is caught by the generation of the state.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mainline.errors import MainlineError, RaceError
from mainline.rollout import wire
from mainline.rollout.state import TIMES, Arm, State, from_dict, to_dict
from mainline.rollout.target import Ask, TargetError

PING_SECONDS = 8.0
# An agent starts a Python and imports the house, on a machine that may be small.
HELLO_SECONDS = 60.0
CALL_SECONDS = 120.0
# The agent whose connection was cut takes so long to end, and holds the lock meanwhile.
LOCK_SECONDS = 4.0
MOST_SAID = 4000

Explain = Callable[[int | None, str], MainlineError]
Ship = Callable[["RemoteTarget", str, Path], str]


class Cut(Exception):
    """The connection ended."""


class Link:
    """One process, such as ssh, whose stdin and stdout lead to an agent."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            list(command), env=dict(environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._said = b""
        self._writing = threading.Lock()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True)
            for work in (self._read, self._read_errors, self._ping)
        ]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            # A login shell may print what it likes before the agent's first line.
            if (found := wire.parse(line)) is not None:
                self._answers.put(found)
        self._over.set()
        self._answers.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        while chunk := os.read(self.process.stderr.fileno(), 4096):
            self._said = (self._said + chunk)[-MOST_SAID:]

    def _ping(self) -> None:
        while not self._over.wait(PING_SECONDS):
            with contextlib.suppress(Cut):
                self.send({"call": "ping"})

    def send(self, document: Mapping[str, Any]) -> None:
        """Write one line; raises Cut."""
        assert self.process.stdin is not None
        try:
            with self._writing:
                self.process.stdin.write(wire.line(document))
                self.process.stdin.flush()
        except (OSError, ValueError) as error:
            raise Cut from error

    def receive(self, seconds: float) -> dict[str, Any]:
        """The next line; raises Cut at the end, TimeoutError after `seconds`."""
        try:
            found = self._answers.get(timeout=seconds)
        except queue.Empty as error:
            raise TimeoutError from error
        if found is None:
            self._answers.put(None)
            raise Cut
        return found

    def ended(self) -> tuple[int | None, str]:
        """How the process ended, and the last that it said on stderr."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self._threads[1].join(2)
        return self.process.poll(), self._said.decode("utf-8", "replace").strip()

    def close(self) -> None:
        """End the process; the agent ends with its stdin."""
        self._over.set()
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for thread in self._threads[:2]:
            thread.join(2)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def _follows(old: State, wanted: State, now: State) -> bool:
    """Whether `now` is what a swap of `old` for `wanted` leaves.

    The swap gives the numbers, and the host's clocks the times.
    """
    given = {name: getattr(now, name) for name in ("route", *TIMES)}
    same = replace(wanted, generation=old.generation + 1, **given)
    return json.dumps(to_dict(same), sort_keys=True) == json.dumps(to_dict(now), sort_keys=True)


class RemoteTarget:
    """The target behind an agent; see `target.Target` for what each call does.

    `command` starts a process that leads to the agent, `explain` makes an error of how it ended,
    and `ship(target, digest, artifact)` brings an artifact there and returns its path there.
    """

    def __init__(
        self, address: str, command: Sequence[str], environ: Mapping[str, str], explain: Explain,
        ship: Ship,
    ) -> None:  # fmt: skip
        self.address = address
        self.link: Link | None = None
        self._command, self._environ = command, environ
        self._explain, self._ship = explain, ship
        self._one = threading.RLock()
        self._alone = False
        self._cuts = 0

    def call(self, call: str, seconds: float = CALL_SECONDS, /, **given: Any) -> Any:
        """Let the agent perform `call`; its value. Raises the agent's error, or TargetError."""
        with self._one:
            for _ in range(2):
                try:
                    return self._asked(self._linked(), call, seconds, given)
                except Cut:
                    self._cuts += 1
                    self.close()
            raise TargetError(
                f"The connection to {self.address} was cut twice in `{call}`",
                "Run the same command again: nothing is half done",
            )

    def _asked(self, link: Link, name: str, wait: float, given: Mapping[str, Any]) -> Any:
        link.send({"call": name, "with": given})
        try:
            answer = link.receive(wait)
        except TimeoutError:
            # A late answer would be taken for that of the next call.
            self.close()
            raise TargetError(
                f"{self.address} did not answer `{name}` within {wait:.0f} s",
                "Look at the machine, then run the same command again",
            ) from None
        if "error" in answer:
            raise wire.error_of(answer["error"])
        return answer["value"]

    def _linked(self) -> Link:
        if self.link is None:
            link = Link(self._command, self._environ)
            try:
                self._greet(link)
                if self._alone:
                    self._lock(link)
            except BaseException:
                link.close()
                raise
            self.link = link
        return self.link

    def _greet(self, link: Link) -> None:
        deadline = time.monotonic() + HELLO_SECONDS
        try:
            while "mainline" not in (hello := link.receive(deadline - time.monotonic())):
                pass
        except Cut:
            raise self._explain(*link.ended()) from None
        except (TimeoutError, ValueError):
            raise TargetError(
                f"No agent answered at {self.address} within {HELLO_SECONDS:.0f} s",
                "Look at the machine, then run the same command again",
            ) from None
        if hello["mainline"] != wire.PROTOCOL:
            raise TargetError(
                f"{self.address} speaks {str(hello['mainline'])[:40]!r} and this Mainline "
                f"{wire.PROTOCOL!r}",
                "Bring it this one's house: `./mainline host install`",
            )
        key = self._environ.get("MAINLINE_KEY")
        if key:
            link.send({"call": "lend", "with": {"MAINLINE_KEY": key}})
            link.receive(CALL_SECONDS)

    def close(self) -> None:
        """End the connection, and with it the agent and its lock."""
        if self.link is not None:
            link, self.link = self.link, None
            link.close()

    # ---- Target ------------------------------------------------------------------------------

    def ensure(self) -> None:
        """See Envoy, guard and watcher running; what ran before a reboot comes back."""
        self.call("ensure")

    def read(self) -> State:
        """The state that this target is to be in."""
        return from_dict(self.call("read"))

    def apply(
        self, old: State, wanted: State, event: str, notes: Mapping[str, Any]
    ) -> tuple[State, bool]:
        """Make `wanted` the state if it is still `old`, and bring it about.

        Where the answer was cut off and the state is `wanted` by now, this call made it so.
        """
        with self._one:
            cuts = self._cuts
            try:
                new, shown = self.call("apply", old=to_dict(old), wanted=to_dict(wanted),
                                       event=event, notes=dict(notes))  # fmt: skip
                return from_dict(new), bool(shown)
            except RaceError:
                now = self.read()
                if self._cuts == cuts or not _follows(old, wanted, now):
                    raise
                return now, self.confirm(now, 5.0)

    def observe(self) -> dict[str, Any]:
        """What is really there."""
        return {**self.call("observe"), "target": self.address}

    def confirm(self, state: State, wait: float) -> bool:
        """Whether traffic is seen to follow `state` within `wait` seconds."""
        return bool(self.call("confirm", wait + CALL_SECONDS, state=to_dict(state), wait=wait))

    def launch(
        self, version: str, digest: str, artifact: Path, command: Sequence[str] | None = None
    ) -> Arm:
        """Bring the artifact there and start its service beside what runs, without traffic."""
        there = self._ship(self, digest, artifact)
        words = list(command) if command is not None else None
        return Arm(**self.call("launch", version=version, digest=digest, artifact=there,
                               command=words))  # fmt: skip

    def ask(self, arm: Arm, questions: Sequence[Ask]) -> list[tuple[int, str]]:
        """Status and body of each answer of `arm`'s own service; status 0 where none came."""
        found = self.call("ask", CALL_SECONDS + 5 * len(questions), arm=asdict(arm),
                          questions=[asdict(q) for q in questions])  # fmt: skip
        return [(int(status), str(body)) for status, body in found]

    def ended(self, arm: Arm) -> str | None:
        """Why the service of `arm` does not run, by its last words; None while it runs."""
        found = self.call("ended", arm=asdict(arm))
        return None if found is None else str(found)

    def retire(self, *keep: Arm) -> None:
        """Stop the service of every version that is neither in `keep` nor in the state."""
        self.call("retire", keep=[asdict(arm) for arm in keep])

    def expect(self, answers: Mapping[str, Sequence[Sequence[float]]] | None) -> None:
        """Keep offline answers by model digest."""
        self.call("expect", answers=answers)

    def replay(self, arm: Arm, stable: Arm, rows: int) -> dict[str, Any]:
        """Ask the service of `arm` the last `rows` logged rows of `stable`, past the split."""
        found = self.call("replay", 3 * CALL_SECONDS, arm=asdict(arm), stable=asdict(stable),
                          rows=rows)  # fmt: skip
        return dict(found)

    def labels(self) -> dict[str, Any]:
        """What matured labels say of the promotion, by the settings that came with it."""
        return dict(self.call("labels", 5 * CALL_SECONDS))

    def alone(self) -> AbstractContextManager[None]:
        """One command at a time; the lock is the agent's, and gone with the connection."""
        return self._locked()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._one:
            for _ in range(2):
                try:
                    self._lock(self._linked())
                    break
                except Cut:
                    self.close()
            else:
                raise TargetError(
                    f"The connection to {self.address} was cut twice", "Run the command again"
                )
            self._alone = True
        try:
            yield
        finally:
            with self._one:
                self._alone = False
                with contextlib.suppress(MainlineError, Cut):
                    if self.link is not None:
                        self._asked(self.link, "unlock", CALL_SECONDS, {})

    def _lock(self, link: Link) -> None:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                self._asked(link, "lock", CALL_SECONDS, {})
                return
            except RaceError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.2)

    def record(self, event: str, **notes: Any) -> None:
        """Append one line to the record."""
        self.call("record", event=event, notes=notes)

    def history(self) -> list[dict[str, Any]]:
        """The record in order."""
        found: list[dict[str, Any]] = self.call("history")
        return found

    def down(self) -> None:
        """End every process here."""
        self.call("down")
