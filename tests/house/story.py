"""The sample year through the house's own functions, without files: what each seed tells."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import sample
from mainline import settings
from mainline.data import schema, table
from mainline.data.split import assign
from mainline.monitor import drift, quality
from mainline.serve import known_labels
from mainline.settings import entry_point
from mainline.train import profile, train
from mainline.train.bundle import build_features, decide, raw_columns, raw_inputs, scores_of
from mainline.train.threshold import choose

ROOT = Path(__file__).resolve().parents[2]
END = pd.Timestamp("2025-01-01")


@functools.cache
def rules() -> tuple[settings.Settings, schema.Schema]:
    """params.yaml and schema.yaml of this repository."""
    return settings.load(ROOT), schema.load(ROOT)


@dataclass
class Model:
    """A trained model, its threshold from the tune part, and its reference profile."""

    raw: list[dict[str, Any]]
    columns: list[str]
    estimator: Any
    threshold: float
    reference: dict[str, Any]

    def score(self, frame: pd.DataFrame) -> np.ndarray:
        """Scores (n, 1) of typed rows."""
        made = build_features(build(), raw_inputs(frame, self.raw))
        return scores_of(self.estimator, made[self.columns], "binary")

    def recall(self, frame: pd.DataFrame) -> float:
        """The share of frauds that are alerted on."""
        fraud = frame[frame["is_fraud"] == 1]
        return float(decide(self.score(fraud), "binary", self.threshold).mean())


def build() -> Any:
    """The sample project's features."""
    return entry_point(ROOT, rules()[0].features.build)


def fit(frame: pd.DataFrame) -> Model:
    """Train on typed, labelled rows as `mainline train` does."""
    options, contract = rules()
    frame = frame.reset_index(drop=True)
    part = assign(frame, options, contract)
    learn, held = part == "train", part != "train"
    y = frame["is_fraud"].to_numpy(dtype=int)
    raw = raw_columns(contract.features, frame[learn])
    typed = raw_inputs(frame, raw)
    x = build_features(build(), typed)
    estimator = train.fit(x[learn], y[learn], ROOT, options)
    scores = scores_of(estimator, x[held], "binary")
    tune = (part[held] == "tune").to_numpy()
    limit = choose(y[held][tune], scores[tune, 0], options.evaluate.threshold)
    times = frame["timestamp"]
    reference = profile.build_reference(
        typed, times, scores, decide(scores, "binary", limit), y[held], times[held], "binary"
    )
    return Model(raw, list(x.columns), estimator, limit, reference)


@dataclass
class Year:
    """Twelve months, the model of the first six, and what the monitor made of the rest."""

    months: dict[int, pd.DataFrame]
    model: Model
    windows: list[drift.Window]
    watches: tuple[quality.StreamWatch, ...]

    def first(self, level: drift.Level) -> pd.Timestamp | None:
        """The start of the first window at `level`."""
        return next((w.start for w in self.windows if w.level is level), None)

    def fired(self, stream: str) -> pd.Timestamp | None:
        """When the stream's e-process fired."""
        return next(w.fired_at for w in self.watches if w.name == stream)

    def retrained(self, as_of: str) -> Model:
        """A model of the newest 240 days whose labels had matured by `as_of`."""
        now = pd.Timestamp(as_of)
        rows = pd.concat(self.months.values())
        options = rules()[0]
        mature = now - pd.Timedelta(days=options.monitor.maturity_days)
        oldest = now - pd.Timedelta(days=options.train.window_days or 1e5)
        return fit(rows[rows["timestamp"].between(oldest, mature)])


@functools.cache
def year(seed: int, **knobs: Any) -> Year:
    """The year of one seed, with the knobs of `sample.month`."""
    contract = rules()[1]
    months = {
        m: table.coerce(sample.month(m, seed=seed, **knobs), contract)[0] for m in range(1, 13)
    }
    model = fit(pd.concat([months[m] for m in range(1, 7)]))
    later = pd.concat([months[m] for m in range(7, 13)], ignore_index=True)
    scores = model.score(later)
    decisions = decide(scores, "binary", model.threshold)
    outputs = profile.score_columns(scores, decisions, "binary")
    watched = pd.concat([later, outputs], axis=1)
    known = {c["name"]: c["categories"] for c in model.raw if c["categories"] is not None}
    windows = drift.cut(later["timestamp"], END, rules()[0].monitor.window)
    outcomes = pd.DataFrame(
        {"ts": later["timestamp"], "y": later["is_fraud"],
         "known_at": later["label_available_at"], "decision": decisions, "score": scores[:, 0]}
    )  # fmt: skip
    matured = known_labels.matured(outcomes, END, rules()[0].monitor.maturity_days)
    return Year(
        months, model, drift.judge(watched, windows, model.reference, known),
        quality.watch(matured, model.reference["quality"]),
    )  # fmt: skip
