"""A target in memory: what the commands do to one is seen at once, and it can die at any call.

Nothing is served and nobody guards: a test says what the guard would have said (`judged`). It is
held to the same conformance as the targets that serve, as far as that asks nothing of a service.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mainline.errors import RaceError
from mainline.rollout import state, transitions
from mainline.rollout.state import Arm, State
from mainline.rollout.target import Ask
from mainline.verdict import Check, StepVerdict, Verdict


class Died(BaseException):
    """The command was killed here: no `except Exception` may go on after it."""


class FakeTarget:
    """See target.Target. `services` are programs by name with the digest that they answer for.

    `die_at` is how many calls that change something are let through; the next one dies, before it
    (`after` False) or after it was done. `faster` are changes that others make just before ours.
    """

    def __init__(self) -> None:
        self.address = "fake/"
        self.state = State()
        self.services: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        self.rate: float | None = None
        self.up = False
        self.follows = True
        self.broken: dict[str, str] = {}
        self.held = False
        self.die_at: int | None = None
        self.after = False
        self.calls = 0
        self.faster: list[Any] = []
        self.expected: Any = None

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        dies = self.die_at is not None and self.calls == self.die_at
        self.calls += 1
        if dies and not self.after:
            raise Died
        yield
        if dies:
            raise Died

    def ensure(self) -> None:
        """What ran comes back."""
        with self._changing():
            self.up = True
            arms = (self.state.stable, self.state.canary, self.state.previous)
            self.services.update({a.program: a.digest for a in arms if a and a.port})

    def read(self) -> State:
        """The state, as it comes from a file."""
        return state.from_dict(json.loads(json.dumps(state.to_dict(self.state))))

    def apply(
        self, old: State, wanted: State, event: str, notes: Mapping[str, Any]
    ) -> tuple[State, bool]:
        """Compare and swap."""
        if self.faster:
            self.state = replace(self.faster.pop(0)(self.state), generation=old.generation + 1)
        if old.generation != self.state.generation:
            raise RaceError("The rollout was changed by somebody else", "Try again")
        with self._changing():
            number = old.generation + 1
            self.state = replace(wanted, generation=number, route=number)
            self.state = self.read()
            said = {"status": wanted.status, "reason": wanted.reason}
            self.record(event, **{**said, "stage": wanted.stage, "weight": wanted.weight, **notes})
        return self.state, self.follows

    def observe(self) -> dict[str, Any]:
        """What is there."""
        return {**state.to_dict(self.state), "target": self.address, "up": self.up,
                "url": "http://fake" if self.up else None, "envoy": self.follows,
                "guarded": self.up, "processes": dict(self.services), "rate": self.rate,
                "waiting": self.held}  # fmt: skip

    def confirm(self, state: State, wait: float) -> bool:
        """Whether traffic follows."""
        return self.follows

    def launch(
        self, version: str, digest: str, artifact: Path, command: Sequence[str] | None = None
    ) -> Arm:
        """A service that answers at once, or as `broken` says."""
        with self._changing():
            program = "model-" + digest[7:19]
            self.services[program] = digest
            return Arm(version, digest, 9000 + len(self.services), program, str(artifact))

    def ask(self, arm: Arm, questions: Sequence[Ask]) -> list[tuple[int, str]]:
        """/readyz, /version and /predict (x itself is the score)."""
        return [self._answer(arm, q) for q in questions]

    def _answer(self, arm: Arm, question: Ask) -> tuple[int, str]:
        if arm.program not in self.services or self.broken.get(arm.version) == "unready":
            return 0, ""
        if question.body is None:
            return 200, json.dumps({"digest": self.services[arm.program]})
        scores = [float(json.loads(question.body)["rows"][0]["x"])]
        return 200, json.dumps({"predictions": [{"scores": scores}]})

    def ended(self, arm: Arm) -> str | None:
        """Its last words."""
        return "address already in use" if self.broken.get(arm.version) == "unready" else None

    def retire(self, *keep: Arm) -> None:
        """Stop what is in no state."""
        with self._changing():
            arms = (self.state.stable, self.state.canary, self.state.previous, *keep)
            live = {a.program for a in arms if a}
            self.services = {k: v for k, v in self.services.items() if k in live}

    def expect(self, answers: Mapping[str, Sequence[Sequence[float]]] | None) -> None:
        """Keep answers."""
        self.expected = answers

    def alone(self) -> AbstractContextManager[None]:
        """The lock, gone with its owner."""

        @contextlib.contextmanager
        def hold() -> Iterator[None]:
            if self.held:
                raise RaceError("Another rollout command is at work here", "Wait for it")
            self.held = True
            try:
                yield
            finally:
                self.held = False

        return hold()

    def record(self, event: str, **notes: Any) -> None:
        """One more event."""
        self.events.append({"t": float(len(self.events)), "event": event, **notes})

    def history(self) -> list[dict[str, Any]]:
        """All events."""
        return list(self.events)

    def down(self) -> None:
        """Nothing runs any more."""
        self.up, self.services = False, {}

    # ---- the guard's part --------------------------------------------------------------------

    def judged(self, verdict: str) -> None:
        """The guard gives a verdict on the stage that traffic is in."""
        now = self.state
        check = Check("errors", Verdict(verdict), f"the guard said {verdict}")
        found = StepVerdict(f"rollout-{now.stage}", (check,)).to_dict()
        new = replace(now, verdicts={**now.verdicts, str(now.stage): found})
        if verdict == "FAIL":
            new = transitions.rolled_back(new, "rolled-back", check.reason) or new
        self.state = replace(new, generation=now.generation + 1)

    def took_back(self, reason: str) -> None:
        """The guard took a promotion back."""
        back = transitions.taken_back(self.state, reason)
        assert back is not None
        self.state = replace(back, generation=self.state.generation + 1)
