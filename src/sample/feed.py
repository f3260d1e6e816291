"""The sample as its consumer gets it: a month's file, its labels later, and feeds that break."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from sample.simulate import month

Bug = Literal["logins_missing", "amount_in_cents", "new_category"]
BUGS: tuple[Bug, ...] = ("logins_missing", "amount_in_cents", "new_category")
BUG_STREAM = 1_000_079


def raw_month(
    m: int, *, data_bug: Bug | None = None, label_outage: bool = False, seed: int = 7, **knobs: Any
) -> pd.DataFrame:
    """Month `m` of `sample.month` (same knobs), as it comes out of a feed that may be broken.

    data_bug breaks the first whole week (Monday to Sunday) of the month: every failed_logins_24h
    missing, amounts in cents, or 30% of the rows in a category never seen before. label_outage: no
    label of the month ever becomes known (is_fraud stays, as the truth that only we know).
    """
    frame = month(m, seed=seed, **knobs)
    if data_bug is not None:
        first = frame["timestamp"].min().normalize().replace(day=1)
        monday = first + pd.Timedelta(days=-first.dayofweek % 7)
        week = frame["timestamp"].between(monday, monday + pd.Timedelta(days=7), "left")
        _break(frame, week, data_bug, np.random.default_rng([seed, m, BUG_STREAM]))
    if label_outage:
        frame["label_available_at"] = pd.Series(pd.NaT, frame.index, dtype="datetime64[ns]")
    return frame


def _break(frame: pd.DataFrame, week: pd.Series, bug: Bug, rng: np.random.Generator) -> None:
    if bug == "logins_missing":
        frame.loc[week, "failed_logins_24h"] = np.nan
    elif bug == "amount_in_cents":
        frame.loc[week, "amount"] = (frame.loc[week, "amount"] * 100).round(0)
    elif bug == "new_category":
        frame.loc[week & (rng.random(len(frame)) < 0.3), "merchant_category"] = "crypto_exchange"
    else:
        raise ValueError(f"unknown data bug {bug!r}; known: {', '.join(BUGS)}")


def without_labels(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows as they arrive, before any label is known: the columns are there, and empty."""
    rows = frame.drop(columns="_type", errors="ignore").copy()
    rows["is_fraud"] = pd.array([pd.NA] * len(rows), dtype="Int64")
    rows["label_available_at"] = pd.Series(pd.NaT, rows.index, dtype="datetime64[ns]")
    return rows


def labels(frame: pd.DataFrame, until: pd.Timestamp | str) -> pd.DataFrame:
    """What is known of `frame` by `until`: row_id, label, known_at, source, by known_at."""
    known = frame[frame["label_available_at"] <= pd.Timestamp(until)]
    source = np.where(known["is_fraud"] == 1, "report", "30-days")
    found = pd.DataFrame({
        "row_id": known["transaction_id"],
        "label": known["is_fraud"].astype("int64"),
        "known_at": known["label_available_at"],
        "source": source,
    })  # fmt: skip
    return found.sort_values(["known_at", "row_id"], ignore_index=True)
