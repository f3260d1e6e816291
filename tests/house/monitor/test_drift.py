"""The rule of drift: thresholds, windows and levels, and how seldom it cries wolf."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mainline.monitor import drift
from mainline.monitor.drift import ColumnDrift, Level, Window
from mainline.train import profile


def column(name: str, psi: float, threshold: float | None = 0.05, broken: str | None = None):
    """A column of a window with this PSI."""
    return ColumnDrift(name, psi, threshold, 0.0, 0.0, broken=broken)


def levels(*windows: list[ColumnDrift]) -> list[Level]:
    """The levels of windows with these columns."""
    day = pd.Timestamp("2024-01-01")
    made = [Window(day, day, 1000, tuple(columns)) for columns in windows]
    return [w.level for w in drift._levels(made, (), frozenset())]


def test_threshold_is_the_formula():
    """tau 0: a scaled chi-squared with k - 1 degrees; never under the floor; more tau, higher."""
    from scipy.stats import chi2

    a = 1 / 2000 + 1 / 500
    assert drift.threshold(2000, 500, 11, 0, 20) == pytest.approx(a * chi2.ppf(1 - 0.05 / 20, 10))
    assert drift.threshold(1e6, 1e6, 3, 0, 20) == 0.02
    assert drift.threshold(2000, 500, 11, 0.05, 20) > drift.threshold(2000, 500, 11, 0.01, 20)


def test_levels_by_the_last_three_windows():
    """One over is a watch; the same column in two of the last three an alert; twice at once too."""
    over, under, twice = column("a", 0.06), column("a", 0.01), column("a", 0.10)
    other = column("b", 0.06)
    assert levels([over]) == [Level.WATCH]
    assert levels([over], [over]) == [Level.WATCH, Level.ALERT]
    assert levels([over], [under], [over])[-1] is Level.ALERT
    assert levels([over], [over], [under])[-1] is Level.ALERT
    assert levels([over], [under], [under], [over])[-1] is Level.WATCH
    assert levels([over], [other])[-1] is Level.WATCH
    assert levels([twice]) == [Level.ALERT]
    assert levels([under]) == [Level.QUIET]


def test_an_incident_outranks_drift_and_is_forgotten():
    """A broken feed is an incident whatever else drifts, and no history for the next windows."""
    broken, over = column("a", 2.0, broken="PSI"), column("b", 0.06)
    assert levels([broken, over], [over]) == [Level.INCIDENT, Level.WATCH]


def test_an_unknown_threshold_decides_nothing():
    """No threshold: no verdict, however large the PSI under 1."""
    assert levels([column("a", 0.9, None)]) == [Level.NONE]


def times(*days: str, n: int) -> pd.Series:
    """`n` rows at noon of each day."""
    return pd.Series(pd.to_datetime([d for d in days for _ in range(n)]) + pd.Timedelta("12h"))


def test_windows_are_whole_weeks_from_monday():
    """Anchored to Mondays; the week that is not over yet is not looked at."""
    ts = times("2024-01-03", "2024-01-10", "2024-01-16", n=600)
    cut = drift.cut(ts, pd.Timestamp("2024-01-18"), "7D")
    assert [(f"{w.start:%m-%d}", f"{w.end:%m-%d}", w.n) for w in cut] == [
        ("01-01", "01-08", 600), ("01-08", "01-15", 600)]  # fmt: skip


def test_thin_windows_are_widened_and_empty_ones_named():
    """Two weeks of 300 make one window; an empty week is "no verdict"; so is a thin end."""
    ts = times("2024-01-03", "2024-01-17", "2024-01-24", n=300)
    cut = drift.cut(ts, pd.Timestamp("2024-01-29"), "7D")
    assert [(f"{w.start:%m-%d}", f"{w.end:%m-%d}", w.n, w.level) for w in cut] == [
        ("01-08", "01-15", 0, Level.NONE),
        ("01-01", "01-22", 600, Level.NONE),
        ("01-22", "01-29", 300, Level.NONE),
    ]
    assert cut[0].reasons == ("no rows",)
    assert "fewer than 500" in cut[2].reasons[0]
    assert drift.cut(ts[:0], pd.Timestamp("2024-01-29"), "7D") == []


def year(
    rng: np.random.Generator, weeks: int, columns: int, shift: float = 0.0, jitter: float = 0.05
):
    """`weeks` of 1,000 rows: numbers whose mean moves a little each week; the first 3 shifted."""
    n = 1000 * weeks
    at = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(n) * 7 * 86400 // 1000, unit="s")
    week = np.arange(n) // 1000
    data = {}
    for c in range(columns):
        luck = rng.normal(0, jitter, weeks)[week]
        data[f"c{c}"] = rng.normal(size=n) + luck + (shift if c < 3 else 0.0)
    return pd.Series(at), pd.DataFrame(data)


def rates(shift: float, repeats: int) -> float:
    """The share of runs in which four weeks of production raise an alert."""
    alerts = 0
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        at, rows = year(rng, 20, 20)
        scores = rng.random((len(rows), 1))
        reference = profile.build_reference(rows, at, scores, scores[:, 0], scores[:, 0], at,
                                            "regression")  # fmt: skip
        now, later = year(rng, 4, 20, shift)
        later[profile.SCORE] = rng.random(len(later))
        cut = drift.cut(now, pd.Timestamp("2024-01-29"), "7D")
        judged = drift.judge(later, cut, reference)
        assert len(judged) == 4
        alerts += any(w.level in (Level.ALERT, Level.INCIDENT) for w in judged)
    return alerts / repeats


def test_no_alert_on_what_varies_as_it_always_did():
    """Twenty columns whose weeks jitter as those of the reference do: no alert in 20 runs."""
    assert rates(0.0, 20) == 0.0


def test_three_shifted_columns_of_twenty_are_always_found():
    """A shift of 0.4 standard deviations in three of twenty columns alerts in every run."""
    assert rates(0.4, 8) == 1.0
