"""What the checks of a model look at: its rows, its scores, and ways to ask it of changed rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline.data import schema
from mainline.data.split import dependent
from mainline.evaluate.interval import leave_out
from mainline.evaluate.metrics import measure
from mainline.limits import ModelLimits
from mainline.settings import Settings
from mainline.train import bundle, train
from mainline.train.bundle import Bundle

SEED = 20240101
# A changed number of a regression counts from this share of the target's spread on.
NOTICED = 0.1
FOLDS, LEAST_UNITS = 30, 5


@dataclass(frozen=True)
class Subject:
    """A trained model with the rows that it was made from and those that it has not seen.

    `test` are the typed rows of the part `test` with their target `y` (n,) and `scores` (n, k).
    `source` is where tests/model stands: of the base, where its limits are tried.
    """

    root: Path
    options: Settings
    rules: schema.Schema
    model: Bundle
    rows: train.Rows
    test: pd.DataFrame
    y: np.ndarray
    scores: np.ndarray
    source: Path
    _known: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """binary, multiclass or regression."""
        return self.model.task

    @property
    def limits(self) -> ModelLimits:
        """The limits of `gate.model`."""
        return self.options.gate.model

    @cached_property
    def learn(self) -> np.ndarray:
        """Which of `rows` are of the part `train`, shape (n,)."""
        return (self.rows.part == "train").to_numpy()

    @cached_property
    def decisions(self) -> np.ndarray:
        """The decision on each test row."""
        return self.model.decide(self.scores)

    @cached_property
    def inputs(self) -> pd.DataFrame:
        """The raw inputs of all rows, with the dtypes that `features.build` gets."""
        return bundle.raw_inputs(self.rows.frame, self.model.meta["raw"])

    @cached_property
    def built(self) -> pd.DataFrame:
        """What `features.build` makes of them."""
        return bundle.build_features(self.model.build, self.inputs)

    @cached_property
    def features(self) -> list[str]:
        """The names of the raw columns that the model asks for."""
        return [entry["name"] for entry in self.model.meta["raw"]]

    @cached_property
    def numbers(self) -> dict[str, Number]:
        """Its numeric columns that vary, with what their values on the test rows are like."""
        found = {}
        for entry in self.model.meta["raw"]:
            if entry["type"] in ("number", "integer"):
                number = describe(self.test[entry["name"]], self.rules.by_name[entry["name"]])
                if number is not None:
                    found[entry["name"]] = number
        return found

    @cached_property
    def spread(self) -> float:
        """The spread of what the model says: of the target (regression) or of the scores."""
        return float(np.std(self.y if self.task == "regression" else self.scores))

    @cached_property
    def folds(self) -> np.ndarray:
        """Each test row's fold, of at most 30; an entity or a block of time is never divided.

        Fewer than five of them say nothing of how sure a number is; then rows are dealt out.
        """
        keys = dependent(self.test, self.options.split, self.rules)
        codes = np.arange(len(self.test)) if keys is None else pd.factorize(keys)[0]
        if codes.max() + 1 < LEAST_UNITS:
            codes = np.arange(len(self.test))
        return np.random.default_rng(SEED).permutation(codes.max() + 1)[codes] % FOLDS

    def values(self, metric: str, scores: np.ndarray, decisions: np.ndarray) -> np.ndarray:
        """`metric` of any scores and decisions on all test rows and on all but each fold."""
        return leave_out(
            lambda keep: measure(
                self.task, [metric], self.y[keep], scores[keep], decisions[keep])[metric],
            self.folds,
        )  # fmt: skip

    def own(self, metric: str) -> np.ndarray:
        """The model's `metric` on all test rows and on all but each fold; measured once."""
        if metric not in self._known:
            self._known[metric] = self.values(metric, self.scores, self.decisions)
        return self._known[metric]

    def some(self, most: int, stream: int = 0) -> np.ndarray:
        """Positions of at most `most` test rows; of a binary task half of each decision."""
        rng = np.random.default_rng([SEED, stream])
        groups = [np.arange(len(self.test))]
        if self.task == "binary":
            groups = [np.flatnonzero(self.decisions == d) for d in (0, 1)]
        share = most // len(groups)
        return np.concatenate(
            [np.sort(rng.choice(g, min(share, len(g)), replace=False)) for g in groups]
        )

    def at(self, positions: np.ndarray, changes: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The raw features of these test rows, with whole columns replaced by `changes`."""
        rows = self.test[self.features].iloc[positions].reset_index(drop=True)
        for name, values in (changes or {}).items():
            rows[name] = values
        return rows

    def ask(self, frames: Iterable[pd.DataFrame]) -> list[np.ndarray]:
        """The scores of several tables in one pass; raises what the model or the features raise."""
        frames = list(frames)
        if not frames:
            return []
        scores = self.model.predict(pd.concat(frames, ignore_index=True))
        return np.split(scores, np.cumsum([len(f) for f in frames])[:-1])

    def changed(self, before: np.ndarray, after: np.ndarray, least: float = NOTICED) -> np.ndarray:
        """Which decisions differ between two sets of scores (n, k).

        A number differs when it moved by more than `least` of the target's spread.
        """
        if self.task == "regression":
            return np.abs(after - before)[:, 0] > least * self.spread
        return self.model.decide(before) != self.model.decide(after)

    def share(self, before: np.ndarray, changed: np.ndarray) -> float:
        """The share of decisions that changed.

        Of a binary task the mean of the shares among both decisions: where few rows are called
        positive, nearly all could change and the plain share would hardly move.
        """
        if len(changed) == 0:
            return 0.0
        if self.task != "binary":
            return float(changed.mean())
        decided = self.model.decide(before)
        return float(np.mean([changed[decided == d].mean() for d in np.unique(decided)]))


@dataclass(frozen=True)
class Number:
    """What the values of a numeric column are like: bounds, spread, whole numbers only or not.

    `least` and `most` are bounds that no honest value passes: the hard limits of schema.yaml, and
    zero where no value is below it.
    """

    low: float
    high: float
    spread: float
    whole: bool
    least: float
    most: float

    def fit(self, values: np.ndarray) -> np.ndarray:
        """`values` within the bounds, whole where the column is."""
        values = np.clip(values, self.least, self.most)
        return np.clip(np.round(values), self.least, self.most) if self.whole else values


def describe(values: pd.Series, column: schema.Column) -> Number | None:
    """The nature of a numeric column; None where it has fewer than two values.

    The spread is half the distance between the quantiles .16 and .84 (one standard deviation of a
    normal column), because a long tail would inflate a standard deviation.
    """
    known = values.dropna().to_numpy(dtype=float)
    if len(known) == 0 or known.min() == known.max():
        return None
    a, b = np.quantile(known, [0.16, 0.84])
    low, high = float(known.min()), float(known.max())
    hard = column.hard
    least = hard.min if hard.min is not None else (0.0 if low >= 0 else -np.inf)
    return Number(
        low, high, float(b - a) / 2 or float(known.std()),
        column.type == "integer" or bool((known == np.round(known)).all()),
        least, hard.max if hard.max is not None else np.inf,
    )  # fmt: skip
