"""A first model has no base: it has to beat a constant answer and be no worse than a linear one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mainline.compare import judge
from mainline.compare.difference import Pair, decide, differences
from mainline.data import schema, table
from mainline.errors import MainlineError
from mainline.evaluate import predictions
from mainline.evaluate.baselines import baselines
from mainline.settings import Gate, Settings
from mainline.train import bundle, train
from mainline.verdict import Check, Verdict


def check(
    root: Path, options: Settings, rules: schema.Schema, gate: Gate,
    candidate: predictions.Predictions, groups: np.ndarray | None, document: dict[str, Any],
) -> list[Check]:  # fmt: skip
    """The gate's metric against both, on the test rows; `groups` (n,) are their dependent rows."""
    rows = train.usable_rows(root, options, rules)
    learn = (rows.part == "train").to_numpy()
    held = (rows.part == "test").to_numpy()
    typed = bundle.raw_inputs(rows.frame, bundle.read_meta(root / "models")["raw"])
    order = np.argsort(table.row_ids(rows.frame[held], rules).to_numpy().astype(str), kind="stable")
    try:
        scored = baselines(typed[learn], rows.y[learn], typed[held], options.model.task)
    except (ValueError, TypeError, MainlineError) as error:
        reason = f"The baselines could not be fitted: {str(error).splitlines()[0]}"
        return [Check("baselines", Verdict.INCONCLUSIVE, reason)]
    checks = []
    for name, scores in scored.items():
        aligned = scores[order]
        decided = bundle.decide(aligned, options.model.task, 0.5)
        pair = Pair(options.model.task, candidate.y, aligned, decided, candidate.scores,
                    candidate.decisions, groups)  # fmt: skip
        found = differences(pair, [gate.metric])[0]
        strict = name == "dummy"
        verdict = decide(found, gate.delta, require_improvement=strict)
        limit = 0 if strict else gate.delta
        scope = f"{name} baseline"
        document["metrics"].append(judge.line(found, scope, verdict, limit))
        checks.append(judge.check(found, verdict, limit, scope))
    return checks
