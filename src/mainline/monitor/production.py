"""What production saw and answered: the prediction log as typed columns, with labels beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mainline.data.schema import Column
from mainline.data.table import coerce_column
from mainline.errors import DataError
from mainline.serve import known_labels
from mainline.serve.records import READ
from mainline.train.profile import score_columns


@dataclass(frozen=True)
class Production:
    """All logged predictions of one model, n rows in order of time.

    `watched` has the columns of the profile; `outcomes` has ts (naive UTC), y and known_at (both
    missing where no label is known), decision and score. `extra` names logged features that the
    model does not know.
    """

    watched: pd.DataFrame
    outcomes: pd.DataFrame
    extra: tuple[str, ...] = ()


def read(
    log: pd.DataFrame, meta: Mapping[str, Any], digest: str, labels: pd.DataFrame
) -> Production:
    """The rows of `log` that the model `digest` answered, typed as `meta["raw"]` says.

    A row that was sent twice counts once. Raises DataError when a label is of no known class.
    """
    rows = log[(log["digest"] == digest) & log["scores"].notna() & log["decision"].notna()]
    again = rows["row"].notna() & rows.duplicated(["row", "arm"])
    rows = rows[~again].sort_values("ts", kind="stable", ignore_index=True)
    scores = _scores(rows["scores"])
    decision = pd.to_numeric(rows["decision"], errors="coerce").to_numpy(dtype=float)
    features = {
        c["name"]: coerce_column(
            rows[c["name"]], Column(name=c["name"], type=c["type"], role="feature")
        )
        for c in meta["raw"]
        if c["name"] in rows
    }
    watched = pd.DataFrame(features, index=rows.index)
    outputs = score_columns(scores, decision, meta["task"]).set_index(rows.index)
    label = known_labels.join(rows, labels)
    outcomes = pd.DataFrame(
        {
            "ts": rows["ts"].dt.tz_convert("UTC").dt.tz_localize(None).astype("datetime64[ns]"),
            "y": known_labels.encoded(label["label"], meta),
            "known_at": label["known_at"].astype("datetime64[ns]"),
            "decision": decision,
            "score": scores[:, 0] if len(rows) else np.zeros(0),
        }
    )
    return Production(pd.concat([watched, outputs], axis=1), outcomes, _extra(rows, meta))


def categories(meta: Mapping[str, Any]) -> dict[str, Sequence[str]]:
    """The categories that the model was made with, for each column that has some."""
    return {c["name"]: c["categories"] for c in meta["raw"] if c["categories"] is not None}


def _scores(column: pd.Series) -> np.ndarray:
    if column.empty:
        return np.zeros((0, 1))
    try:
        scores = np.array(column.tolist(), dtype=float)
    except ValueError as error:
        raise DataError(
            "The prediction log holds scores of different lengths for one model",
            "Look at the service that wrote it",
        ) from error
    return scores.reshape(len(column), -1)


def _extra(rows: pd.DataFrame, meta: Mapping[str, Any]) -> tuple[str, ...]:
    expected = {c["name"] for c in meta["raw"]} | set(READ)
    return tuple(str(c) for c in rows.columns if c not in expected and rows[c].notna().any())
