"""Differences in, checks and lines of `comparison.json` out: the rule, guardrails, cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from mainline.compare.difference import Difference, Pair, decide, detectable, differences, guard
from mainline.evaluate import latency
from mainline.settings import Gate
from mainline.train import bundle
from mainline.verdict import Check, Verdict

# Of a binary task rows of the rarer class, else rows: with fewer nothing is decided on a part.
LEAST = 30
ASKED = 50


def judge(
    pair: Pair, names: list[str], gate: Gate, document: dict[str, Any], scope: str = "all"
) -> list[Check]:
    """The gate's metric by the rule of non-inferiority, and the guardrails."""
    checks = []
    for found in differences(pair, names):
        verdict: Verdict | None = None
        limit = None
        if found.name == gate.metric:
            verdict, limit = decide(found, gate.delta, gate.require_improvement), gate.delta
            checks.append(check(found, verdict, gate.delta, scope))
        elif found.name in gate.guardrails:
            limit = gate.guardrails[found.name]
            verdict = guard(found, limit)
            checks.append(check(found, verdict, limit, scope, "guardrail "))
        document["metrics"].append(line(found, scope, verdict, limit))
    return checks


def show(pair: Pair, names: list[str], document: dict[str, Any]) -> None:
    """The differences, without deciding anything."""
    document["metrics"] += [line(found, "all", None, None) for found in differences(pair, names)]


def line(
    found: Difference, scope: str, verdict: Verdict | None, limit: float | None
) -> dict[str, Any]:
    """A difference as `comparison.json` has it."""
    return {**asdict(found), "scope": scope, "verdict": verdict.value if verdict else None,
            "limit": limit, "detectable": detectable(found)}  # fmt: skip


def check(found: Difference, verdict: Verdict, limit: float, scope: str, kind: str = "") -> Check:
    """A difference as a check; one sentence with its numbers."""
    better = "better" if found.gain >= 0 else "worse"
    reason = (
        f"{kind}{found.name} {found.base:.4f} -> {found.candidate:.4f}: {abs(found.gain):.4f} "
        f"{better}, 95% bounds {found.low:+.4f} to {found.high:+.4f}, may lose {limit:g}"
    )
    if verdict is Verdict.INCONCLUSIVE and not kind:
        reason += f"; these rows show a loss of {detectable(found):.2g} four times in five"
    if scope != "all":
        reason = f"{scope}: {reason}"
    return Check(f"{kind}{found.name}", verdict, reason, value=found.gain, low=found.low,
                 high=found.high, limit=limit, n=found.n, scope=scope)  # fmt: skip


def unchanged(pair: Pair, names: list[str]) -> list[dict[str, Any]]:
    """The metrics of two models that say the same, each with a difference of nothing."""
    out = []
    for found in differences(pair, names, replicates=2):
        same = Difference(found.name, found.base, found.candidate, 0.0, 0.0, 0.0, 0.0, found.n,
                          found.positives)  # fmt: skip
        out.append(asdict(same))
    return out


def weight(pair: Pair) -> int:
    """How many rows decide: those of the rarer class of a binary task, else all."""
    if pair.positives is None:
        return len(pair.y)
    return min(pair.positives, len(pair.y) - pair.positives)


def by_age(
    pair: Pair, joined: pd.DataFrame, until: str | None, gate: Gate, document: dict[str, Any]
) -> list[Check]:
    """Where the candidate knows newer rows than the base did, each age is judged by itself.

    All history pooled hides what the newest rows gain and what the older ones lose.
    """
    if until is None or joined["time"].isna().any():
        return []
    new = (joined["time"] > pd.Timestamp(until)).to_numpy()
    if min(weight(pair.rows(new)), weight(pair.rows(~new))) < LEAST:
        return []
    return [
        *judge(pair.rows(new), [gate.metric], gate, document, "rows newer than the base"),
        *judge(pair.rows(~new), [gate.metric], gate, document, "rows the base's age"),
    ]


def cost(
    model: bundle.Bundle, gate: Gate, base: Mapping[str, float], training: Mapping[str, Any]
) -> tuple[list[Check], dict[str, Any]]:
    """The time of one row against `gate.model.latency_ms`, and both sides' cost as far as known.

    Size and training are shown; a size limit is held by `evaluate`.
    """
    limit = gate.model.latency_ms
    spent = latency.measure(model)
    if limit is not None and spent > limit:  # a busy machine is not the model's fault
        spent = quickest(model)
    size = sum(f.stat().st_size for f in model.folder.iterdir() if f.is_file()) / 1e6
    own = {**training, "latency_ms": round(spent, 3), "size_mb": round(size, 6)}
    before = f", with the base {base['latency_ms']:.3g} ms" if "latency_ms" in base else ""
    over = limit is not None and spent > limit
    allowed = "" if limit is None else f"; at most {limit:g} ms are allowed"
    found = Check("latency of a row", Verdict.FAIL if over else Verdict.PASS,
                  f"One row takes {spent:.3g} ms{before}{allowed}", value=own["latency_ms"],
                  limit=limit, unit="ms")  # fmt: skip
    return [found], {"candidate": own, "base": dict(base)}


def quickest(model: bundle.Bundle) -> float:
    """The least milliseconds of fifty times one row, to which other work adds next to nothing."""
    frame = pd.DataFrame([model.meta["golden"][0]["row"]])
    spent = []
    for _ in range(ASKED):
        began = time.perf_counter()
        model.decide(model.predict(frame))
        spent.append(time.perf_counter() - began)
    return 1000 * min(spent)


def apart(pair: Pair) -> int:
    """How many rows get another score or decision from the two models."""
    scores = (pair.base_scores != pair.scores).any(axis=1)
    return int((scores | np.not_equal(pair.base_decisions, pair.decisions)).sum())
