"""`mainline compare`: candidate and base on the same rows."""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline import inputs, registry, settings
from mainline.compare import base as bases
from mainline.compare import data, first, judge, policy, reproduce, slices, strict
from mainline.compare.difference import Pair
from mainline.compare.policy import Policy
from mainline.data import schema, table
from mainline.data.split import dependent, split_digest
from mainline.errors import NotMeasured
from mainline.evaluate import evaluate, predictions
from mainline.files import digest_bytes, digest_tree, remove, replacing, write_json
from mainline.git import head, require_history
from mainline.settings import Gate, Settings
from mainline.train import bundle
from mainline.verdict import Check, StepVerdict, Verdict, read_verdict, recorded

TOLD = 3


@dataclass(frozen=True)
class Work:
    """What one comparison works on, and the document that it writes.

    `frame` holds the typed test rows and `rows` is a file of them; `given` the verdict's digests.
    """

    root: Path
    options: Settings
    rules: schema.Schema
    gate: Gate
    base: bases.Base
    candidate: predictions.Predictions
    frame: pd.DataFrame
    rows: Path
    document: dict[str, Any]
    given: dict[str, str | None]

    @property
    def names(self) -> list[str]:
        """All metrics that are compared, the gate's first."""
        asked = [self.gate.metric, *evaluate.metric_names(self.options), *self.gate.guardrails]
        return list(dict.fromkeys(asked))


def run(root: Path, asked: str = "auto") -> StepVerdict:
    """Compare; write `reports/comparison.json` and `reports/verdicts/compare.json`.

    Besides the metrics: the policy, the data and the lock that came with the change. Raises
    NotMeasured when either side cannot be scored, RemoteError in a shallow clone.
    """
    remove(root / "reports" / "comparison.json")
    with recorded(root, "compare"), tempfile.TemporaryDirectory() as folder:
        require_history(root)
        options, rules = settings.load(root), schema.load(root)
        candidate = _candidate(root)
        base = bases.find(root, options, asked)
        by = policy.find(root, base.commit)
        gate = policy.gate_of(by.settings, options)
        frame, part = evaluate.held_out(root, options, rules)
        frame = frame[part == "test"].reset_index(drop=True)
        rows = Path(folder) / "rows.parquet"
        with replacing(rows) as temporary:
            frame.to_parquet(temporary, index=False)
        given = _given(root, options, rules, gate)
        document = _document(root, base, gate, candidate, given)
        work = Work(root, options, rules, gate, base, candidate, frame, rows, document, given)
        checks = [*_surroundings(work, by), *_compare(work)]
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


def _given(
    root: Path, options: Settings, rules: schema.Schema, gate: Gate
) -> dict[str, str | None]:
    return {
        "code": inputs.code_digest(root), "data": table.data_digest(root),
        "split": split_digest(options, rules), "model": digest_tree(root / "models"),
        "policy": inputs.policy_digest(root, gate.model_dump(mode="json"), options.split.salt),
    }  # fmt: skip


def _document(
    root: Path, base: bases.Base, gate: Gate, candidate: predictions.Predictions,
    given: dict[str, str | None],
) -> dict[str, Any]:  # fmt: skip
    ids = "\n".join(candidate.frame["row_id"]).encode()
    return {
        "base": {"kind": base.kind, "label": base.label, "commit": base.commit,
                 "version": base.version.name if base.version else None, "digest": None},
        "candidate": {"commit": head(root), "digest": given["model"]},
        "metric": gate.metric, "delta": gate.delta,
        "rows": {"n": len(candidate.frame), "positives": int((candidate.y == 1).sum()),
                 "digest": digest_bytes(ids)},
        "metrics": [], "slices": [], "revert": None,
    }  # fmt: skip


def _surroundings(work: Work, by: Policy) -> list[Check]:
    """The checks on what came with the change besides the model: policy, data, lock."""
    found, changes = policy.judge(work.root, by, work.options)
    work.document["policy"] = [
        {"what": c.name, "base": c.base, "candidate": c.candidate} for c in changes
    ]
    limits = work.gate.data
    moved, work.document["data"] = data.check(work.root, by, work.options, limits, work.rules)
    made, work.document["reproduction"] = reproduce.check(work.root, by, work.rows, work.candidate)
    again = strict.check(work.root, by, work.options, work.rules, changes)
    return [found, *again, *moved, *made]


# ---- the comparison itself ---------------------------------------------------------------------


def _compare(work: Work) -> list[Check]:
    """The candidate against its base; the last check says most."""
    base, document = work.base, work.document
    if base.commit is None:
        return [*_cost(work, {}, bundle.load(work.root / "models", work.root)), *_first(work)]
    known = base.version.digest if base.version else None
    if known is not None and known == work.given["model"]:
        work.given["base"] = document["base"]["digest"] = known
        return [_unchanged(f"The model is {base.label}, byte for byte", len(work.candidate.frame))]
    # A process scores the base; meanwhile this one loads the candidate, to ask both for one row.
    with ThreadPoolExecutor(1) as pool:
        own = pool.submit(bundle.load, work.root / "models", work.root)
        return _scored(work, own)


def _scored(work: Work, own: Future[bundle.Bundle]) -> list[Check]:
    base, document = work.base, work.document
    try:
        result = bases.score(work.root, base, work.rows)
    except bases.Unreadable as error:
        reason = (f"{error.cause} So the candidate is held against two baselines, and a person "
                  "decides")  # fmt: skip
        held = Check("base", Verdict.INCONCLUSIVE, reason)
        return [*_cost(work, {}, own.result()), held, *_first(work)]
    except NotMeasured as error:  # the other checks are told all the same
        return [Check("base", Verdict.ERROR, str(error), value=error.status, unit="exit status")]
    work.given["base"] = document["base"]["digest"] = result.digest
    checks = [*_cost(work, result.cost, own.result()), *_fit_together(work, result)]
    if any(c.name == "same classes" for c in checks):
        return [*checks, *_first(work)]
    checks.append(_same_rows(work.candidate, result.found))
    pair, joined = _pair(work, result.found)
    return [*checks, *_judged(work, pair, joined, result)]


def _first(work: Work) -> list[Check]:
    groups = _groups(work, work.candidate.frame["row_id"])
    return first.check(work.root, work.options, work.rules, work.gate, work.candidate, groups,
                       work.document)  # fmt: skip


def _judged(work: Work, pair: Pair, joined: pd.DataFrame, result: bases.BaseResult) -> list[Check]:
    document, gate = work.document, work.gate
    if pair.same:
        document["metrics"] = judge.unchanged(pair, work.names)
        return [_unchanged(f"Every prediction is that of {work.base.label}", len(joined))]
    document["rows"]["apart"] = judge.apart(pair)
    back = healthy_before(work.root, work.options.model.name, work.given["model"])
    if back is not None:
        document["revert"] = back.name
        judge.show(pair, work.names, document)
        reason = f"The model is a revert to {back.name}, which was healthy in production"
        return [Check("revert", Verdict.PASS, reason, value=back.name)]
    return [
        *judge.judge(pair, work.names, gate, document),
        *judge.by_age(pair, joined, result.meta.get("trained_until"), gate, document),
        *slices.check(pair, joined["row_id"], work.frame, work.options, work.rules, gate, document),
    ]


def healthy_before(root: Path, model: str, digest: str | None) -> registry.Version | None:
    """The version with this digest that stood at prod before, healthy, and no longer does."""
    moves = registry.moves(root, model)
    now = next((m.version.name for m in reversed(moves) if m.stage == "prod"), None)
    good = [v for v in registry.healthy(moves) if v.name != now and digest is not None]
    return next((v for v in good if v.digest == digest), None)


def _cost(work: Work, base: dict[str, float], model: bundle.Bundle) -> list[Check]:
    path = work.root / "build" / "cost.json"
    try:
        training = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        training = {}
    kept = training if isinstance(training, dict) else {}
    checks, work.document["cost"] = judge.cost(model, work.gate, base, kept)
    return checks


def _unchanged(reason: str, n: int) -> Check:
    return Check("unchanged", Verdict.PASS, reason, value=0, n=n)


def _fit_together(work: Work, result: bases.BaseResult) -> list[Check]:
    checks, base = [], work.base
    if result.meta["digests"]["split"] != work.given["split"]:
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
    own = bundle.read_meta(work.root / "models")
    sides = [(m.get("task"), m.get("classes")) for m in (result.meta, own)]
    if sides[0] != sides[1] or result.found.scores.shape[1] != work.candidate.scores.shape[1]:
        said = [f"{task} of {', '.join(map(str, names))}" if names else str(task)
                for task, names in sides]  # fmt: skip
        checks.append(Check(
            "same classes", Verdict.INCONCLUSIVE,
            f"The base predicts {said[0]}, the candidate {said[1]}, so they cannot be compared: "
            "the candidate is held against two baselines, and a person decides",
        ))  # fmt: skip
    return checks


def _same_rows(candidate: predictions.Predictions, old: predictions.Predictions) -> Check:
    sides = [set(candidate.frame["row_id"]), set(old.frame["row_id"])]
    both, alone = len(sides[0] & sides[1]), sorted(sides[0] ^ sides[1])
    verdict = Verdict.INCONCLUSIVE if alone else Verdict.PASS
    reason = f"Both sides scored the same {both} rows"
    if alone:
        named = ", ".join(repr(str(i)) for i in alone[:TOLD])
        reason = (f"{len(alone)} rows were scored by one side only, such as {named}; "
                  f"the other {both} are compared")  # fmt: skip
    return Check("same rows", verdict, reason, value=len(alone), limit=0, n=both, unit="rows")


def _pair(work: Work, old: predictions.Predictions) -> tuple[Pair, pd.DataFrame]:
    """The rows that both sides scored, and their frame (row_id, entity, time), in one order."""
    shared = np.intersect1d(work.candidate.frame["row_id"], old.frame["row_id"])
    if len(shared) == 0:
        raise NotMeasured(
            "Base and candidate have no row in common",
            "Look at the row ids: where schema.yaml names no row_id, other columns make others",
        )
    new = predictions.Predictions(_only(work.candidate.frame, shared))
    past = predictions.Predictions(_only(old.frame, shared))
    groups = _groups(work, new.frame["row_id"])
    task = work.options.model.task
    pair = Pair(task, new.y, past.scores, past.decisions, new.scores, new.decisions, groups)
    return pair, new.frame


def _only(frame: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    return frame[frame["row_id"].isin(ids)].sort_values("row_id", ignore_index=True)


def _groups(work: Work, ids: pd.Series) -> np.ndarray | None:
    """Numbers (n,) of the rows that depend on one another: an entity's, or a block's of time.

    They are what the split keeps together, and entities where it does not; None where every row
    stands alone.
    """
    keys = dependent(work.frame, work.options.split, work.rules)
    if keys is None:
        return None
    by_row = pd.Series(keys.to_numpy(), index=table.row_ids(work.frame, work.rules).to_numpy())
    found = by_row.reindex(ids)
    return pd.factorize(found)[0] if found.duplicated().any() else None
