"""predictions.parquet: the one thing that two sides of a comparison exchange.

Columns: `row_id str, entity str|null, time timestamp|null, y, score_0..k float64, decision, part`,
sorted by row_id.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mainline.data.schema import Schema
from mainline.data.table import as_text, row_ids
from mainline.errors import NotMeasured
from mainline.files import replacing

FIXED = ("row_id", "entity", "time", "y", "decision", "part")


@dataclass(frozen=True)
class Predictions:
    """Predictions of one model: `frame` with the pinned columns, sorted by row_id."""

    frame: pd.DataFrame

    @property
    def y(self) -> np.ndarray:
        """The encoded target, shape (n,)."""
        return self.frame["y"].to_numpy()

    @property
    def scores(self) -> np.ndarray:
        """Scores, shape (n, k)."""
        names = [c for c in self.frame.columns if c.startswith("score_")]
        names.sort(key=lambda c: int(c.removeprefix("score_")))
        return self.frame[names].to_numpy(dtype=float)

    @property
    def decisions(self) -> np.ndarray:
        """Decisions, shape (n,)."""
        return self.frame["decision"].to_numpy()

    def of(self, part: str) -> Predictions:
        """The rows of one part."""
        return Predictions(self.frame[self.frame["part"] == part].reset_index(drop=True))


def assemble(
    frame: pd.DataFrame, schema: Schema, y: np.ndarray, scores: np.ndarray,
    decisions: np.ndarray, part: pd.Series,
) -> Predictions:  # fmt: skip
    """Predictions for the typed rows `frame`, in the pinned form."""
    table = pd.DataFrame(
        {
            "row_id": row_ids(frame, schema).to_numpy(),
            "entity": as_text(frame[schema.entity]).to_numpy() if schema.entity else None,
            "time": frame[schema.time].to_numpy() if schema.time else pd.NaT,
            "y": y,
            **{f"score_{i}": scores[:, i] for i in range(scores.shape[1])},
            "decision": decisions,
            "part": part.to_numpy(),
        }
    )
    table["time"] = pd.to_datetime(table["time"])
    return Predictions(table.sort_values("row_id", kind="stable", ignore_index=True))


def write(predictions: Predictions, path: Path) -> None:
    """Write the Parquet file by atomic rename."""
    with replacing(path) as temporary:
        predictions.frame.to_parquet(temporary, index=False)


def read(path: Path) -> Predictions:
    """Read a predictions file; NotMeasured when it is missing, damaged or of another form."""
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError as error:
        raise NotMeasured(f"{path.name} is missing", "Run `./mainline evaluate`") from error
    except (OSError, ValueError) as error:
        raise NotMeasured(f"{path.name} is damaged ({error})", "Write it again") from error
    gone = [c for c in (*FIXED, "score_0") if c not in frame]
    if gone:
        raise NotMeasured(f"{path.name} has no column {gone[0]!r}", "Write it again")
    return Predictions(frame.sort_values("row_id", kind="stable", ignore_index=True))
