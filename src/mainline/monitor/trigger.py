"""What production asks for: nothing, an issue, or a pull request with a new model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mainline.monitor.drift import Level
from mainline.settings import Retrain

Kind = Literal["none", "incident", "quality", "drift", "drift-few-labels", "labels", "age"]
LEAST_POSITIVES = 30  # of the rare class (or rows, where there is none) since the drift began


@dataclass(frozen=True)
class Situation:
    """The numbers that the decision is made of."""

    level: Level  # of the newest window
    reasons: Sequence[str]  # of that level
    fired: Sequence[str]  # a sentence for each quality stream that fired
    matured_since_drift: int  # positives (else rows) matured among those since the drift began
    matured_new: int  # rows matured since the model was trained
    trained_on: int  # rows that the model was made from
    age_days: float | None  # since a newer model could have been made


@dataclass(frozen=True)
class Trigger:
    """What to do and why. `opens` is a pull request, an issue, or nothing."""

    kind: Kind
    reason: str
    opens: Literal["pull request", "issue"] | None
    urgent: bool = False


def decide(now: Situation, rules: Retrain) -> Trigger:
    """The most urgent trigger.

    A broken feed comes first and never retrains: a model trained on it would learn the fault. Then
    lost quality, then drift (with enough matured labels to learn from), then new labels and age.
    """
    if now.level is Level.INCIDENT:
        return Trigger("incident", "Broken feed: " + "; ".join(now.reasons), "issue", urgent=True)
    found = _retrain(now, rules)
    if found.opens == "pull request" and not rules.enabled:
        return Trigger(found.kind, found.reason + " (retrain.enabled is off)", None, found.urgent)
    return found


def _retrain(now: Situation, rules: Retrain) -> Trigger:
    if now.fired:
        return Trigger("quality", "Quality fell: " + "; ".join(now.fired), "pull request", True)
    if now.level is Level.ALERT:
        why = "Drift: " + "; ".join(now.reasons)
        have = f"{now.matured_since_drift} matured since it began, {LEAST_POSITIVES} needed"
        if now.matured_since_drift < LEAST_POSITIVES:
            return Trigger("drift-few-labels", f"{why} ({have})", "issue")
        return Trigger("drift", why, "pull request", True)
    share = now.matured_new / now.trained_on if now.trained_on else 0.0
    if share >= rules.new_labels:
        why = f"{now.matured_new} new matured labels, {share:.0%} of what the model was made from"
        return Trigger("labels", why, "pull request")
    if now.age_days is not None and now.age_days >= rules.max_age_days and now.matured_new:
        return Trigger("age", f"The model is {now.age_days:.0f} days old", "pull request")
    return Trigger("none", "Nothing asks for a new model", None)
