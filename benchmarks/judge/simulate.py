"""Simulated rollouts through the real judge: what it decides, after how many requests.

A look is what the guard sees of a quarter of a second at 1,000 requests a second. The verdicts, the
bounds that may be asked and the order of the stages are those of mainline.rollout; only the
requests are drawn. Beside it: a z-test that looks as often, on the same requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mainline.eprocess import Detector
from mainline.rollout.access import ArmCounts
from mainline.rollout.evidence import Spending
from mainline.rollout.judge import (
    Answers,
    Evidence,
    Joined,
    Limits,
    StageCounts,
    judge,
    promotion,
)
from mainline.rollout.spread import Spread
from mainline.verdict import Verdict

PER_LOOK = 250
LOOKS = 240  # a stage without a verdict after 60,000 requests counts as held
PLAN = (("shadow", 0, 100), ("canary-5", 5, 300), ("canary-25", 25, 1000), ("canary-50", 50, 2000))
LIMITS = Limits(error_budget=0.02, latency_ms=250)
SLOW = 0.003  # of both arms
SEEN = Spread(10_000, 1000.0, 200.0, 0.0, 0.9)
ANSWERS = Answers(given=True, compared=10_000, pairs=10_000, scored=10_000, canary=SEEN,
                  stable=SEEN)  # fmt: skip
# A tenth of the users makes 58% of the requests.
USERS, BAD_USERS, ACTIVITY = 5000, 0.01, 1.5
Z = 1.645  # one-sided 5%, as a dashboard would have it
WATCHED = 20_000  # requests for which a promotion is followed


@dataclass(frozen=True)
class Case:
    """Error rates of both arms. `users`: few ask most, and some of them always fail besides.

    `traffic` False: nobody asks. `log`: whole, torn (lines that cannot be read) or late (answers
    that are not in the prediction log).
    """

    name: str
    stable: float
    canary: float
    users: bool = False
    traffic: bool = True
    log: str = "whole"


@dataclass(frozen=True)
class Outcome:
    """How one rollout ended (promoted, rolled back, held), and after how many requests."""

    result: str
    requests: int
    canary: int
    errors: int


class Requests:
    """Draws what one look sees of each arm, each request assigned to an arm by itself."""

    def __init__(self, case: Case, rng: np.random.Generator) -> None:
        self.case, self.rng = case, rng
        self.always = 0.0
        if case.users:
            asked = rng.lognormal(0, ACTIVITY, USERS)
            self.always = float(asked[rng.random(USERS) < BAD_USERS].sum() / asked.sum())

    def look(self, weight: int) -> tuple[ArmCounts, ArmCounts]:
        """(canary, stable) of PER_LOOK requests."""
        total = PER_LOOK if self.case.traffic else 0
        n = total if weight == 0 else int(self.rng.binomial(total, weight / 100))
        m = total if weight == 0 else total - n
        # Whoever always fails does so on both sides of a mirror.
        fail = int(self.rng.binomial(n, self.always))
        other = fail if weight == 0 else int(self.rng.binomial(m, self.always))
        return self._arm(n, fail, self.case.canary), self._arm(m, other, self.case.stable)

    def _arm(self, n: int, always: int, rate: float) -> ArmCounts:
        slow = int(self.rng.binomial(n, SLOW))
        errors = always + int(self.rng.binomial(n - always, rate))
        return ArmCounts(n, errors, slow, n, int(slow > 0))


def rollout(case: Case, seed: int) -> Outcome:
    """One rollout through the stages of PLAN."""
    requests = Requests(case, np.random.default_rng([seed, 1]))
    done: list[StageCounts] = []
    spending = Spending()
    asked = 0
    for name, weight, minimum in PLAN:
        canary, stable = ArmCounts(), ArmCounts()
        now = StageCounts(name, weight, minimum, canary, stable)
        for _ in range(LOOKS):
            for arm, counts in zip((canary, stable), requests.look(weight), strict=True):
                arm.add(counts)
            asked += PER_LOOK
            found = judged(case, (*done, now), spending)
            if found is not Verdict.INCONCLUSIVE:
                break
        if found is not Verdict.PASS:
            how = "rolled back" if found is Verdict.FAIL else "held"
            return _outcome(how, asked, [*done, now])
        done.append(now)
    return _outcome("promoted", asked, done)


def judged(case: Case, stages: tuple[StageCounts, ...], spending: Spending) -> Verdict:
    """The verdict of one look, as the guard asks for it."""
    total = sum(s.canary.n + s.stable.n for s in stages)
    found = Evidence(
        stages, ANSWERS, due=False, unread=total // 20 if case.log == "torn" else 0,
        joined=Joined(total, total // 20 if case.log == "late" else 0, total, 0),
    )  # fmt: skip
    return judge(spending.ask(found), LIMITS).verdict


def _outcome(result: str, asked: int, stages: list[StageCounts]) -> Outcome:
    return Outcome(result, asked, sum(s.canary.n for s in stages if s.weight),
                   sum(s.canary.errors for s in stages))  # fmt: skip


def peeking(case: Case, seed: int) -> Outcome:
    """The same with a z-test at each look: a FAIL at 5%, a PASS when a stage has its requests."""
    requests = Requests(case, np.random.default_rng([seed, 1]))
    x = n = y = m = asked = 0
    for _, weight, minimum in PLAN[1:]:
        here = 0
        while here < minimum:
            canary, stable = requests.look(weight)
            asked, here = asked + PER_LOOK, here + canary.n
            x, n, y, m = x + canary.errors, n + canary.n, y + stable.errors, m + stable.n
            pooled = (x + y) / max(1, n + m)
            error = math.sqrt(pooled * (1 - pooled) * (1 / max(1, n) + 1 / max(1, m)))
            if error and (x / n - y / m) / error > Z:
                return Outcome("rolled back", asked, n, x)
            if asked > LOOKS * PER_LOOK * len(PLAN):
                return Outcome("held", asked, n, x)
    return Outcome("promoted", asked, n, x)


def bake(case: Case, seed: int, step: int = 25) -> Outcome:
    """A promotion watched for WATCHED requests, `step` of them a look."""
    rng = np.random.default_rng([seed, 2])
    detector = Detector(LIMITS.error_budget)
    counts = ArmCounts()
    for errors in draws(rng, case, step):
        counts.add(ArmCounts(step, errors, 0, step))
        detector.add(errors, step)
        stage = StageCounts("promoted", 100, 0, counts, ArmCounts())
        found = Evidence((stage,), ANSWERS, watched={"errors": detector.log_e})
        if promotion(found, LIMITS).verdict is Verdict.FAIL:
            return Outcome("taken back", counts.n, counts.n, counts.errors)
    return Outcome("kept", counts.n, counts.n, counts.errors)


def draws(rng: np.random.Generator, case: Case, step: int) -> Iterator[int]:
    """Errors in each `step` requests after a promotion."""
    yield from (int(v) for v in rng.binomial(step, case.canary, WATCHED // step))
