"""What a drill is, and how its outcome is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

STEPS = ("validate", "train", "evaluate", "compare")
# The bases that candidates are made from: the project as it is, and one that is worse on purpose.
AS_IT_IS, WORSE = "base", "worse"


class NotApplicable(Exception):
    """This drill makes no sense for this table; the message says why."""


class Result(StrEnum):
    """How a drill ended. Only the first three are as they should be."""

    BLOCKED = "blocked"
    PASSED = "passed"
    NOT_APPLICABLE = "not applicable"
    NOT_BLOCKED = "NOT BLOCKED"
    BY_ANOTHER = "BLOCKED BY ANOTHER GATE"
    FALSE_ALARM = "FALSE ALARM"
    CRASHED = "CRASHED"

    @property
    def good(self) -> bool:
        """Whether the gates did what they should."""
        return self in (Result.BLOCKED, Result.PASSED, Result.NOT_APPLICABLE)


@dataclass(frozen=True)
class Drill:
    """One change, and the checks that must block it.

    `expect` holds patterns `step: check name`; one of them must not be PASS. Without any the
    change is harmless and must pass. `change` makes it in the clone `root` and returns one
    sentence; it raises NotApplicable. `tamper` is done after all steps, before the gate. `steps`
    are those that are run: DVC skips what a lock says is done.
    """

    name: str
    title: str
    expect: tuple[str, ...]
    change: Callable[[Path], str]
    tamper: Callable[[Path], None] | None = None
    base: str = AS_IT_IS
    steps: tuple[str, ...] = STEPS

    @property
    def harmless(self) -> bool:
        """Whether it must pass."""
        return not self.expect

    def expects(self, check: Found) -> bool:
        """Whether `check` is one of those that must block this drill."""
        return any(fnmatchcase(str(check), pattern) for pattern in self.expect)


@dataclass(frozen=True)
class Found:
    """One check that did not pass: the step that made it, its name, verdict and reason."""

    step: str
    name: str
    verdict: str
    reason: str
    scope: str = "all"

    def __str__(self) -> str:
        return f"{self.step}: {self.name}"


@dataclass(frozen=True)
class Outcome:
    """What a drill showed: the check that blocked, its verdict, and what was done.

    `also` names all checks that did not pass, as `step: check (VERDICT)`.
    """

    name: str
    title: str
    result: Result
    by: str = ""
    verdict: str = ""
    did: str = ""
    reason: str = ""
    seconds: float = 0.0
    also: list[str] = field(default_factory=list)


def judge(drill: Drill, told: dict[str, Any], before: Iterable[Found] = ()) -> Outcome:
    """The outcome of what the drill's process told; pure.

    `told` has `na` or `crash` (a sentence), else `status` (of the gate), `did`, `checks` and
    `seconds`. `before` are checks that the base does not pass either: they prove nothing.
    """
    base = {"name": drill.name, "title": drill.title, "seconds": told.get("seconds", 0.0)}
    if told.get("na"):
        return Outcome(**base, result=Result.NOT_APPLICABLE, reason=told["na"])
    if told.get("crash"):
        return Outcome(**base, result=Result.CRASHED, reason=told["crash"])
    old = {(f.step, f.name, f.scope, f.verdict) for f in before}
    found = [Found(**c) for c in told["checks"]]
    new = [f for f in found if (f.step, f.name, f.scope, f.verdict) not in old]
    base |= {"did": told["did"], "also": list(dict.fromkeys(f"{f} ({f.verdict})" for f in new))}
    if drill.harmless:
        if told["status"] == 0 or not new:
            return Outcome(**base, result=Result.PASSED, verdict="PASS" if not found else "")
        return _outcome(base, Result.FALSE_ALARM, new[0])
    named = [f for f in new if drill.expects(f)]
    if told["status"] == 0:
        return Outcome(**base, result=Result.NOT_BLOCKED, verdict="PASS",
                       reason=f"expected {' or '.join(drill.expect)}")  # fmt: skip
    if named:
        return _outcome(base, Result.BLOCKED, _worst(named))
    if new:
        return _outcome(base, Result.BY_ANOTHER, new[0])  # later steps only follow
    return Outcome(**base, result=Result.NOT_BLOCKED,
                   reason="only what holds the base back too stopped it")  # fmt: skip


def _worst(found: list[Found]) -> Found:
    order = ("INCONCLUSIVE", "FAIL", "ERROR")
    return max(found, key=lambda f: order.index(f.verdict))


def _outcome(base: dict[str, Any], result: Result, check: Found) -> Outcome:
    return Outcome(**base, result=result, by=str(check), verdict=check.verdict, reason=check.reason)
