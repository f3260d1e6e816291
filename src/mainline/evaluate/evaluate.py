"""`mainline evaluate`: the trained model on held-out rows."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline import inputs, settings, suite
from mainline.data import schema, table
from mainline.data.split import assign, split_digest
from mainline.errors import DataError
from mainline.evaluate import predictions, proof
from mainline.evaluate.metrics import measure
from mainline.files import write_json
from mainline.train import bundle, train
from mainline.train.bundle import Bundle, class_names
from mainline.verdict import Check, StepVerdict, Verdict, recorded

MOST_SLICES = 20


def run(root: Path) -> StepVerdict:
    """Score the tune and test rows, prove the model, run tests/model; write what was found.

    That is predictions, metrics, plots, `behaviour.json` (see `proof.examine`) and the verdict.
    Raises DataError when there is no model, or when its rows cannot be scored.
    """
    with recorded(root, "evaluate"):
        options, rules = settings.load(root), schema.load(root)
        schema.check_agreement(options, rules)
        model = bundle.load(root / "models", root)
        data = table.data_digest(root)
        if model.meta["digests"]["data"] != data:
            raise DataError(
                "The model in models/ was trained on other data", "Run `./mainline pipeline`"
            )
        rows = train.usable_rows(root, options, rules)
        checks = measured(root, options, rules, model, rows)
        checks += suite.run(root, "tests/model")
        policy = options.gate.model_dump(mode="json")
        done = StepVerdict("evaluate", tuple(checks), {
            "code": inputs.code_digest(root), "data": data,
            "split": split_digest(options, rules), "model": model.digest,
            "policy": inputs.policy_digest(root, policy, options.split.salt),
        })  # fmt: skip
        done.write(root)
        return done


def measured(
    root: Path, options: settings.Settings, rules: schema.Schema, model: Bundle, rows: train.Rows
) -> list[Check]:
    """Metrics and proof of `model` on the rows that it has not seen; writes their files."""
    keep = (rows.part != "train").to_numpy()
    frame, part = rows.frame[keep].reset_index(drop=True), rows.part[keep].reset_index(drop=True)
    scores = model.predict(frame)
    found = predictions.assemble(frame, rules, rows.y[keep], scores, model.decide(scores), part)
    predictions.write(found, root / "reports" / "predictions.parquet")
    test, names = found.of("test"), metric_names(options)
    metrics = {p: measure(model.task, names, q.y, q.scores, q.decisions)
               for p, q in (("tune", found.of("tune")), ("test", test))}  # fmt: skip
    sliced = slices(frame, part, found, options, rules)
    document = {**metrics, "slices": sliced, "rows": _rows(test, model.task)}
    write_json(root / "reports" / "metrics.json", plain(document))
    plot(root, model, test)
    own = scores[(part == "test").to_numpy()]
    proved, behaviour = proof.examine(proof.subject(root, options, rules, model, rows, own))
    write_json(root / "reports" / "behaviour.json", plain(behaviour))
    return [*judge(test, metrics["test"], model.task), *proved]


def held_out(
    root: Path, options: settings.Settings, rules: schema.Schema
) -> tuple[pd.DataFrame, pd.Series]:
    """The usable tune and test rows and their parts."""
    frame = table.load_table(root, rules)
    frame = frame[table.usable(frame, options, rules)].reset_index(drop=True)
    part = assign(frame, options, rules)
    keep = part != "train"
    return frame[keep].reset_index(drop=True), part[keep].reset_index(drop=True)


def metric_names(options: settings.Settings) -> list[str]:
    """All metrics that are asked for anywhere, each once, the gate's first."""
    wanted = [options.gate.metric, *options.evaluate.metrics, *options.gate.guardrails]
    return list(dict.fromkeys(wanted))


def slices(
    frame: pd.DataFrame, part: pd.Series, found: predictions.Predictions,
    options: settings.Settings, rules: schema.Schema,
) -> dict[str, dict[str, dict[str, Any]]]:  # fmt: skip
    """Metrics on the test rows by each value of each slice column, the largest values first."""
    out: dict[str, dict[str, dict[str, Any]]] = {}
    ids = table.row_ids(frame, rules)
    test, metrics = found.of("test"), metric_names(options)
    for column in options.evaluate.slices:
        value = class_names(frame[column]).fillna("(missing)")
        by_row = pd.Series(value.to_numpy(), index=ids.to_numpy())
        values = by_row.reindex(test.frame["row_id"]).to_numpy()
        out[column] = {}
        for name in pd.Series(values).value_counts().index[:MOST_SLICES]:
            mine = values == name
            y, s, d = test.y[mine], test.scores[mine], test.decisions[mine]
            out[column][str(name)] = {
                **_rows(predictions.Predictions(test.frame[mine]), options.model.task),
                **measure(options.model.task, metrics, y, s, d),
            }
    return out


def judge(test: predictions.Predictions, metrics: dict[str, float], task: str) -> tuple[Check, ...]:
    """The metrics as checks, and two that a broken model fails: constant, or worse than chance."""
    checks = []
    spread = float(np.ptp(test.scores, axis=0).max())
    checks.append(Check(
        "scores vary", Verdict.PASS if spread > 1e-9 else Verdict.FAIL,
        f"The scores on {len(test.frame)} test rows span {spread:.3g}"
        + ("" if spread > 1e-9 else ": the model says the same of every row"),
        value=spread, limit=1e-9, n=len(test.frame),
    ))  # fmt: skip
    auc = metrics.get("roc_auc", math.nan)
    if task == "binary" and not math.isnan(auc):
        checks.append(Check(
            "ranks better than chance", Verdict.PASS if auc > 0.5 else Verdict.FAIL,
            f"ROC AUC is {auc:.3f} on {int(test.y.sum())} positives of {len(test.y)} test rows",
            value=auc, limit=0.5, n=len(test.y),
        ))  # fmt: skip
    for name, value in metrics.items():
        verdict = Verdict.INCONCLUSIVE if math.isnan(value) else Verdict.PASS
        reason = f"{name} is {value:.4g} on {len(test.y)} test rows"
        if math.isnan(value):
            reason = f"{name} cannot be measured: the test rows hold one class only"
        checks.append(Check(name, verdict, reason, value=value, n=len(test.y)))
    return tuple(checks)


def plot(root: Path, model: Bundle, test: predictions.Predictions) -> None:
    """Draw `reports/plots/`; those of an earlier run are removed first."""
    from mainline.evaluate.plots import draw_all

    folder = root / "reports" / "plots"
    shutil.rmtree(folder, ignore_errors=True)
    draw_all(folder, model.task, test.y, test.scores, test.decisions, model.meta["classes"],
             model.threshold)  # fmt: skip


def _rows(found: predictions.Predictions, task: str) -> dict[str, int]:
    rows = {"n": len(found.frame)}
    if task == "binary":
        rows["positives"] = int(found.y.sum())
    return rows


def plain(node: Any) -> Any:
    """`node` with floats rounded to six places, and null where they are not finite."""
    if isinstance(node, dict):
        return {k: plain(v) for k, v in node.items()}
    if isinstance(node, (list, tuple)):
        return [plain(v) for v in node]
    if isinstance(node, float):
        return round(node, 6) if math.isfinite(node) else None
    return node
