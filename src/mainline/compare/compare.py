"""`mainline compare`: candidate and base on the same rows."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from mainline import inputs, settings
from mainline.compare import base as bases
from mainline.compare import policy
from mainline.compare.difference import (
    Difference,
    Pair,
    decide,
    detectable,
    differences,
    guard,
    holm,
)
from mainline.data import schema, table
from mainline.data.split import split_digest
from mainline.errors import MainlineError, NotMeasured
from mainline.evaluate import evaluate, predictions
from mainline.files import digest_bytes, digest_tree, replacing, write_json
from mainline.git import head, require_history
from mainline.settings import Gate, Settings
from mainline.train import bundle, train
from mainline.verdict import Check, StepVerdict, Verdict, read_verdict, recorded

LEAST_POSITIVES = 30
# A slice has fewer rows, so it may lose more before it blocks.
SLICE_DELTA = 2.0


def run(root: Path, asked: str = "auto") -> StepVerdict:
    """Compare; write `reports/comparison.json` and `reports/verdicts/compare.json`.

    Raises NotMeasured when either side cannot be scored, RemoteError in a shallow clone.
    """
    (root / "reports" / "comparison.json").unlink(missing_ok=True)
    with recorded(root, "compare"):
        require_history(root)
        options, rules = settings.load(root), schema.load(root)
        candidate = _candidate(root)
        base = bases.find(root, options, asked)
        old = policy.base_settings(root, base.commit)
        gate = policy.gate_of(old, options)
        given = {
            "code": inputs.code_digest(root), "data": table.data_digest(root),
            "split": split_digest(options, rules), "model": digest_tree(root / "models"),
            "policy": inputs.policy_digest(root, gate.model_dump(mode="json"), options.split.salt),
        }  # fmt: skip
        document: dict[str, Any] = {
            "base": {"kind": base.kind, "label": base.label, "commit": base.commit,
                     "version": base.version.name if base.version else None, "digest": None},
            "candidate": {"commit": head(root), "digest": given["model"]},
            "metric": gate.metric, "delta": gate.delta,
            "rows": _rows(candidate), "metrics": [], "slices": [],
        }  # fmt: skip
        checks = [policy.check(root, base.commit, old, options)]
        if base.commit is None:
            checks += _against_baselines(root, options, rules, gate, candidate, document)
        else:
            checks += _against_base(root, options, rules, gate, base, candidate, document, given)
        done = StepVerdict("compare", tuple(checks), given)
        document["verdict"] = done.verdict.value
        write_json(root / "reports" / "comparison.json", evaluate.plain(document))
        done.write(root)
        return done


def _candidate(root: Path) -> predictions.Predictions:
    found = predictions.read(root / "reports" / "predictions.parquet").of("test")
    try:
        evaluated = read_verdict(root / "reports" / "verdicts" / "evaluate.json").inputs
    except NotMeasured as error:
        raise NotMeasured("The candidate was not evaluated", "Run `./mainline pipeline`") from error
    if evaluated.get("code") != inputs.code_digest(root):
        raise NotMeasured(
            "The predictions are of other code, settings or schema", "Run `./mainline pipeline`"
        )
    if evaluated.get("model") != digest_tree(root / "models"):
        raise NotMeasured(
            "The predictions are not those of the model in models/", "Run `./mainline pipeline`"
        )
    return found


def _rows(found: predictions.Predictions) -> dict[str, Any]:
    ids = "\n".join(found.frame["row_id"]).encode()
    positives = int((found.y == 1).sum())
    return {"n": len(found.frame), "positives": positives, "digest": digest_bytes(ids)}


# ---- against a model of the past ---------------------------------------------------------------


def _against_base(
    root: Path, options: Settings, rules: schema.Schema, gate: Gate, base: bases.Base,
    candidate: predictions.Predictions, document: dict[str, Any], given: dict[str, Any],
) -> list[Check]:  # fmt: skip
    known = base.version.digest if base.version else None
    if known is not None and known == given["model"]:
        given["base"] = document["base"]["digest"] = known
        return [_unchanged(f"The model is {base.label}, byte for byte", len(candidate.frame))]
    frame, part = evaluate.held_out(root, options, rules)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.parquet"
        with replacing(rows) as temporary:
            frame[part == "test"].to_parquet(temporary, index=False)
        result = bases.score(root, base, rows)
    given["base"] = document["base"]["digest"] = result.digest
    checks = _fit_together(result, base, split_digest(options, rules), candidate)
    pair, joined = _pair(candidate, result.found, options.model.task)
    checks.append(_same_rows(candidate, result.found, len(joined)))
    if pair.same:
        document["metrics"] = [asdict(_no_difference(pair, n)) for n in _names(options, gate)]
        return [*checks, _unchanged(f"Every prediction is that of {base.label}", len(joined))]
    checks += judge(pair, _names(options, gate), gate, document)
    checks += _by_age(pair, joined, result.meta.get("trained_until"), gate, document)
    checks += _by_slice(pair, joined, frame, options, rules, gate, document)
    return checks


def _names(options: Settings, gate: Gate) -> list[str]:
    return list(dict.fromkeys([gate.metric, *evaluate.metric_names(options), *gate.guardrails]))


def _unchanged(reason: str, n: int) -> Check:
    return Check("unchanged", Verdict.PASS, reason, value=0, n=n)


def _no_difference(pair: Pair, name: str) -> Difference:
    found = differences(pair, [name], replicates=2)[0]
    return Difference(
        name, found.base, found.candidate, 0.0, 0.0, 0.0, 0.0, found.n, found.positives
    )


def _fit_together(
    result: bases.BaseResult, base: bases.Base, split: str, candidate: predictions.Predictions
) -> list[Check]:
    checks = []
    if result.meta["digests"]["split"] != split:
        checks.append(Check(
            "same split", Verdict.INCONCLUSIVE,
            "The base was split otherwise, so it may have trained on these test rows",
        ))  # fmt: skip
    known = base.version.digest if base.version else None
    if known is not None and known != result.digest:
        checks.append(Check(
            "base reproduced", Verdict.INCONCLUSIVE,
            f"{base.label} was trained again here and came out as {result.digest[7:19]}, "
            f"registered was {known[7:19]}: another platform, or a store that lost it",
        ))  # fmt: skip
    if result.found.scores.shape[1] != candidate.scores.shape[1]:
        raise NotMeasured(
            "Base and candidate have other classes and cannot be compared",
            "This is a new major version: label the pull request `accept-inconclusive`",
        )
    return checks


def _same_rows(
    candidate: predictions.Predictions, old: predictions.Predictions, both: int
) -> Check:
    lost = (len(candidate.frame) - both) + (len(old.frame) - both)
    verdict = Verdict.PASS if lost == 0 else Verdict.INCONCLUSIVE
    reason = f"Both sides scored the same {both} rows"
    if lost:
        ids = set(candidate.frame["row_id"]) ^ set(old.frame["row_id"])
        reason = f"{lost} rows were scored by one side only, such as {sorted(ids)[0]!r}"
    return Check("same rows", verdict, reason, value=lost, limit=0, n=both, unit="rows")


def _pair(
    candidate: predictions.Predictions, old: predictions.Predictions, task: str
) -> tuple[Pair, pd.DataFrame]:
    """The rows that both sides scored, and their frame (row_id, entity, time), in one order."""
    shared = np.intersect1d(candidate.frame["row_id"], old.frame["row_id"])
    if len(shared) == 0:
        raise NotMeasured("Base and candidate have no row in common", "Look at the row ids")
    new = predictions.Predictions(_only(candidate.frame, shared))
    past = predictions.Predictions(_only(old.frame, shared))
    entity = new.frame["entity"]
    groups = None
    if entity.notna().all() and entity.duplicated().any():
        groups = pd.factorize(entity)[0]
    return Pair(
        task, new.y, past.scores, past.decisions, new.scores, new.decisions, groups
    ), new.frame


def _only(frame: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    return frame[frame["row_id"].isin(ids)].sort_values("row_id", ignore_index=True)


# ---- the rule ----------------------------------------------------------------------------------


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
            checks.append(_check(found, verdict, gate.delta, scope))
        elif found.name in gate.guardrails:
            limit = gate.guardrails[found.name]
            verdict = guard(found, limit)
            checks.append(_check(found, verdict, limit, scope, "guardrail "))
        document["metrics"].append({
            **asdict(found), "scope": scope, "verdict": verdict.value if verdict else None,
            "limit": limit, "detectable": detectable(found),
        })  # fmt: skip
    return checks


def _check(found: Difference, verdict: Verdict, limit: float, scope: str, kind: str = "") -> Check:
    better = "better" if found.gain >= 0 else "worse"
    reason = (
        f"{kind}{found.name} {found.base:.4f} -> {found.candidate:.4f}: {abs(found.gain):.4f} "
        f"{better}, 95% bounds {found.low:+.4f} to {found.high:+.4f}, may lose {limit:g}"
    )
    if scope != "all":
        reason = f"{scope}: {reason}"
    return Check(f"{kind}{found.name}", verdict, reason, value=found.gain, low=found.low,
                 high=found.high, limit=limit, n=found.n, scope=scope)  # fmt: skip


def _by_age(
    pair: Pair, joined: pd.DataFrame, until: str | None, gate: Gate, document: dict[str, Any]
) -> list[Check]:
    """Where the candidate knows newer rows than the base did, each age is judged by itself.

    All history pooled hides what the newest rows gain and what the older ones lose.
    """
    if until is None or joined["time"].isna().any():
        return []
    new = (joined["time"] > pd.Timestamp(until)).to_numpy()
    enough = min(_weight(pair.rows(new)), _weight(pair.rows(~new)))
    if enough < LEAST_POSITIVES:
        return []
    return [
        *judge(pair.rows(new), [gate.metric], gate, document, "rows newer than the base"),
        *judge(pair.rows(~new), [gate.metric], gate, document, "rows the base's age"),
    ]


def _weight(pair: Pair) -> int:
    return (
        len(pair.y) if pair.positives is None else min(pair.positives, len(pair.y) - pair.positives)
    )


def _by_slice(
    pair: Pair, joined: pd.DataFrame, frame: pd.DataFrame, options: Settings,
    rules: schema.Schema, gate: Gate, document: dict[str, Any],
) -> list[Check]:  # fmt: skip
    """Each slice large enough to say something; Holm's correction over all of them."""
    ids = table.row_ids(frame, rules)
    found: list[tuple[str, Difference]] = []
    for column in options.evaluate.slices:
        values = pd.Series(
            bundle.class_names(frame[column]).fillna("(missing)").to_numpy(), index=ids
        )
        values = values.reindex(joined["row_id"])
        for name in values.value_counts().index[: evaluate.MOST_SLICES]:
            rows = pair.rows((values == name).to_numpy())
            if _weight(rows) >= LEAST_POSITIVES:
                found.append((f"{column} = {name}", differences(rows, [gate.metric], 200)[0]))
    wide = gate.delta * SLICE_DELTA
    p_values = [NormalDist().cdf((d.gain + wide) / max(d.se, 1e-12)) for _, d in found]
    checks = []
    for (name, difference), worse in zip(found, holm(p_values), strict=True):
        verdict = Verdict.FAIL if worse else Verdict.PASS
        document["slices"].append({**asdict(difference), "slice": name, "verdict": verdict.value})
        if worse:
            checks.append(_check(difference, verdict, wide, name, "slice "))
    if found and not checks:
        reason = f"None of {len(found)} slices lost more than {wide:g}"
        checks.append(Check("slices", Verdict.PASS, reason, n=len(found)))
    return checks


# ---- against nothing ---------------------------------------------------------------------------


def _against_baselines(
    root: Path, options: Settings, rules: schema.Schema, gate: Gate,
    candidate: predictions.Predictions, document: dict[str, Any],
) -> list[Check]:  # fmt: skip
    """A first model has to beat a dummy and be no worse than a linear model."""
    rows = train.usable_rows(root, options, rules)
    learn = (rows.part == "train").to_numpy()
    held = (rows.part == "test").to_numpy()
    typed = bundle.raw_inputs(rows.frame, bundle.read_meta(root / "models")["raw"])
    order = np.argsort(table.row_ids(rows.frame[held], rules).to_numpy().astype(str), kind="stable")
    checks = []
    try:
        scored = bases.baselines(typed[learn], rows.y[learn], typed[held], options.model.task)
    except (ValueError, MainlineError) as error:
        reason = f"The baselines could not be fitted: {str(error).splitlines()[0]}"
        return [Check("baselines", Verdict.INCONCLUSIVE, reason)]
    for name, scores in scored.items():
        aligned = scores[order]
        decided = bundle.decide(aligned, options.model.task, 0.5)
        pair = Pair(options.model.task, candidate.y, aligned, decided, candidate.scores,
                    candidate.decisions)  # fmt: skip
        found = differences(pair, [gate.metric])[0]
        strict = name == "dummy"
        verdict = decide(found, gate.delta, require_improvement=strict)
        document["metrics"].append({**asdict(found), "scope": f"{name} baseline",
                                    "verdict": verdict.value, "limit": 0 if strict else gate.delta,
                                    "detectable": detectable(found)})  # fmt: skip
        checks.append(_check(found, verdict, 0 if strict else gate.delta, f"{name} baseline"))
    return checks
