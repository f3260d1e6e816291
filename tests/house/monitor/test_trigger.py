"""The table of triggers, row by row, and which of two wins."""

from __future__ import annotations

import dataclasses

import pytest

from mainline.monitor.drift import Level
from mainline.monitor.trigger import Situation, decide
from mainline.settings import Retrain

RULES = Retrain(enabled=True, cooldown_days=14, new_labels=0.2, max_age_days=60)
CALM = Situation(Level.QUIET, (), (), 0, 100, 1000, 10.0)


@pytest.mark.parametrize(
    ("change", "kind", "opens", "urgent"),
    [
        ({}, "none", None, False),
        ({"level": Level.WATCH}, "none", None, False),
        ({"level": Level.NONE}, "none", None, False),
        ({"level": Level.INCIDENT}, "incident", "issue", True),
        ({"fired": ("missed",)}, "quality", "pull request", True),
        ({"level": Level.ALERT}, "drift-few-labels", "issue", False),
        ({"level": Level.ALERT, "matured_since_drift": 30}, "drift", "pull request", True),
        ({"matured_new": 200}, "labels", "pull request", False),
        ({"age_days": 60.0}, "age", "pull request", False),
        ({"age_days": 60.0, "matured_new": 0}, "none", None, False),
        ({"age_days": None, "trained_on": 0}, "none", None, False),
        # A broken feed is never trained on, whatever else is true; lost quality beats drift.
        ({"level": Level.INCIDENT, "fired": ("missed",)}, "incident", "issue", True),
        ({"level": Level.ALERT, "fired": ("missed",)}, "quality", "pull request", True),
        ({"level": Level.ALERT, "matured_new": 900}, "drift-few-labels", "issue", False),
    ],
)  # fmt: skip
def test_table(change, kind, opens, urgent):
    """Each situation has one answer."""
    found = decide(dataclasses.replace(CALM, **change), RULES)
    assert (found.kind, found.opens, found.urgent) == (kind, opens, urgent)


def test_switched_off_it_is_still_said():
    """retrain.enabled off: the reason stands, no pull request; an incident is told all the same."""
    off = RULES.model_copy(update={"enabled": False})
    assert decide(dataclasses.replace(CALM, fired=("missed",)), off).opens is None
    assert decide(dataclasses.replace(CALM, fired=("missed",)), off).kind == "quality"
    assert decide(dataclasses.replace(CALM, level=Level.INCIDENT), off).opens == "issue"
