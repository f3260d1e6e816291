"""Drift: has a window of production left the range in which the blocks of the reference vary?

The rule, for a window of n rows against a reference of N (per column, k bins in use, p columns):
a = 1/N + 1/n, mu = a (k - 1) + tau, var = 2 a^2 (k - 1) + 2 tau^2, nu = 2 mu^2 / var, and the
threshold of the PSI is max(0.02, mu chi2.ppf(1 - 0.05 / p, nu) / nu): sampling alone gives PSI a
scaled chi-squared distribution (Yurdakul 2018), tau is what blocks of time differ by beyond it, and
the two are matched by their first moments (Welch-Satterthwaite).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mainline.train import profile as reference

ALPHA = 0.05
FLOOR = 0.02
TWICE = 2.0
LEAST_ROWS = 500
LEAST_BLOCKS = 6
MISSING_UP = 0.10
UNSEEN = 0.05
BROKEN_PSI = 1.0


class Level(StrEnum):
    """What a window says, the worst last. NONE is "no verdict", which is never "no drift"."""

    NONE = "no verdict"
    QUIET = "quiet"
    WATCH = "watch"
    ALERT = "alert"
    INCIDENT = "incident"


@dataclass(frozen=True)
class ColumnDrift:
    """One column in one window. Shares are between 0 and 1; threshold is None while unknown."""

    name: str
    psi: float
    threshold: float | None
    missing: float
    missing_before: float
    unseen: float = 0.0
    broken: str | None = None  # why this looks like a broken feed

    @property
    def over(self) -> bool:
        """Whether the PSI is over its threshold; an unknown threshold decides nothing."""
        return self.threshold is not None and self.psi > self.threshold

    @property
    def ratio(self) -> float:
        """PSI as a multiple of its threshold; NaN while that is unknown."""
        return self.psi / self.threshold if self.threshold else float("nan")


@dataclass(frozen=True)
class Window:
    """Rows with start <= ts < end, and what their columns say."""

    start: pd.Timestamp
    end: pd.Timestamp
    n: int
    columns: tuple[ColumnDrift, ...] = ()
    level: Level = Level.NONE
    reasons: tuple[str, ...] = ()
    rows: NDArray[np.int64] = field(
        default_factory=lambda: np.array([], dtype=np.int64), repr=False
    )

    def alarmed(self) -> tuple[str, ...]:
        """The columns over their threshold or broken."""
        return tuple(c.name for c in self.columns if c.over or c.broken)


def cut(ts: pd.Series, as_of: pd.Timestamp, length: str, least: int = LEAST_ROWS) -> list[Window]:
    """Non-overlapping windows, anchored to Mondays, that had ended by `as_of`.

    `ts` (n,) holds naive UTC times. A window with fewer than `least` rows is widened into the
    next; an empty one, and rows at the end that are still too few, stand as "no verdict".
    """
    inside = np.flatnonzero((ts < as_of).to_numpy())
    if not inside.size:
        return []
    step = pd.Timedelta(length)
    times = ts.iloc[inside]
    number = np.asarray((times - reference.ANCHOR) // step, dtype=np.int64)
    first, last = int(number.min()), int((as_of - reference.ANCHOR) // step)
    windows: list[Window] = []
    held, start = [], None
    for k in range(first, last):
        begin, rows = reference.ANCHOR + k * step, inside[number == k]
        if not rows.size:
            windows.append(Window(begin, begin + step, 0, reasons=("no rows",)))
            continue
        start = begin if start is None else start
        held.append(rows)
        together = np.concatenate(held)
        if len(together) >= least:
            windows.append(Window(start, begin + step, len(together), rows=together))
            held, start = [], None
    if start is not None:
        n = sum(map(len, held))
        few = f"{n} rows, fewer than {least}"
        windows.append(Window(start, reference.ANCHOR + last * step, n, reasons=(few,)))
    return sorted(windows, key=lambda w: (w.end, w.start))


def judge(
    frame: pd.DataFrame,
    windows: Sequence[Window],
    profile: Mapping[str, Any],
    known: Mapping[str, Sequence[str]] | None = None,
    schema_changes: Sequence[str] = (),
    accepted: Sequence[str] = (),
) -> list[Window]:
    """`windows` with their columns and levels.

    `frame` holds the columns of the profile for all rows that the windows point to; `known` the
    categories that the model was made with. `schema_changes` (a feature that is gone or new) make
    the newest window an incident. Columns in `accepted` are measured and decide nothing.
    """
    counts = _window_counts(frame, windows, profile)
    taus = _taus(profile, counts, windows)
    measured = []
    for i, window in enumerate(windows):
        columns: tuple[ColumnDrift, ...] = ()
        if len(window.rows):
            unseen = _unseen(frame.iloc[window.rows], known or {})
            columns = tuple(
                _column(name, spec, counts[name][i], taus[name], len(taus), unseen.get(name, 0.0))
                for name, spec in profile["columns"].items()
                if name in counts
            )
        measured.append(replace(window, columns=columns))
    return _levels(measured, schema_changes, frozenset(accepted))


def threshold(n_reference: float, n: float, k: int, tau: float, p: int) -> float:
    """The threshold of the PSI; see the head of this module."""
    from scipy.stats import chi2

    a = 1 / n_reference + 1 / n
    mu = a * (k - 1) + tau
    nu = 2 * mu**2 / (2 * a**2 * (k - 1) + 2 * tau**2)
    return float(max(FLOOR, mu * chi2.ppf(1 - ALPHA / p, nu) / nu))


def _window_counts(
    frame: pd.DataFrame, windows: Sequence[Window], profile: Mapping[str, Any]
) -> dict[str, NDArray[np.float64]]:
    """Counts (windows, bins) of each column."""
    out = {}
    for name, spec in profile["columns"].items():
        width = reference.n_bins(spec)
        if name in frame:
            codes = reference.bin_codes(frame[name], spec)
        elif name in (reference.SCORE, reference.ALERT):
            continue
        else:
            codes = np.full(len(frame), width - 1)
        out[name] = np.array(
            [np.bincount(codes[w.rows], minlength=width) for w in windows], dtype=float
        ).reshape(len(windows), width)
    return out


def _taus(
    profile: Mapping[str, Any],
    counts: Mapping[str, NDArray[np.float64]],
    windows: Sequence[Window],
) -> dict[str, float | None]:
    """tau of each column: of the reference, or where it has too few blocks of the first windows."""
    taus: dict[str, float | None] = {}
    filled = np.array([len(w.rows) > 0 for w in windows], dtype=bool)
    for name in counts:
        spec = profile["columns"][name]
        if len(spec["counts"]) >= LEAST_BLOCKS and spec["tau"] is not None:
            taus[name] = float(spec["tau"])
            continue
        early = counts[name][filled][:LEAST_BLOCKS]
        taus[name] = reference.excess(early) if len(early) >= LEAST_BLOCKS else None
    return taus


def _unseen(frame: pd.DataFrame, known: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """The share of rows in categories that the model has never seen, for each column of `known`."""
    out = {}
    for name, categories in known.items():
        if name in frame and len(frame):
            values = frame[name]
            new = values.notna() & ~values.astype(object).isin(list(categories))
            out[name] = float(new.mean())
    return out


def _column(
    name: str,
    spec: Mapping[str, Any],
    now: NDArray[np.float64],
    tau: float | None,
    p: int,
    unseen: float,
) -> ColumnDrift:
    before = reference.reference_counts(spec)
    value = reference.psi(before, now)
    limit = None
    if tau is not None:
        k = reference.degrees(before + now)
        limit = threshold(before.sum(), now.sum(), k, tau, p)
    missing, was = float(now[-1] / now.sum()), float(before[-1] / before.sum())
    broken = None
    if missing - was >= MISSING_UP:
        broken = f"{missing:.0%} missing, {was:.0%} in the reference"
    elif unseen > UNSEEN:
        broken = f"{unseen:.0%} in categories never seen"
    elif value > BROKEN_PSI:
        broken = f"PSI {value:.2f}, over {BROKEN_PSI:g}"
    return ColumnDrift(name, value, limit, missing, was, unseen, broken)


def _levels(
    windows: Sequence[Window], schema_changes: Sequence[str], accepted: frozenset[str]
) -> list[Window]:
    """The level of each window from its columns and the two before it.

    A window of a broken feed is no part of that history: what it showed is not drift.
    """
    out: list[Window] = []
    history: list[set[str]] = []
    filled = [i for i, w in enumerate(windows) if w.columns]
    for i, window in enumerate(windows):
        if not window.columns:
            out.append(window)
            continue
        changes = schema_changes if i == filled[-1] else ()
        level, reasons = _level(window, history[-2:], changes, accepted)
        out.append(replace(window, level=level, reasons=tuple(reasons)))
        if level != Level.INCIDENT:
            history.append({c.name for c in window.columns if c.over})
    return out


def _level(
    window: Window,
    before: Sequence[set[str]],
    changes: Sequence[str],
    accepted: frozenset[str],
) -> tuple[Level, list[str]]:
    columns = [c for c in window.columns if c.name not in accepted]
    broken = [f"{c.name}: {c.broken}" for c in columns if c.broken] + list(changes)
    if broken:
        return Level.INCIDENT, broken
    over = sorted((c for c in columns if c.over), key=lambda c: -c.ratio)
    alerts = []
    for column in over:
        figures = f"{column.name}: PSI {column.psi:.3f}, threshold {column.threshold:.3f}"
        if column.ratio >= TWICE:
            alerts.append(f"{figures}, {column.ratio:.1f} times")
        elif any(column.name in names for names in before):
            alerts.append(f"{figures}, over again within three windows")
    twice = set.intersection(*before) if len(before) == 2 else set()
    now = {c.name for c in over}
    alerts += [f"{name}: over in both windows before" for name in sorted(twice - accepted - now)]
    if alerts:
        return Level.ALERT, alerts
    if over:
        return Level.WATCH, [
            f"{c.name}: PSI {c.psi:.3f}, threshold {c.threshold:.3f}" for c in over
        ]
    if columns and all(c.threshold is None for c in columns):
        return Level.NONE, [f"fewer than {LEAST_BLOCKS} blocks to tell drift from habit"]
    return Level.QUIET, []
