"""Each group of rows by itself: a mean that improves must not hide a group that got worse."""

from __future__ import annotations

from dataclasses import asdict
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from mainline.compare import judge
from mainline.compare.difference import Difference, Pair, differences, holm
from mainline.data import schema, table
from mainline.evaluate import evaluate
from mainline.evaluate.metrics import measure
from mainline.settings import Gate, Settings
from mainline.train import bundle
from mainline.verdict import Check, Verdict

# A slice has fewer rows, so it may lose more before it blocks.
WIDER = 2.0
REPLICATES = 400


def check(
    pair: Pair, ids: pd.Series, frame: pd.DataFrame, options: Settings, rules: schema.Schema,
    gate: Gate, document: dict[str, Any],
) -> list[Check]:  # fmt: skip
    """Each slice with enough rows, Holm's correction over all of them; smaller ones are shown.

    `ids` (n,) are the row ids of `pair`, `frame` the typed rows that hold the slices' columns.
    """
    found: list[tuple[str, Difference]] = []
    by_row = table.row_ids(frame, rules)
    for column in options.evaluate.slices:
        named = bundle.class_names(frame[column]).fillna("(missing)").to_numpy()
        values = pd.Series(named, index=by_row).reindex(ids)
        for name in values.value_counts().index[: evaluate.MOST_SLICES]:
            rows = pair.rows((values == name).to_numpy())
            slice_ = f"{column} = {name}"
            if judge.weight(rows) >= judge.LEAST:
                found.append((slice_, differences(rows, [gate.metric], REPLICATES)[0]))
            else:
                document["slices"].append(shown(rows, gate.metric, slice_))
    return decide(found, gate.delta * WIDER, document)


def decide(
    found: list[tuple[str, Difference]], limit: float, document: dict[str, Any]
) -> list[Check]:
    """FAIL for each slice that surely lost more than `limit`, all being tested at once."""
    unknown = [name for name, d in found if not np.isfinite([d.gain, d.se]).all()]
    known = [(name, d) for name, d in found if name not in unknown]
    p_values = [NormalDist().cdf((d.gain + limit) / max(d.se, 1e-12)) for _, d in known]
    checks = []
    for (name, difference), worse in zip(known, holm(p_values), strict=True):
        verdict = Verdict.FAIL if worse else Verdict.PASS
        line = {**asdict(difference), "slice": name, "verdict": verdict.value, "limit": limit}
        document["slices"].append(line)
        if worse:
            checks.append(judge.check(difference, verdict, limit, name, "slice "))
    for name in unknown:
        reason = f"{name}: too few entities or blocks to say how sure a difference is"
        checks.append(Check("slice", Verdict.INCONCLUSIVE, reason, scope=name))
    if known and not checks:
        reason = f"None of {len(known)} slices surely lost more than {limit:g}"
        checks.append(Check("slices", Verdict.PASS, reason, n=len(known)))
    return checks


def shown(pair: Pair, name: str, slice_: str) -> dict[str, Any]:
    """A slice that is too small to be judged: both sides' metric, and no verdict."""
    base, candidate = (
        measure(pair.task, [name], pair.y, scores, decisions)[name]
        for scores, decisions in ((pair.base_scores, pair.base_decisions),
                                  (pair.scores, pair.decisions))
    )  # fmt: skip
    return {"slice": slice_, "name": name, "base": base, "candidate": candidate, "gain": None,
            "low": None, "high": None, "se": None, "n": len(pair.y), "positives": pair.positives,
            "verdict": None, "limit": None}  # fmt: skip
