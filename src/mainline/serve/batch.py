"""`mainline predict --log`: score a file of rows offline, and log it as production would."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline.data import schema, table
from mainline.errors import DataError
from mainline.files import replacing
from mainline.serve.ids import hash_entity, timestamp, uuid7
from mainline.serve.records import VERSION
from mainline.serve.sink import append
from mainline.train.bundle import Bundle, load


def predict_file(
    root: Path,
    file: Path,
    out: Path,
    log: str | None = None,
    arm: str = "batch",
    ts_column: str | None = None,
    entity_key: str | None = None,
) -> dict[str, Any]:
    """Score the rows of `file` (CSV, TSV, Parquet) with `models/` and write `out` (Parquet, CSV).

    `out` has a line a row in the order of `file`: row_id, prediction_id, score_0..k, decision.
    With `log` each row is also written to that prediction log, at its own time `ts_column`
    (schema.time by default; where there is none, now), request_id and row being its row id.
    Returns rows, alerts (positive decisions), digest, seconds, logged and dropped records.
    Raises DataError for a column that is gone or a value of the wrong type.
    """
    began = time.perf_counter()
    rules = schema.load(root)
    bundle = load(root / "models", root)
    frame = _typed(file, rules)
    scores = bundle.predict(frame)
    made = pd.DataFrame(
        {
            "row_id": table.row_ids(frame, rules),
            "prediction_id": [uuid7() for _ in range(len(frame))],
            **{f"score_{i}": scores[:, i] for i in range(scores.shape[1])},
            "decision": bundle.decide(scores),
        }
    )
    with replacing(out) as temporary:
        if out.suffix == ".csv":
            made.to_csv(temporary, index=False)
        else:
            made.to_parquet(temporary, index=False)
    seconds = time.perf_counter() - began
    logged = dropped = 0
    if log is not None:
        each = 1000 * seconds / max(1, len(frame))
        records = _records(
            frame, made, bundle, rules, arm, ts_column or rules.time, each, entity_key
        )
        logged, dropped = append(log, records)
    return {
        "rows": len(made), "alerts": int((made["decision"] == 1).sum()), "digest": bundle.digest,
        "out": str(out), "logged": logged, "dropped": dropped,
        "seconds": round(time.perf_counter() - began, 2),
    }  # fmt: skip


def _typed(file: Path, rules: schema.Schema) -> pd.DataFrame:
    raw = table.read_file(file)
    needed = [c.name for c in rules.features] + ([rules.row_id] if rules.row_id else [])
    table.restrict(raw, needed)
    frame, problems = table.coerce(raw, rules)
    features = {c.name for c in rules.features}
    for problem in problems:
        if problem.column in features:
            raise DataError(
                f"{file.name}: {len(problem.rows)} values of {problem.column!r} are not of "
                f"{problem.rule}, the first in row {problem.rows[0]}",
                "Mend these rows, or the type in schema.yaml",
            )
    return frame.reset_index(drop=True)


def _records(
    frame: pd.DataFrame,
    made: pd.DataFrame,
    bundle: Bundle,
    rules: schema.Schema,
    arm: str,
    ts_column: str | None,
    ms: float,
    entity_key: str | None,
) -> list[dict[str, Any]]:
    """The log's records, keys as in `mainline.serve.records.FIELDS`."""
    names = [c.name for c in rules.features]
    features = json_rows(frame[names], rules)
    now = pd.Timestamp.now("UTC")
    times = [now] * len(frame)
    if ts_column is not None and ts_column in frame:
        times = [now if t is pd.NaT else t for t in frame[ts_column]]
    entities = frame[rules.entity] if rules.entity in frame else [None] * len(frame)
    score_names = [c for c in made if str(c).startswith("score_")]
    rows = zip(
        made["row_id"], made["prediction_id"], made[score_names].to_numpy().tolist(),
        made["decision"].tolist(), times, features, entities, strict=True,
    )  # fmt: skip
    return [
        {
            "v": VERSION, "prediction_id": prediction, "request_id": row, "row": row,
            "ts": timestamp(moment.to_pydatetime()), "model": bundle.name,
            "digest": bundle.digest, "arm": arm, "generation": None,
            "entity": hash_entity(entity, entity_key), "features": values, "scores": scores,
            "decision": decision, "threshold": bundle.threshold, "ms": round(ms, 3),
            "status": 200,
        }
        for row, prediction, scores, decision, moment, values, entity in rows
    ]  # fmt: skip


def json_rows(frame: pd.DataFrame, rules: schema.Schema) -> list[dict[str, Any]]:
    """The feature values of each row as JSON values: missing is null, bools are true and false."""
    columns: dict[str, list[Any]] = {}
    for name in frame:
        series = frame[name]
        values = series.astype(object).where(series.notna(), None).tolist()
        if rules.by_name[str(name)].type == "bool":
            values = [None if v is None else v == "true" for v in values]
        columns[str(name)] = [float(v) if isinstance(v, np.floating) else v for v in values]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
