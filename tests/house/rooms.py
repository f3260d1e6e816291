"""Small repositories with one table, features and estimator each, trained and proved in place."""

from __future__ import annotations

import itertools
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import real
import tasks
import yaml

from mainline import settings
from mainline.data import schema
from mainline.evaluate import proof
from mainline.evaluate.subject import Subject
from mainline.train import bundle, train
from mainline.verdict import Check

NUMBERS = itertools.count()
SETTINGS: dict[str, Any] = {
    "model": {"name": "toy", "task": "binary", "target": "y", "positive": 1},
    "split": {"kind": "row", "salt": "s", "tune": 0.2, "test": 0.4},
    "evaluate": {"threshold": {"rule": "max_f1"}},
    "gate": {"metric": "roc_auc", "delta": 0.05},
    "monitor": {"maturity_days": 0},
}
TASKS: dict[str, tuple[dict[str, Any], str]] = {
    "binary": ({}, "roc_auc"),
    "multiclass": ({"name": "toy", "task": "multiclass", "target": "y"}, "balanced_accuracy"),
    "regression": ({"name": "toy", "task": "regression", "target": "y"}, "mae"),
}
COLUMNS: list[dict[str, Any]] = [
    {"name": "a", "type": "number", "role": "feature"},
    {"name": "b", "type": "number", "role": "feature"},
    {"name": "count", "type": "integer", "role": "feature", "hard": {"min": 0}},
    {"name": "kind", "type": "category", "role": "feature", "allow_new": True},
    {"name": "group", "type": "category", "role": "slice"},
    {"name": "y", "type": "integer", "role": "target"},
]
PLAIN = "return frame"
HEAD = """\
import numpy as np
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import *
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def encoded(estimator, **encoder):
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", **encoder)
    return make_pipeline(ColumnTransformer([
        ("n", numbers, make_column_selector(dtype_include="number")),
        ("c", categories, make_column_selector(dtype_include="category"))]), estimator)


"""
TREES = """\
def build(seed, **args):
    name = HistGradientBoosting{kind}
    return name(max_iter=40, categorical_features="from_dtype", random_state=seed)
"""
LINEAR = """\
def build(seed, **args):
    return encoded({kind})
"""
FOREST = """\
def build(seed, **args):
    return encoded(RandomForest{kind}(50, random_state=seed))
"""
MODELS = {
    ("trees", False): TREES.format(kind="Classifier"),
    ("trees", True): TREES.format(kind="Regressor"),
    ("linear", False): LINEAR.format(kind="LogisticRegression(max_iter=1000)"),
    ("linear", True): LINEAR.format(kind="Ridge()"),
    ("forest", False): FOREST.format(kind="Classifier"),
    ("forest", True): FOREST.format(kind="Regressor"),
}
REAL_TABLES = {
    "penguins.csv": (tasks.PENGUINS + tasks.COMMON, tasks.PENGUIN_COLUMNS),
    "bike_hour.csv": (tasks.BIKE + tasks.COMMON, tasks.BIKE_COLUMNS),
    "titanic.csv": (real.TITANIC_PARAMS, real.TITANIC),
}


def table(task: str = "binary", n: int = 1500, seed: int = 0) -> pd.DataFrame:
    """Rows in which `a` raises the target, `b` lowers it, `kind` shifts it and `group` does not."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0, 1, n), rng.normal(0, 1, n)
    count, kind = rng.poisson(2, n), rng.choice(["x", "y", "z"], n)
    value = 2 * a - b + 0.3 * count + (kind == "z") + rng.normal(0, 0.7, n)
    y = {"binary": (value > 1.5).astype(int), "regression": value.round(3),
         "multiclass": np.digitize(value, [0, 2])}[task]  # fmt: skip
    gaps = rng.random(n) < 0.03
    group = rng.choice(["one", "two", "rare"], n, p=[0.6, 0.385, 0.015])
    return pd.DataFrame({"a": np.where(gaps, np.nan, a), "b": b, "count": count, "kind": kind,
                         "group": group, "y": y})  # fmt: skip


@dataclass(frozen=True)
class Room:
    """A trained throw-away project."""

    root: Path

    def limits(self, **limits: Any) -> None:
        """Set `gate.model`."""
        document = yaml.safe_load((self.root / "params.yaml").read_text("utf-8"))
        document["gate"]["model"] = limits
        (self.root / "params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")

    def prove(self, **limits: Any) -> dict[str, Check]:
        """All checks of its model by name, under `limits`."""
        return {c.name: c for c in self.examine(**limits)[0]}

    def examine(self, **limits: Any) -> tuple[list[Check], dict[str, Any]]:
        """All checks and findings."""
        if limits:
            self.limits(**limits)
        return proof.examine(self.subject())

    def subject(self) -> Subject:
        """What is checked."""
        options, rules = settings.load(self.root), schema.load(self.root)
        model = bundle.load(self.root / "models", self.root)
        rows = train.usable_rows(self.root, options, rules)
        scores = model.predict(rows.frame[(rows.part == "test").to_numpy()])
        return proof.subject(self.root, options, rules, model, rows, scores)

    def fired(self, **limits: Any) -> dict[str, str]:
        """The checks that did not pass, with their reasons."""
        return {n: c.reason for n, c in self.prove(**limits).items() if c.verdict != "PASS"}

    def cases(self, text: str) -> None:
        """Write its table of cases."""
        path = self.root / "tests" / "model" / "cases.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")


def furnish(
    root: Path, params: dict[str, Any], rules: Any, rows: pd.DataFrame, model: str,
    features: str = PLAIN,
) -> Room:  # fmt: skip
    """Write a project with its own package of features and estimator, and train it."""
    package = f"room{next(NUMBERS)}"
    (root / "src" / package).mkdir(parents=True)
    body = textwrap.indent(textwrap.dedent(features), "    ")
    head = "import random\nimport numpy as np\n\n\ndef build(frame):\n"
    (root / "src" / package / "features.py").write_text(f"{head}{body}\n", "utf-8")
    (root / "src" / package / "model.py").write_text(HEAD + textwrap.dedent(model), "utf-8")
    params = {**params, "features": {"build": f"{package}.features:build"}}
    params["train"] = {"trusted": [f"{package}.model.Own"], **params.get("train", {}),
                       "estimator": f"{package}.model:build"}  # fmt: skip
    (root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (root / "schema.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    (root / "data").mkdir()
    rows.to_csv(root / "data" / "rows.csv", index=False)
    return train_in(root)


def train_in(root: Path) -> Room:
    """Train the project in `root`."""
    train.run(root)
    return Room(root)


def on_made_up_rows(
    root: Path, model: str = "", features: str = PLAIN, task: str = "binary", columns: Any = None,
    given: pd.DataFrame | None = None, entity: str | None = None, **rows: Any,
) -> Room:  # fmt: skip
    """A trained project on the rows `given`, or on `table(task, **rows)`."""
    section, metric = TASKS[task]
    params = {**SETTINGS, "gate": {"metric": metric, "delta": 0.05}}
    params["model"] = section or SETTINGS["model"]
    kinds = columns or COLUMNS
    if task == "regression":
        kinds = [{**c, "type": "number"} if c["name"] == "y" else c for c in kinds]
    rules = {"version": 1, "row_id": None, "entity": entity, "target": "y", "columns": kinds}
    model = model or MODELS["trees", task == "regression"]
    given = table(task, **rows) if given is None else given
    return furnish(root, params, rules, given, model, features)
