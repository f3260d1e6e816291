"""The reference profile: training rows as counts, so that drift can be noticed without rows.

The rule: numbers fall into at most ten bins between quantiles of the reference, categories into the
nine most frequent, the others and (both kinds) missing. Counts are kept for each block of time, so
that a window is compared with how much one block differs from the rest when nothing has changed.
The names of rare categories are not written: they can point to a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mainline import eprocess

SCHEMA = "profile/1"
BINS = 10
TOP = 9
RARE = 5  # a category seen in fewer rows of the reference is not named
ANCHOR = pd.Timestamp("1970-01-05")  # a Monday
SCORE, ALERT = "(score)", "(decision)"

Counts = NDArray[np.float64]


def build_reference(
    frame: pd.DataFrame,
    time: pd.Series | None,
    scores: np.ndarray,
    decisions: np.ndarray,
    y: np.ndarray,
    held_time: pd.Series | None,
    task: str,
    block: str = "7D",
) -> dict[str, Any]:
    """The whole reference, as JSON: columns and volume of `frame`, scores and quality of held rows.

    `frame` (n, features) has the raw feature columns (float64, Categorical, or text) and `time`
    (n,) when each row happened. `scores` (m, k), `decisions` (m,), `y` (m,) and `held_time` (m,)
    are of rows that the model was not trained on, because scores of training rows are too good.
    """
    blocks = block_numbers(time, block, len(frame))
    outputs = score_columns(scores, decisions, task)
    held = block_numbers(held_time, block, len(outputs))
    columns = {str(c): column_profile(frame[c], blocks) for c in frame.columns}
    columns |= {str(c): column_profile(outputs[c], held) for c in outputs.columns}
    sizes = np.bincount(blocks, minlength=1)[_whole(blocks)] if time is not None else np.array([])
    return {
        "schema": SCHEMA,
        "block": block,
        "rows": len(frame),
        "volume": [int(s) for s in sizes],
        "columns": columns,
        "quality": quality_reference(y, scores, decisions, task),
    }


def block_numbers(time: pd.Series | None, block: str, n: int) -> NDArray[np.int64]:
    """The number of each row's block of time (n,), from 0; all 0 without a time column.

    Blocks are anchored to a Monday, so those of training and the windows of production agree.
    """
    if time is None or time.isna().all():
        return np.zeros(n, dtype=np.int64)
    since = (time.fillna(time.min()) - ANCHOR) // pd.Timedelta(block)
    return np.asarray(since - since.min(), dtype=np.int64)


def score_columns(scores: np.ndarray, decisions: np.ndarray, task: str) -> pd.DataFrame:
    """What is watched of the model's answers: its score and, but for a regression, its decision.

    The score is that of the positive class, the highest of several, or the value itself.
    """
    s = np.asarray(scores, dtype=float)
    columns: dict[str, Any] = {SCORE: s.max(axis=1) if task == "multiclass" else s[:, 0]}
    if task != "regression":
        columns[ALERT] = pd.Categorical(np.asarray(decisions).astype(int).astype(str))
    return pd.DataFrame(columns)


def column_profile(series: pd.Series, blocks: NDArray[np.int64]) -> dict[str, Any]:
    """Bins of one column, its counts in each whole block, and its excess variation `tau`.

    tau = max(0, mean(L_b) - mean(a_b) (k - 1)) (1 + 1 / sqrt(B)), with L_b the PSI of block b
    against the rest and a_b = 1 / n_b + 1 / (N - n_b): what the blocks differ by beyond chance.
    """
    spec = _bins(series)
    codes, width = bin_codes(series, spec), n_bins(spec)
    table = np.zeros((int(blocks.max(initial=0)) + 1, width))
    np.add.at(table, (blocks, codes), 1)
    whole = _whole(blocks)
    counts = table[whole]
    spec["counts"] = counts.astype(int).tolist()
    spec["tau"] = excess(counts) if len(counts) >= 2 else None
    return spec


def excess(counts: Counts) -> float:
    """tau of a column from its counts (blocks, bins); see `column_profile`."""
    total = counts.sum(axis=0)
    sizes = counts.sum(axis=1)
    differ = [psi(total - block, block) for block in counts]
    chance = np.mean(1 / sizes + 1 / (sizes.sum() - sizes)) * (degrees(total) - 1)
    return float(max(0.0, np.mean(differ) - chance) * (1 + 1 / np.sqrt(len(counts))))


def _whole(blocks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which blocks count: those at least half as large as the median (the ends are often torn)."""
    sizes = np.bincount(blocks, minlength=1)
    filled = sizes[sizes > 0]
    return np.asarray(sizes >= max(1.0, 0.5 * float(np.median(filled)) if filled.size else 1.0))


def _bins(series: pd.Series) -> dict[str, Any]:
    if pd.api.types.is_numeric_dtype(series.dtype):
        x = series.to_numpy(dtype=float)
        x = x[~np.isnan(x)]
        cuts = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.unique(np.quantile(x, cuts, method="lower")) if x.size else np.array([])
        return {"kind": "number", "edges": [float(e) for e in edges]}
    if isinstance(series.dtype, pd.CategoricalDtype):
        found = series.value_counts()
        found = found[found >= RARE]
        names = sorted(found.index, key=lambda c: (-int(found[c]), str(c)))
        return {"kind": "category", "top": [str(c) for c in names[:TOP]]}
    # Free text may name a person; of it only its presence is watched.
    return {"kind": "text"}


def n_bins(spec: Mapping[str, Any]) -> int:
    """How many bins a column has, the last of them for missing values."""
    if spec["kind"] == "number":
        return len(spec["edges"]) + 2
    return len(spec["top"]) + 2 if spec["kind"] == "category" else 2


def bin_codes(series: pd.Series, spec: Mapping[str, Any]) -> NDArray[np.int64]:
    """The bin of each value (n,): for numbers the first whose upper edge is not below it."""
    missing = series.isna().to_numpy()
    last = n_bins(spec) - 1
    if spec["kind"] == "number":
        x = pd.to_numeric(series, errors="coerce").to_numpy(dtype=float)
        missing = np.isnan(x)
        codes = np.searchsorted(np.asarray(spec["edges"], dtype=float), x, side="left")
    elif spec["kind"] == "category":
        places = {name: i for i, name in enumerate(spec["top"])}
        # Few values stand in many rows: name each once.
        numbers, names = pd.factorize(series.astype(object))
        found = np.array([places.get(str(n), last - 1) for n in names] or [last], dtype=np.int64)
        codes = found[numbers]
    else:
        codes = np.zeros(len(series), dtype=np.int64)
    return np.where(missing, last, codes).astype(np.int64)


def bin_counts(frame: pd.DataFrame, profile: Mapping[str, Any]) -> dict[str, Counts]:
    """Counts in the bins of each column of `profile` (bins,); a column that is gone is missing."""
    counts = {}
    for name, spec in profile["columns"].items():
        if name in frame:
            codes = bin_codes(frame[name], spec)
            counts[name] = np.bincount(codes, minlength=n_bins(spec)).astype(float)
        elif name not in (SCORE, ALERT):
            counts[name] = np.zeros(n_bins(spec))
            counts[name][-1] = len(frame)
    return counts


def reference_counts(spec: Mapping[str, Any]) -> Counts:
    """All blocks of one column of a profile together (bins,)."""
    return np.asarray(spec["counts"], dtype=float).sum(axis=0)


def degrees(counts: Counts) -> int:
    """k: how many bins anything fell into; at least 2."""
    return max(2, int((counts > 0).sum()))


def psi(p: Sequence[float] | Counts, q: Sequence[float] | Counts) -> float:
    """The population stability index of two vectors of counts, one half added to each count.

    Bins that are empty in both say nothing and are left out.
    """
    a, b = np.asarray(p, dtype=float), np.asarray(q, dtype=float)
    keep = (a + b) > 0
    a, b = a[keep] + 0.5, b[keep] + 0.5
    a, b = a / a.sum(), b / b.sum()
    return float(((a - b) * np.log(a / b)).sum())


def quality_reference(
    y: np.ndarray, scores: np.ndarray, decisions: np.ndarray, task: str
) -> dict[str, Any]:
    """What quality is later held to, from rows that the model was not trained on.

    For each stream that production watches: how many outcomes were seen (`n`), how many were bad,
    and the upper 95% bound of their rate, so that few reference rows make a cautious watch. binary:
    `missed` of the positives and `false_alert` of the alerts; multiclass: `wrong`; regression:
    `large_error`, an absolute error beyond `limit`, the reference's own 90th percentile.
    """
    y, decided = np.asarray(y), np.asarray(decisions)
    if task == "binary":
        positive, alert = y == 1, decided == 1
        return {
            "task": task,
            "streams": {
                "missed": _stream(int((positive & ~alert).sum()), int(positive.sum())),
                "false_alert": _stream(int((alert & ~positive).sum()), int(alert.sum())),
            },
        }
    if task == "multiclass":
        return {"task": task, "streams": {"wrong": _stream(int((y != decided).sum()), len(y))}}
    error = np.abs(y.astype(float) - np.asarray(scores, dtype=float)[:, 0])
    limit = float(np.quantile(error, 0.9)) if len(error) else 0.0
    large = _stream(int((error > limit).sum()), len(error))
    return {"task": task, "streams": {"large_error": {**large, "limit": limit}}}


def _stream(bad: int, n: int) -> dict[str, Any]:
    return {"n": n, "bad": bad, "bound": eprocess.upper_bound(bad, n)}
