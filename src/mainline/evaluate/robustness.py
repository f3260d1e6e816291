"""The model on rows that are slightly or badly off: what breaks it, and what flips it.

An answer that is not finite, or none at all, always fails; how many decisions change is held to
the limits `noise`, `missing` and `extremes`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mainline.evaluate.interval import at_most, exactly
from mainline.evaluate.subject import SEED, Subject
from mainline.verdict import Check, Verdict

ROWS = 300  # for each kind of noise
FEW = 60  # for each column
NOISE, FAR = 0.01, 10.0  # in spreads of a column
UNSEEN = "never seen before"
SPOKEN = {
    "noise": "Numbers moved by a hundredth of their spread change",
    "missing values": "One missing value changes",
    "extreme values": "One number far out changes",
    "unseen categories": "A category that training did not see changes",
}
REMEDIES = {
    "missing values": "Fill it in features.build, or set its max_missing to 0 in schema.yaml",
    "extreme values": "Meet it in features.build, or set hard limits in schema.yaml",
    "unseen categories": "Meet it in features.build, or list the categories in schema.yaml",
}


@dataclass(frozen=True)
class Probe:
    """Changed copies of test rows: which rows (n,), the changed table, and what was changed."""

    positions: np.ndarray
    frame: pd.DataFrame
    what: str


def check(subject: Subject) -> tuple[list[Check], dict[str, Any]]:
    """Rows alone, noise, missing values, extreme values and unseen categories."""
    checks, findings = [alone(subject)], {}
    limits = subject.limits
    kinds: tuple[tuple[str, Callable[[Subject], list[Probe]], float | None], ...] = (
        ("noise", noise, limits.noise),
        ("missing values", missing, limits.missing),
        ("extreme values", extremes, limits.extremes),
        ("unseen categories", unseen, None),
    )
    for name, make, limit in kinds:
        made, found = _judge(subject, name, make(subject), limit)
        checks.append(made)
        findings[name] = found
    return checks, findings


def alone(subject: Subject) -> Check:
    """A row scored with few others, or by itself, must have the score it has among all.

    The service sees one row at a time: a feature that looks at other rows, or at their order, is
    another feature there.
    """
    name, rows = "each row stands alone", subject.some(ROWS, 1)
    mixed = np.random.default_rng(SEED).permutation(rows)
    try:
        scores = subject.ask([subject.at(mixed)])[0]
        single = [subject.ask([subject.at(mixed[i : i + 1])])[0] for i in range(min(3, len(mixed)))]
    except Exception as error:
        return _raised(name, "few rows", error, len(rows))
    scores[: len(single)] = np.concatenate(single) if single else scores[:0]
    # A model of single precision rounds otherwise in another batch.
    near = 1e-6 * (subject.spread if subject.task == "regression" else 1.0)
    off = ~np.isclose(scores, subject.scores[mixed], rtol=1e-5, atol=near).all(axis=1)
    share = float(off.mean())
    if share:
        reason = (f"{int(off.sum())} of {len(off)} rows score otherwise among other rows: "
                  "features.build must make each row from that row alone")  # fmt: skip
        return Check(name, Verdict.FAIL, reason, value=round(share, 6), limit=0.0, n=len(off))
    reason = f"{len(off)} rows have the same score alone, in another order and among all"
    return Check(name, Verdict.PASS, reason, value=0.0, limit=0.0, n=len(off))


def noise(subject: Subject) -> list[Probe]:
    """All numbers of a row moved up or down by a hundredth of their column's spread, twice.

    Whole numbers stay whole, and no value leaves the bounds of its column.
    """
    rng, rows, probes = np.random.default_rng(SEED), subject.some(ROWS, 2), []
    for _ in range(2 if subject.numbers else 0):
        frame = subject.at(rows)
        for column, number in subject.numbers.items():
            signs = rng.choice([-1.0, 1.0], len(rows))
            moved = frame[column].to_numpy() + NOISE * number.spread * signs
            frame[column] = number.fit(np.clip(moved, number.low, number.high))
        probes.append(Probe(rows, frame, "numbers"))
    return probes


def missing(subject: Subject) -> list[Probe]:
    """One value of a row missing, in each column that schema.yaml lets be missing."""
    rows, probes = subject.some(FEW, 3), []
    for name in subject.features:
        if subject.rules.by_name[name].max_missing > 0:
            nothing = None if subject.test[name].dtype == object else np.nan
            probes.append(Probe(rows, subject.at(rows, {name: nothing}), name))
    return probes


def extremes(subject: Subject) -> list[Probe]:
    """One number of a row ten spreads beyond all others, up and down, within the hard limits."""
    rows, probes = subject.some(FEW // 2, 4), []
    for name, number in subject.numbers.items():
        reach = FAR * number.spread
        for value in (number.low - reach, number.high + reach):
            far = float(number.fit(np.array([value]))[0])
            probes.append(Probe(rows, subject.at(rows, {name: far}), name))
    return probes


def unseen(subject: Subject) -> list[Probe]:
    """A category that training did not see, in each column that lets one through."""
    rows, probes = subject.some(FEW // 2, 5), []
    for name in subject.features:
        column = subject.rules.by_name[name]
        if column.type == "category" and (column.allow_new or column.categories is None):
            probes.append(Probe(rows, subject.at(rows, {name: UNSEEN}), name))
    return probes


def _judge(
    subject: Subject, name: str, probes: list[Probe], limit: float | None
) -> tuple[Check, dict[str, Any]]:
    """The share of decisions that changed over all probes; FAIL where one has no finite score."""
    if not probes:
        return Check(name, Verdict.PASS, "No column of the model can have any"), {"rows": 0}
    try:
        answers = subject.ask([p.frame for p in probes])
    except Exception:
        return _broken(subject, name, probes), {"rows": 0}
    shares: dict[str, float] = {}
    rows = 0
    for probe, scores in zip(probes, answers, strict=True):
        before = subject.scores[probe.positions]
        share = subject.share(before, subject.changed(before, scores))
        shares[probe.what] = max(share, shares.get(probe.what, 0.0))
        rows += len(scores)
    mean = float(np.mean(list(shares.values())))
    top = max(shares, key=lambda column: shares[column])
    what = f"{SPOKEN[name]} {mean:.3g} of the decisions"
    if len(shares) > 1:
        what += f", most with {top!r} ({shares[top]:.3g})"
    found = {"share": mean, "columns": dict(sorted(shares.items())), "rows": rows, "limit": limit}
    return at_most(name, exactly(mean), limit, what, rows), found


def _broken(subject: Subject, name: str, probes: list[Probe]) -> Check:
    """Which column it was that the model could not score."""
    for probe in probes:
        try:
            subject.ask([probe.frame])
        except Exception as error:
            return _raised(name, probe.what, error, len(probe.frame))
    return Check(name, Verdict.FAIL, "The rows could be scored one by one and not together")


def _raised(name: str, what: str, error: Exception, n: int) -> Check:
    said = (str(error).splitlines() or [""])[0][:200]
    reason = f"No score with {what!r} changed: {type(error).__name__}: {said}"
    reason += f". {REMEDIES[name]}" if name in REMEDIES else ""
    return Check(name, Verdict.FAIL, reason, n=n)
