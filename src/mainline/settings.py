"""params.yaml -> frozen, validated settings, a section for each step of the flow."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from mainline.config import Section, load_yaml, parse_yaml
from mainline.errors import SettingsError
from mainline.limits import DataLimits, ModelLimits

ENTRY = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
MODEL_NAME = re.compile(r"^[a-z][a-z0-9-]*[a-z0-9]$")

BINARY = ("average_precision", "roc_auc", "recall", "precision", "fpr", "accuracy", "log_loss",
          "brier", "calibration_error", "alert_rate")  # fmt: skip
MULTICLASS = ("accuracy", "balanced_accuracy", "f1_macro", "log_loss", "calibration_error")
REGRESSION = ("mae", "rmse", "r2", "median_absolute_error", "bias")
METRICS = {"binary": BINARY, "multiclass": MULTICLASS, "regression": REGRESSION}


class Model(Section):
    """What is predicted. `positive` is the class that a binary model's scores are for."""

    name: str
    task: Literal["binary", "multiclass", "regression"]
    target: str
    positive: str | int | bool | None = None

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not MODEL_NAME.match(value):
            slug = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-") or "model"
            raise ValueError(f"{value!r} cannot be a tag; use {slug!r}")
        return value

    @model_validator(mode="after")
    def _binary(self) -> Model:
        if self.task == "binary" and self.positive is None:
            raise ValueError("a binary task needs `positive`, the class that the scores are for")
        return self


class Store(Section):
    """Where DVC keeps data and models."""

    kind: Literal["demo", "branch", "path", "s3", "gs", "azure", "ssh"] = "demo"
    url: str | None = None


class Split(Section):
    """How rows are divided: by a salted hash of `key`, or by time. Shares of all rows."""

    kind: Literal["entity", "block", "row", "time"]
    key: str | None = None
    salt: str = Field(min_length=1)
    tune: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    block: str = "7D"

    @model_validator(mode="after")
    def _shares(self) -> Split:
        if self.tune + self.test >= 0.9:
            raise ValueError("tune and test together leave less than a tenth to train on")
        return self


class Features(Section):
    """Entry point `module:function`: raw feature columns in, model inputs out, row by row."""

    build: str

    @field_validator("build")
    @classmethod
    def _entry(cls, value: str) -> str:
        return _entry_point(value)


class Train(Section):
    """Entry point of the estimator, its arguments, its seed, and how far back rows are used.

    `trusted` adds types to the allow-list with which the model file is loaded.
    """

    estimator: str
    args: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    trusted: tuple[str, ...] = ()
    window_days: float | None = Field(None, gt=0)

    @field_validator("estimator")
    @classmethod
    def _entry(cls, value: str) -> str:
        return _entry_point(value)


class Threshold(Section):
    """How a binary threshold is chosen on the tune part."""

    rule: Literal["max_fpr", "min_precision", "min_recall", "max_f1", "fixed"] = "max_f1"
    value: float | None = Field(None, ge=0, le=1)

    @model_validator(mode="after")
    def _value(self) -> Threshold:
        if (self.rule != "max_f1") and self.value is None:
            raise ValueError(f"the rule {self.rule} needs a `value`")
        return self


class Evaluate(Section):
    """What is measured on the test part."""

    metrics: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    threshold: Threshold = Threshold()


class Gate(Section):
    """The comparison's metric, the loss that does not matter, and the guardrails.

    `data` and `model` limit what the table and the model's behaviour may be like.
    """

    metric: str
    delta: float = Field(gt=0)
    guardrails: dict[str, float] = Field(default_factory=dict)
    require_improvement: bool = False
    allow_skipped: tuple[str, ...] = ()
    data: DataLimits = DataLimits()
    model: ModelLimits = ModelLimits()


class Release(Section):
    """How a version is signed, and whether one without a signature may be registered and served.

    `public_key` is a file of the repository (PEM) with the key that signs; `identity` is the
    workflow that signs without a key, as its certificate names it, known to `issuer`.
    """

    unsigned: Literal["allow", "refuse"] = "allow"
    public_key: str | None = None
    identity: str | None = None
    issuer: str = "https://token.actions.githubusercontent.com"


class Serve(Section):
    """Limits of one request and of one worker, and what computes the scores.

    `keys` is a file with the hashes of the bearer keys that may ask; null asks nobody for one.
    """

    max_rows: int = Field(1000, gt=0)
    max_body_bytes: int = Field(1_000_000, gt=0)
    max_requests: int = Field(512, gt=0)  # at once; more are answered with 503
    timeout_seconds: float = Field(30, gt=0)
    engine: Literal["auto", "treelite", "sklearn"] = "auto"
    keys: str | None = None
    log_file_mb: float = Field(64, gt=0)  # a file of the prediction log is closed beyond this size


Judged = Literal["errors", "latency", "predictions", "scores", "share"]
STAGE_NAME = re.compile(r"[a-z][a-z0-9-]{0,38}[a-z0-9]")


class Stage(Section):
    """One stage: its weight in per cent and what a PASS of it needs.

    At least `requests` canary requests (mirrored pairs at weight 0) and `min_seconds`. Without a
    PASS after `max_seconds` (null: `rollout.hold_seconds`) it is rolled back. `judge` names what is
    judged besides the canary's life and the log; null is all of it.
    """

    name: str
    weight: int = Field(ge=0, le=100)
    requests: int = Field(ge=0)
    min_seconds: float = Field(0, ge=0)
    max_seconds: float | None = Field(None, gt=0)
    judge: tuple[Judged, ...] | None = None

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not STAGE_NAME.fullmatch(value):
            raise ValueError("a stage's name is 2 to 40 small letters, digits and hyphens, "
                             "a letter first, no hyphen last")  # fmt: skip
        return value

    @model_validator(mode="after")
    def _times(self) -> Stage:
        if self.max_seconds is not None and self.max_seconds <= self.min_seconds:
            raise ValueError(f"the stage {self.name} would end before its min_seconds are over")
        return self


class Rollout(Section):
    """The plan of stages and what the judge holds a canary to.

    `plan` chooses among the stages: canary takes them all; bake the shadow and the last; blue-green
    the last alone; shadow only the shadow; offline serves nothing and swaps what `prod` names. auto
    is canary from `canary_rate` requests a second on, and bake below. The old model stays warm for
    `warm_seconds` after a promotion, or until labels have matured. A canary whose memory has grown
    by more than `memory_mb` (MiB) since it was ready is lost. Where no target is set, a
    rehearsal that passed assigns `prod` only if `rehearsal` is `production`.
    """

    plan: Literal["auto", "canary", "bake", "blue-green", "shadow", "offline"] = "auto"
    stages: tuple[Stage, ...] = ()
    error_budget: float = Field(0.02, gt=0, lt=1)
    latency_ms: float = Field(250, gt=0)
    hold_seconds: float = Field(86400, gt=0)
    warm_seconds: float = Field(86400, ge=0)
    canary_rate: float = Field(1.0, gt=0)
    memory_mb: float = Field(1024, gt=0)
    rehearsal: Literal["nothing", "production"] = "nothing"

    @model_validator(mode="after")
    def _plan(self) -> Rollout:
        weights = [s.weight for s in self.stages]
        if any(a >= b for a, b in itertools.pairwise(weights)):
            raise ValueError("the weights of the stages must rise from one to the next")
        if self.stages and weights[-1] != 100:
            raise ValueError("the last stage must have weight 100")
        if len({s.name for s in self.stages}) != len(self.stages):
            raise ValueError("two stages have one name")
        for stage in self.stages:
            if 0 < stage.weight < 100 and not stage.requests:
                raise ValueError(f"the stage {stage.name} would pass without a request")
        return self


class Monitor(Section):
    """Where the prediction log and the labels are, and when a label counts."""

    window: str = "7D"
    maturity_days: float = Field(30, ge=0)
    log: str | None = None
    labels: str | None = None

    @field_validator("window")
    @classmethod
    def _window(cls, value: str) -> str:
        if not re.fullmatch(r"[1-9]\d*[DHW]", value, re.IGNORECASE):
            raise ValueError("a window is a number of days, hours or weeks such as 7D, 24H or 2W")
        return value


class Retrain(Section):
    """When production asks for a new model."""

    enabled: bool = True
    cooldown_days: float = Field(14, ge=0)
    new_labels: float = Field(0.2, gt=0)
    max_age_days: float = Field(60, gt=0)


class Settings(Section):
    """All of params.yaml."""

    model: Model
    store: Store = Store()
    split: Split
    features: Features
    train: Train
    evaluate: Evaluate = Evaluate()
    gate: Gate
    release: Release = Release()
    serve: Serve = Serve()
    rollout: Rollout = Rollout()
    monitor: Monitor = Monitor()
    retrain: Retrain = Retrain()

    @model_validator(mode="after")
    def _metrics(self) -> Settings:
        known = METRICS[self.model.task]
        asked = [self.gate.metric, *self.evaluate.metrics, *self.gate.guardrails]
        for name in asked:
            if name not in known:
                raise ValueError(
                    f"{name!r} is not a metric of a {self.model.task} task; "
                    f"known are {', '.join(known)}"
                )
        return self


def _entry_point(value: str) -> str:
    if not ENTRY.match(value):
        raise ValueError(f"{value!r} is not an entry point; write `package.module:function`")
    return value


def load(root: Path) -> Settings:
    """Read `params.yaml` under `root`; SettingsError (22) names file, line and remedy."""
    return load_yaml(root / "params.yaml", Settings)


def parse(text: str, name: str = "params.yaml") -> Settings:
    """Read settings from text, as found on another commit."""
    return parse_yaml(text, name, Settings)


def entry_point(root: Path, value: str) -> Any:
    """Import `module:function` from `root/src`.

    Raises SettingsError when the module or the function is not there. An error inside the
    forker's module is reported with its own message.
    """
    import importlib
    import sys

    source = str(root / "src")
    if source not in sys.path:
        sys.path.insert(0, source)
    module_name, _, name = value.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"The entry point {value!r} was not found (no module {error.name!r})",
            "Mend it in params.yaml or add the module under src/",
        ) from error
    except AttributeError as error:
        raise SettingsError(
            f"The entry point {value!r} was not found ({error})",
            f"Define {name!r} in {module_name}",
        ) from error
    except Exception as error:
        raise SettingsError(
            f"{module_name} could not be imported: {type(error).__name__}: {error}",
            "Mend the module; `--debug` shows where",
        ) from error
    return found
