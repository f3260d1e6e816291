"""`mainline predict`: rows in, predictions.parquet out; one side of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline.data import schema, table
from mainline.errors import DataError
from mainline.evaluate import latency, predictions
from mainline.train import bundle


def run(root: Path, file: Path, out: Path, part: str = "test") -> dict[str, Any]:
    """Score the rows of `file` with `models/` and write the predictions to `out`.

    Labels in the file are carried along where the model knows their class; else `y` is missing.
    Says too how long one row takes, which a comparison asks of both sides.
    Raises DataError when a column that the model needs is gone.
    """
    rules = schema.load(root)
    model = bundle.load(root / "models", root)
    raw = table.read_file(file)
    frame, _ = table.coerce(raw, rules)
    name = rules.row_id or schema.ROW_ID
    if name not in frame:
        raise DataError(f"{file.name} has no column {name!r}", "Every row needs its id")
    for column in (rules.entity, rules.time):
        if column and column not in frame:
            frame[column] = None
    scores = model.predict(frame)
    found = predictions.assemble(
        frame, rules, _targets(frame, rules, model), scores, model.decide(scores),
        pd.Series(part, index=frame.index),
    )  # fmt: skip
    predictions.write(found, out)
    text = f"{len(frame)} rows scored by {model.name} {model.digest[7:19]} -> {out}"
    return {"rows": len(frame), "model": model.digest, "out": str(out), "text": text,
            "latency_ms": round(latency.measure(model), 3)}  # fmt: skip


def _targets(frame: pd.DataFrame, rules: schema.Schema, model: bundle.Bundle) -> np.ndarray:
    if rules.target not in frame:
        return np.full(len(frame), np.nan)
    if model.task == "regression":
        return frame[rules.target].to_numpy(dtype=float)
    codes = {name: float(index) for index, name in enumerate(model.meta["classes"])}
    return bundle.class_names(frame[rules.target]).map(codes).to_numpy(dtype=float)
