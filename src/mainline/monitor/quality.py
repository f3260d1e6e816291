"""Quality on matured labels, watched as streams of good and bad outcomes in order of maturing.

Only rows old enough for their label to be final count: a fraud is reported within days and an
honest payment confirmed after weeks, so "rows that have a label" would show mostly frauds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mainline import eprocess

LARGEST_LOG_E = 50.0  # what is written of an e-value; beyond that nobody cares


@dataclass(frozen=True)
class StreamWatch:
    """One stream: what was seen of it, and the evidence that it is worse than its bound."""

    name: str
    n: int
    bad: int
    bound: float
    reference_rate: float | None
    log_e: float  # the highest ever reached
    fired_at: pd.Timestamp | None  # when the label matured at which e reached 20

    @property
    def rate(self) -> float | None:
        """The share of bad outcomes; None before the first."""
        return self.bad / self.n if self.n else None


def streams(rows: pd.DataFrame, reference: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """For each stream of the reference its outcomes: `matured_at` and `bad`, in order.

    `rows` (from `matured`) has y and decision, for a regression y and score. binary: a missed
    positive, a false alert; multiclass: a wrong class; regression: an error beyond the limit.
    """
    task = reference["task"]
    if task == "binary":
        positive, alert = rows["y"] == 1, rows["decision"] == 1
        return {
            "missed": _outcomes(rows[positive], ~alert[positive]),
            "false_alert": _outcomes(rows[alert], ~positive[alert]),
        }
    if task == "multiclass":
        return {"wrong": _outcomes(rows, rows["y"] != rows["decision"])}
    limit = reference["streams"]["large_error"]["limit"]
    return {"large_error": _outcomes(rows, (rows["y"] - rows["score"]).abs() > limit)}


def watch(rows: pd.DataFrame, reference: Mapping[str, Any]) -> tuple[StreamWatch, ...]:
    """Each stream's evidence against "no worse than the reference's own 95% bound".

    Having fired once is enough: the e-process promises at most one false alarm in twenty models,
    however long each is watched.
    """
    out = []
    for name, outcomes in streams(rows, reference).items():
        known = reference["streams"][name]
        log_e = eprocess.quality(outcomes["bad"], known["bound"])
        at = eprocess.first_fired(log_e)
        out.append(
            StreamWatch(
                name=name,
                n=len(outcomes),
                bad=int(outcomes["bad"].sum()),
                bound=float(known["bound"]),
                reference_rate=known["bad"] / known["n"] if known["n"] else None,
                log_e=float(min(LARGEST_LOG_E, log_e.max(initial=0.0))),
                fired_at=None if at is None else outcomes["matured_at"].iloc[at],
            )
        )
    return tuple(out)


def figures(y: NDArray[Any], decision: NDArray[Any], task: str) -> dict[str, float | int | None]:
    """What a reader wants of one window's matured rows: recall and the like; None where undefined.

    binary: positives, recall, precision, fpr; multiclass: accuracy; regression: mae.
    """
    if task == "regression":
        return {"mae": float(np.abs(y - decision).mean()) if len(y) else None}
    if task == "multiclass":
        return {"accuracy": _share(y == decision)}
    return {
        "positives": int((y == 1).sum()),
        "recall": _share(decision[y == 1] == 1),
        "precision": _share(y[decision == 1] == 1),
        "fpr": _share(decision[y == 0] == 1),
    }


def fired(watches: Iterable[StreamWatch]) -> list[StreamWatch]:
    """The streams that have fired, the earliest first."""
    found = [w for w in watches if w.fired_at is not None]
    return sorted(found, key=lambda w: str(w.fired_at))


def sentence(watch: StreamWatch) -> str:
    """One sentence with the numbers."""
    if not watch.n:
        return f"{watch.name}: no matured label yet"
    e = math.exp(watch.log_e)
    return (
        f"{watch.name}: {watch.bad} of {watch.n} ({watch.rate:.0%}), bound {watch.bound:.0%}, "
        f"e {f'{e:.1f}' if e < 1000 else 'over 1000'}"
    )


def _outcomes(rows: pd.DataFrame, bad: pd.Series) -> pd.DataFrame:
    return pd.DataFrame({"matured_at": rows["matured_at"], "bad": bad.astype(bool)}).reset_index(
        drop=True
    )


def _share(values: NDArray[Any]) -> float | None:
    return float(np.mean(values)) if len(values) else None
