"""Throw-away repositories of other tasks: a multiclass and a regression table that are real."""

from __future__ import annotations

from pathlib import Path

import real

COMMON = """\
store: {kind: path}
features: {build: "project.features:build"}
train:
  estimator: project.model:build
  args: {max_iter: 60}
monitor: {maturity_days: 0}
"""
PENGUINS = """\
model: {name: penguins, task: multiclass, target: species}
split: {kind: row, salt: p1, tune: 0.15, test: 0.35}
evaluate:
  metrics: [accuracy, balanced_accuracy, f1_macro, log_loss]
  slices: [island]
  threshold: {rule: max_f1}
gate: {metric: balanced_accuracy, delta: 0.08}
"""
PENGUIN_COLUMNS = """\
version: 1
row_id: null
target: species
columns:
  - {name: species, type: category, role: target}
  - {name: island, type: category, role: feature}
  - {name: bill_length_mm, type: number, role: feature}
  - {name: bill_depth_mm, type: number, role: feature}
  - {name: flipper_length_mm, type: number, role: feature}
  - {name: body_mass_g, type: number, role: feature}
  - {name: sex, type: category, role: feature}
"""
BIKE = """\
model: {name: bikes, task: regression, target: cnt}
split: {kind: block, key: dteday, salt: b1, tune: 0.15, test: 0.25}
evaluate: {metrics: [mae, rmse, r2], slices: [season], threshold: {rule: max_f1}}
gate: {metric: mae, delta: 5}
"""
BIKE_COLUMNS = """\
version: 1
row_id: instant
time: dteday
target: cnt
columns:
  - {name: instant, type: integer, role: id, max_missing: 0}
  - {name: dteday, type: datetime, role: time, max_missing: 0}
  - {name: season, type: integer, role: feature}
  - {name: yr, type: integer, role: feature}
  - {name: mnth, type: integer, role: feature}
  - {name: hr, type: integer, role: feature, hard: {min: 0, max: 23}}
  - {name: holiday, type: bool, role: feature}
  - {name: weekday, type: integer, role: feature}
  - {name: workingday, type: bool, role: feature}
  - {name: weathersit, type: integer, role: feature}
  - {name: temp, type: number, role: feature}
  - {name: atemp, type: number, role: feature}
  - {name: hum, type: number, role: feature}
  - {name: windspeed, type: number, role: feature}
  - {name: casual, type: integer, role: drop}
  - {name: registered, type: integer, role: drop}
  - {name: cnt, type: integer, role: target}
"""
FEATURES = '''"""The columns as they are."""


def build(frame):
    """The very same."""
    return frame
'''
MODEL = '''"""Boosted trees."""

from sklearn.ensemble import {name}


def build(seed, **args):
    """Unfitted."""
    return {name}(categorical_features="from_dtype", random_state=seed, **args)
'''
TABLES = {
    "penguins.csv": (PENGUINS, PENGUIN_COLUMNS, "HistGradientBoostingClassifier"),
    "bike_hour.csv": (BIKE, BIKE_COLUMNS, "HistGradientBoostingRegressor"),
}


def repository(root: Path, name: str) -> Path:
    """A repository on the table `name`, committed and not yet trained."""
    params, schema, estimator = TABLES[name]
    project = {"features.py": FEATURES, "model.py": MODEL.format(name=estimator)}
    return real.repository(root, real.table(name), params + COMMON, schema, project)
