"""What the data and the model may be like: the sections `gate.data` and `gate.model`.

A limit that is null is measured and shown, and decides nothing. Every default was tried on the
sample and on tables of other kinds: a sound table or model passes it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mainline.config import Section


class DataLimits(Section):
    """Limits on the table, beyond what schema.yaml says of each column.

    duplicates: share of rows that repeat another in every column but the row id.
    class_share: least share of rows that each class has. class_rows: least rows of each class.
    max_age: how old the newest row may be on the day of the check, such as `30D`.
    leakage: how well one column alone may predict the target, from 0 (not) to 1 (entirely).
    strong: columns that may do so, because they are known when the model is asked.
    shared: share of test rows whose entity stands in another part too. shared_rows: share of test
    rows that are equal to one of another part, where rows carry enough to tell them apart.
    personal: columns whose values may look like personal data.
    removed, relabelled: share of main's rows that may be gone or replaced, or be labelled anew:
    of all rows, of main's test rows and of each class among these, where three or more are.
    label_shift: how far the target of the rows that came may surely be from that of main's rows:
    2 |asin sqrt p - asin sqrt q| of a class's share, or standard deviations of a number. Where
    main's own months moved further, as far as they did.
    """

    duplicates: float | None = Field(0.05, ge=0, le=1)
    class_share: float | None = Field(0.001, ge=0, le=1)
    class_rows: int = Field(10, ge=1)
    max_age: str | None = None
    leakage: float | None = Field(0.95, gt=0, le=1)
    strong: tuple[str, ...] = ()
    shared: float | None = Field(0.0, ge=0, le=1)
    shared_rows: float | None = Field(0.01, ge=0, le=1)
    personal: tuple[str, ...] = ()
    removed: float | None = Field(0.1, ge=0, le=1)
    relabelled: float | None = Field(0.02, ge=0, le=1)
    label_shift: float | None = Field(0.2, ge=0)


class Direction(Section):
    """A column that may move the score one way only; `violations` is the share of rows that may.

    `of` names the class whose score is meant, where there are more than two.
    """

    column: str
    score: Literal["up", "down"]
    violations: float = Field(0.05, ge=0, le=1)
    of: str | None = None


class Invariant(Section):
    """A column that must not matter: the share of decisions that may change with its value."""

    column: str
    flips: float = Field(0.0, ge=0, le=1)


class Fairness(Section):
    """A rate that groups should share, and the largest gap between two of them (null: shown)."""

    by: str
    rate: str
    limit: float | None = Field(None, gt=0)


class ModelLimits(Section):
    """Limits on the model's behaviour.

    trivial, linear: by how much the gate's metric must beat a constant answer and a linear model;
    a negative margin is what may be lost to it.
    overfit: how much of the way from a constant answer to a perfect one a model that is trained
    on a small sample must go on that very sample.
    gap: how much worse the gate's metric may be on test rows than on training rows.
    noise, missing, extremes: share of decisions that may change when numbers are moved by a
    hundredth of their spread, when one value is missing, when one number is far out.
    calibration: largest calibration error. latency_ms, size_mb: one row, the whole bundle.
    determinism: `all` trains once more on all rows; `sample` twice on 5,000 of them, for models
    that take hours.
    """

    trivial: float = 0.0
    linear: float | None = None
    overfit: float | None = Field(0.5, ge=0, le=1)
    gap: float | None = Field(None, ge=0)
    invariant: tuple[Invariant, ...] = ()
    directional: tuple[Direction, ...] = ()
    noise: float | None = Field(0.2, ge=0, le=1)
    missing: float | None = Field(None, ge=0, le=1)
    extremes: float | None = Field(None, ge=0, le=1)
    calibration: float | None = Field(None, gt=0)
    fairness: tuple[Fairness, ...] = ()
    determinism: Literal["all", "sample"] = "all"
    latency_ms: float | None = Field(100, gt=0)
    size_mb: float | None = Field(100, gt=0)
