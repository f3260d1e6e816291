"""What a model has to prove, besides its metrics: all checks of `gate.model` in one pass."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from mainline.data import schema
from mainline.evaluate import (
    baselines,
    behaviour,
    cases,
    fairness,
    flip,
    importance,
    latency,
    learning,
    robustness,
)
from mainline.evaluate.subject import Subject
from mainline.settings import Settings
from mainline.train import bundle, train
from mainline.train.bundle import Bundle
from mainline.verdict import Check


def checks(
    root: Path, options: Settings, rules: schema.Schema, model: Bundle | None = None,
    source: Path | None = None,
) -> list[Check]:  # fmt: skip
    """The model in `root` under the limits of `options`, which may be those of a base.

    `source` is where tests/model/cases.csv stands, if not under `root`: then only what hangs on
    limits and cases is checked, because the rest was. Raises DataError where rows or model cannot
    be read.
    """
    model = model or bundle.load(root / "models", root)
    rows = train.usable_rows(root, options, rules)
    held = (rows.part == "test").to_numpy()
    scores = model.predict(rows.frame[held])
    return examine(subject(root, options, rules, model, rows, scores, source))[0]


def subject(
    root: Path, options: Settings, rules: schema.Schema, model: Bundle, rows: train.Rows,
    scores: np.ndarray, source: Path | None = None,
) -> Subject:  # fmt: skip
    """What is checked, from all usable `rows` and the model's `scores` on those of the part test.

    `scores` (n, k) are in the order of `rows`.
    """
    held = (rows.part == "test").to_numpy()
    test = rows.frame[held].reset_index(drop=True)
    return Subject(root, options, rules, model, rows, test, rows.y[held], scores, source or root)


def examine(about: Subject) -> tuple[list[Check], dict[str, Any]]:
    """All checks, and what they found for `reports/behaviour.json`.

    `baselines`: the metric, and of `dummy` and `linear` its value and the model's `gain`.
    `overfit`: `share` of the way on the table's labels, and `planted` on labels in order of a
    column. `gap`: train less test. `determinism`. `robustness`: by kind the `share` of decisions
    that change and the same by column. `invariant`, `directional`, `fairness`: an entry each, as in
    params.yaml, with what was measured. `nearest_flip`: as `flip.nearest` says. `importance`: as
    `importance.of` says. `calibration`: value and bounds. `size`: megabytes. Gains, gaps and errors
    have `low` and `high`, one-sided 95% bounds; a `limit` that is null decided nothing.
    """
    made: list[Check] = []
    found: dict[str, Any] = {}
    parts: dict[str, Any] = {
        "baselines": baselines.check, "overfit": learning.can_learn, "gap": learning.gap,
        "determinism": learning.determinism, "robustness": robustness.check,
        "calibration": fairness.calibration, "fairness": fairness.check, "size": latency.size,
    }  # fmt: skip
    if about.source != about.root:
        del parts["determinism"]
    with warnings.catch_warnings():
        # What is thrown at the model overflows and does not converge; the checks say what came out.
        warnings.simplefilter("ignore")
        for name, part in parts.items():
            more, found[name] = part(about)
            made += more
        more, both = behaviour.check(about)
        found |= both | {"nearest_flip": flip.nearest(about), "importance": _importance(about)}
        return [*made, *more, *cases.check(about)], found


def _importance(about: Subject) -> dict[str, Any] | None:
    """What the model leans on; an estimator that cannot be asked in this way fails no check."""
    if about.source != about.root:  # only what hangs on the limits is looked at
        return None
    try:
        return importance.of(about)
    except Exception:
        return None
