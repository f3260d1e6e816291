"""Throw-away repositories on real tables, in which only what a forker edits was edited."""

from __future__ import annotations

import shutil
from pathlib import Path

import tools
from copies import ROOT, copy_tree
from small import dvc, git

# The settings and the contract of titanic.csv.
TITANIC_PARAMS = """\
model: {name: titanic, task: binary, target: survived, positive: 1}
store: {kind: path}
split: {kind: row, salt: titanic-1, tune: 0.15, test: 0.3}
features: {build: "project.features:build"}
train:
  estimator: project.model:build
  args: {max_iter: 60, max_leaf_nodes: 8}
evaluate:
  metrics: [roc_auc, average_precision, recall, precision]
  slices: [sex]
  threshold: {rule: max_f1}
gate: {metric: roc_auc, delta: 0.06}
monitor: {maturity_days: 0}
"""
TITANIC = """\
version: 1
row_id: null
target: survived
columns:
  - {name: survived, type: integer, role: target}
  - {name: pclass, type: integer, role: feature, hard: {min: 1, max: 3}}
  - {name: sex, type: category, role: feature, categories: [male, female]}
  - {name: age, type: number, role: feature, hard: {min: 0, max: 120}}
  - {name: sibsp, type: integer, role: feature}
  - {name: parch, type: integer, role: feature}
  - {name: fare, type: number, role: feature, hard: {min: 0}}
  - {name: embarked, type: category, role: feature}
  - {name: class, type: category, role: drop}
  - {name: who, type: category, role: feature}
  - {name: adult_male, type: bool, role: feature}
  - {name: deck, type: category, role: feature, max_missing: 0.9}
  - {name: embark_town, type: text, role: drop}
  - {name: alive, type: text, role: drop}
  - {name: alone, type: bool, role: feature}
"""


def table(name: str) -> Path:
    """A real table: from MAINLINE_TEST_TABLES, or `../shared/data` beside this repository."""
    beside = ROOT.parent / "shared" / "data" / name
    return beside if beside.is_file() else tools.table(name)


def repository(root: Path, source: Path, params: str, schema: str, project: dict[str, str]) -> Path:
    """This repository with another params.yaml, schema.yaml, data/ and src/project; committed."""
    root.mkdir()
    copy_tree(root)
    for name in ("tests/house", "benchmarks", "demo-store", "docs"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "data.dvc").unlink()
    (root / "tests" / "model" / "cases.csv").unlink()
    (root / "params.yaml").write_text(params, encoding="utf-8")
    (root / "schema.yaml").write_text(schema, encoding="utf-8")
    for name, text in project.items():
        (root / "src" / "project" / name).write_text(text, encoding="utf-8")
    (root / "data" / "rows").mkdir(parents=True)
    shutil.copy(source, root / "data" / "rows" / source.name)
    git(root, "init", "--quiet")
    dvc(root, "add", "--quiet", "data")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Another table")
    return root
