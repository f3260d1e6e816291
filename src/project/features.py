"""From the columns with the role `feature` to the inputs of the model."""

from __future__ import annotations

import pandas as pd


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """Add to the columns of `frame` what the estimator cannot see by itself; same rows, same order.

    Numbers arrive as float64 (missing: NaN), categories and booleans as pandas categoricals whose
    categories were fixed at training (unseen: NaN). Each row is built from that row alone, so that
    the service, which sees one row at a time, builds the same.
    """
    built = frame.copy()
    # A burst within the day says more than either count alone.
    built["burst"] = frame["tx_count_1h"] / (1.0 + frame["tx_count_24h"])
    return built
