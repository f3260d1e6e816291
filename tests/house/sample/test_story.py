"""The story that the sample's defaults must tell, through the house's own train and monitor.

Measured over seeds 1 to 12 (mean, standard deviation between seeds): recall .765 (.017) in month 7,
.766 (.031) in 8, .508 (.031) in 9, .464 (.034) in 10, .425 (.032) in 11; retrained on 15 October
.782 (.036) in November, on 1 November .820 (.021). First alert in the weeks of 2, 9 and 16
September (2, 8 and 2 seeds); the quality stream fired between 5 and 20 October for each seed.
Limits below are three standard deviations of a seed, or of the mean of twelve.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import story

from mainline.monitor.drift import Level

MEASURED = {7: (0.765, 0.017), 8: (0.766, 0.031), 9: (0.508, 0.031), 10: (0.464, 0.034),
            11: (0.425, 0.032)}  # fmt: skip
RETRAINED = {"2024-10-15": (0.782, 0.036), "2024-11-01": (0.820, 0.021)}
QUICK = (1, 4, 7)
TWELVE = tuple(range(1, 13))
ALARMS = (Level.ALERT, Level.INCIDENT)


@pytest.mark.parametrize("seed", QUICK)
def test_recall_holds_in_summer_and_falls_in_autumn(seed):
    """Each month of each seed lies within three standard deviations of the measured mean."""
    year = story.year(seed)
    for month, (mean, sd) in MEASURED.items():
        assert year.model.recall(year.months[month]) == pytest.approx(mean, abs=3 * sd)


@pytest.mark.parametrize("seed", QUICK)
def test_drift_is_silent_in_summer_and_alerts_in_september(seed):
    """No alert in a window of July or August; the first one begins in September."""
    year = story.year(seed)
    first = year.first(Level.ALERT)
    assert year.first(Level.INCIDENT) is None
    assert first is not None
    assert pd.Timestamp("2024-09-01") <= first < pd.Timestamp("2024-10-01")
    assert {w.level for w in year.windows} <= {Level.QUIET, Level.WATCH, Level.ALERT}


@pytest.mark.parametrize("seed", QUICK)
def test_lost_quality_fires_in_october(seed):
    """Matured labels show the fall once September's frauds are final: in October, not before."""
    fired = story.year(seed).fired("missed")
    assert fired is not None
    assert pd.Timestamp("2024-10-01") <= fired < pd.Timestamp("2024-11-01")


@pytest.mark.parametrize("seed", QUICK)
def test_retraining_brings_recall_back(seed):
    """240 days of matured labels, mid-October: November's recall is summer's again."""
    year = story.year(seed)
    mean, sd = RETRAINED["2024-10-15"]
    recall = year.retrained("2024-10-15").recall(year.months[11])
    assert recall == pytest.approx(mean, abs=3 * sd)
    assert recall > year.model.recall(year.months[11]) + 0.2


def test_without_drift_nothing_alarms_before_the_season():
    """The control: neither drift nor quality speaks up to the Christmas business."""
    year = story.year(1, drift=False)
    spoke = [w for w in year.windows if w.level in ALARMS and w.end <= pd.Timestamp("2024-11-01")]
    assert spoke == []
    assert [w.fired_at for w in year.watches] == [None, None]


def test_a_new_fraud_without_the_launch_is_seen_by_quality_alone():
    """Concept only: features stay quiet into October while the quality stream fires."""
    year = story.year(1, concept_only=True)
    assert year.first(Level.ALERT) is None
    fired = year.fired("missed")
    assert fired is not None
    assert fired < pd.Timestamp("2024-11-01")


@pytest.mark.slow
def test_twelve_seeds_tell_the_story_in_the_mean():
    """The means of twelve seeds, the first alert of each, and recovery by both retrains."""
    years = [story.year(seed) for seed in TWELVE]
    for month, (mean, sd) in MEASURED.items():
        recalls = [y.model.recall(y.months[month]) for y in years]
        assert np.mean(recalls) == pytest.approx(mean, abs=3 * sd / np.sqrt(len(years)))
    for day, (mean, sd) in RETRAINED.items():
        recalls = [y.retrained(day).recall(y.months[11]) for y in years]
        assert np.mean(recalls) == pytest.approx(mean, abs=3 * sd / np.sqrt(len(years)))
    firsts = [y.first(Level.ALERT) for y in years]
    assert all(f is not None and f.month == 9 for f in firsts)
    fired = [y.fired("missed") for y in years]
    assert all(f is not None and f.month == 10 for f in fired)


@pytest.mark.slow
def test_twelve_controls_raise_hardly_an_alarm():
    """Without drift: no quality alarm, and at most one alert, of the season, in twelve years."""
    years = [story.year(seed, drift=False) for seed in TWELVE]
    assert all(w.fired_at is None for y in years for w in y.watches)
    assert sum(y.first(Level.ALERT) is not None for y in years) <= 1
