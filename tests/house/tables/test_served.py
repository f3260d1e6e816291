"""Other tables and models: what is answered over JSON is what `Bundle.predict` says, bit by bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import real
import tasks

pytestmark = pytest.mark.slow

PARAMS = """
model: {name: titanic, task: binary, target: survived, positive: 1}
store: {kind: path}
split: {kind: row, salt: titanic-1, tune: 0.15, test: 0.3}
features: {build: "project.features:build"}
train: {estimator: "project.model:build", args: {max_iter: 300}}
evaluate: {metrics: [roc_auc], threshold: {rule: max_f1}}
gate: {metric: roc_auc, delta: 0.06}
"""
LOGISTIC = '''"""A model that is no tree."""

from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def build(seed, **args):
    """Unfitted."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_pipeline(
        make_column_transformer(
            (numbers, make_column_selector(dtype_include="number")),
            (OneHotEncoder(handle_unknown="ignore"),
             make_column_selector(dtype_include="category")),
        ),
        LogisticRegression(random_state=seed, **args),
    )
'''
CHECK = """
import json, sys
from pathlib import Path
from mainline.data import schema, table
from mainline.serve.batch import json_rows
from mainline.serve.inputs import Inputs
from mainline.serve.scoring import Scorer
from mainline.train.bundle import load
from mainline.train.train import run

root = Path(".")
run(root)
rules = schema.load(root)
bundle = load(root / "models", root)
scorer = Scorer(bundle)
assert scorer.engine == sys.argv[1], scorer.why
frame = table.load_table(root, rules)
names = [c.name for c in rules.features]
rows = json.loads(json.dumps(json_rows(frame[names], rules)))
wanted = bundle.predict(frame)
inputs = Inputs(rules, max_rows=10**6)
parsed = inputs.parse(json.dumps({"rows": rows}).encode())
assert [s for s, _ in scorer.score(parsed)] == wanted.tolist()
assert [scorer.score([row])[0][0] for row in parsed[:100]] == wanted[:100].tolist()
golden = scorer.score([g["row"] for g in scorer.golden])
assert golden and [s for s, _ in golden] == [g["scores"] for g in scorer.golden]
print(len(parsed), scorer.engine)
"""


def check(root: Path, engine: str) -> None:
    """Train in `root` and compare both ways, in a process that sees the project's own code."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK, engine], cwd=root, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_logistic_regression_answers_as_offline(tmp_path: Path) -> None:
    """Titanic, a model that is no tree: scikit-learn itself, every row to the last bit."""
    project = {"features.py": tasks.FEATURES, "model.py": LOGISTIC}
    check(real.repository(tmp_path / "r", real.table("titanic.csv"), PARAMS, real.TITANIC, project),
          "sklearn")  # fmt: skip


@pytest.mark.parametrize("name", list(tasks.TABLES))
def test_trees_answer_as_offline_on_other_tables(tmp_path: Path, name: str) -> None:
    """Three classes, and a regression: treelite, every row to the last bit."""
    check(tasks.repository(tmp_path / "r", name), "treelite")
