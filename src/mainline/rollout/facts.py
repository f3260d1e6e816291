"""What a verdict of the judge rests on: plain numbers, with nothing left to be read or asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mainline.rollout.access import ArmCounts
from mainline.rollout.spread import Spread
from mainline.verdict import Check


@dataclass(frozen=True)
class StageCounts:
    """All that was counted in one stage. Weight in per cent; 0 is a shadow stage (a mirror).

    `min_seconds` is what a PASS needs at least; `judge` names what is judged here besides the
    canary's life, its requests and the log (None: everything).
    """

    stage: str
    weight: int
    requests: int
    canary: ArmCounts
    stable: ArmCounts
    min_seconds: float = 0.0
    judge: Sequence[str] | None = None

    @property
    def share(self) -> float:
        """The canary's share of the requests: in a shadow stage each request goes to both."""
        return 0.5 if self.weight == 0 else self.weight / 100


@dataclass(frozen=True)
class Recorded:
    """What the comparison measured offline on `rows` held-out rows; 0 rows where nobody counted.

    `mean` and `sd` are of new less old, row by row (first score). `edges` (k,) cut the scores of
    both models into bins, `new` and `old` are the shares (k + 1,) of each model's scores in them.
    `decided` are shares by decision, of (new, old).
    """

    mean: float
    sd: float
    rows: int = 0
    edges: Sequence[float] = ()
    new: Sequence[float] = ()
    old: Sequence[float] = ()
    decided: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @staticmethod
    def read(found: Any) -> Recorded | None:
        """From `limits["recorded"]`: a mapping with these keys, [mean, sd], or nothing."""
        if not found:
            return None
        if isinstance(found, Mapping):
            return Recorded(**found)
        return Recorded(float(found[0]), float(found[1]))


@dataclass(frozen=True)
class Answers:
    """What the prediction log says. `compared` and `wrong` are answers held against offline ones.

    `pairs` and `mean` are of shadow less stable, request by request. `canary` and `stable` are the
    scores and decisions that users got from each; `constant` says that all `scored` answers of the
    canary, its mirrored ones too, were one and the same while stable's differ. Of live answers,
    nobody knows for `late` seconds whether they are the model's (0 where nobody has to), and the
    model could not be asked about `unscored` ones.
    """

    given: bool = False
    compared: int = 0
    wrong: int = 0
    stable_wrong: int = 0
    pairs: int = 0
    mean: float = 0.0
    recorded: Recorded | tuple[float, float] | None = None
    scored: int = 0
    constant: bool = False
    canary: Spread = field(default_factory=Spread)
    stable: Spread = field(default_factory=Spread)
    late: float = 0.0
    unscored: int = 0


@dataclass(frozen=True)
class Joined:
    """The access log held against the prediction log, of requests older than a grace of seconds.

    `unlogged` of the `answered` requests in the access log have no record of a prediction, and
    `unseen` of the `logged` predictions for users have no line in the access log. Of this stage
    alone, and without any grace, `here` requests were answered and `found` of them are in both.
    """

    answered: int = 0
    unlogged: int = 0
    logged: int = 0
    unseen: int = 0
    here: int = 0
    found: int = 0


@dataclass(frozen=True)
class Evidence:
    """Everything a verdict rests on: the stages so far, the last being the one judged.

    `lost` says how the canary was lost (None: it is there); `due` whether this look may spend a
    part of ALPHA on the upper bounds; `unread` how many log lines could not be read; `elapsed` for
    how many seconds the stage has lasted. Of a promotion alone: `watched` holds, by name, the
    logarithm of the e-value against "no more than the budget" (eprocess.Detector), `fallback`
    whether the old version is there to go back to, and `labels` checks of matured labels.
    """

    stages: Sequence[StageCounts]
    answers: Answers = field(default_factory=Answers)
    lost: str | None = None
    due: bool = True
    unread: int = 0
    elapsed: float = float("inf")
    joined: Joined | None = None
    watched: Mapping[str, float] = field(default_factory=dict)
    fallback: bool = True
    labels: Sequence[Check] = ()


@dataclass(frozen=True)
class Limits:
    """From the section `rollout` of params.yaml."""

    error_budget: float
    latency_ms: float
