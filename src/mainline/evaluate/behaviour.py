"""What the settings say of the model's behaviour: columns that must not matter, and directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from mainline.evaluate.interval import at_most, exactly
from mainline.evaluate.subject import SEED, Subject
from mainline.limits import Direction, Invariant
from mainline.verdict import Check, Verdict

ROWS = 300
DRAWS = 3
STEPS = 8
# A fall of less than this share of the scores' spread is no fall.
TINY = 0.01


def check(subject: Subject) -> tuple[list[Check], dict[str, Any]]:
    """All entries of `invariant` and `directional`."""
    checks: list[Check] = []
    findings: dict[str, Any] = {"invariant": [], "directional": []}
    for entry in subject.limits.invariant:
        _invariant(subject, entry, checks, findings["invariant"])
    for expected in subject.limits.directional:
        _directional(subject, expected, checks, findings["directional"])
    return checks, findings


def _invariant(
    subject: Subject, entry: Invariant, checks: list[Check], findings: list[Any]
) -> None:
    """The values of other rows are put in; the share of decisions that change is judged.

    A number counts as changed when it moves by a hundredth of the target's spread.
    """
    name = f"invariant: {entry.column}"
    if entry.column not in subject.rules.by_name:
        checks.append(_unknown(subject, name, "invariant", entry.column))
        return
    if entry.column not in subject.features:
        checks.append(Check(name, Verdict.PASS, f"The model does not see {entry.column!r}",
                            value=0.0, limit=entry.flips))  # fmt: skip
        return
    rng, rows = np.random.default_rng(SEED), subject.some(ROWS, 6)
    pool = subject.test[entry.column].to_numpy()
    frames = [subject.at(rows, {entry.column: rng.choice(pool, len(rows))}) for _ in range(DRAWS)]
    before = subject.scores[rows]
    share = float(np.mean([
        subject.share(before, subject.changed(before, after, TINY))
        for after in subject.ask(frames)
    ]))  # fmt: skip
    what = f"Other values of {entry.column!r} change {share:.3g} of the decisions"
    checks.append(at_most(name, exactly(share), entry.flips, what, DRAWS * len(rows)))
    findings.append({"column": entry.column, "share": share, "limit": entry.flips})


def _directional(
    subject: Subject, entry: Direction, checks: list[Check], findings: list[Any]
) -> None:
    """The column goes step by step over its own quantiles on real rows that have a value.

    A row violates when its score goes the wrong way at any step by more than a hundredth of the
    scores' spread.
    """
    name = f"direction: {entry.column} {entry.score}"
    number, output = subject.numbers.get(entry.column), _output(subject, entry)
    if entry.column not in subject.rules.by_name:
        checks.append(_unknown(subject, name, "directional", entry.column))
        return
    if number is None or output is None:
        why = (
            f"{entry.column!r} is no numeric feature with two values"
            if number is None
            else f"`of` must name one of the classes {', '.join(subject.model.meta['classes'])}"
        )
        checks.append(Check(name, Verdict.ERROR, f"params.yaml: gate.model.directional: {why}"))
        return
    values = subject.test[entry.column]
    chosen = subject.some(ROWS, 7)
    chosen = chosen[values.notna().to_numpy()[chosen]]
    grid = np.unique(values.dropna().quantile(np.linspace(0, 1, 33), interpolation="nearest"))
    grid = grid[np.unique(np.linspace(0, len(grid) - 1, STEPS).round().astype(int))]
    answers = subject.ask([subject.at(chosen, {entry.column: step}) for step in grid])
    steps = np.diff(np.stack([a[:, output] for a in answers]), axis=0)
    wrong = -steps if entry.score == "up" else steps
    worst = wrong.max(axis=0)
    share = float((worst > TINY * subject.spread).mean())
    what = (f"The score goes the wrong way in {share:.3g} of {len(chosen)} rows as "
            f"{entry.column!r} goes up in {len(grid)} steps")  # fmt: skip
    checks.append(at_most(name, exactly(share), entry.violations, what, len(chosen)))
    findings.append({"column": entry.column, "score": entry.score, "violations": share,
                     "largest": float(worst.max()), "steps": len(grid), "rows": len(chosen),
                     "limit": entry.violations})  # fmt: skip


def _output(subject: Subject, entry: Direction) -> int | None:
    """The column of the scores that is meant; None where it is not said."""
    if subject.task != "multiclass":
        return 0
    classes = subject.model.meta["classes"]
    return classes.index(entry.of) if entry.of in classes else None


def _unknown(subject: Subject, name: str, section: str, column: str) -> Check:
    reason = (f"params.yaml: gate.model.{section} names {column!r}, which is no column of "
              "schema.yaml")  # fmt: skip
    return Check(name, Verdict.ERROR, reason)
