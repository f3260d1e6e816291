"""Training: the same bytes each time, and no column reaches the model that must not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small

from mainline.data import schema, table
from mainline.errors import DataError, SettingsError
from mainline.files import digest_tree
from mainline.train import bundle, train


def trained(root: Path, threads: str) -> str:
    """Train in a process of its own with so many threads; the digest of the bundle."""
    env = {**small.variables(root), "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    subprocess.run([sys.executable, "-m", "mainline", "train"], cwd=root, env=env, check=True,
                   capture_output=True)  # fmt: skip
    return digest_tree(root / "models")


LINEAR = '''"""A linear model."""
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def build(seed, **args):
    """Numbers only."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    pick = make_column_selector(dtype_include="number")
    columns = ColumnTransformer([("n", numbers, pick)])
    return make_pipeline(columns, LogisticRegression(max_iter=200))
'''


@pytest.mark.parametrize("kind", ["boosting", "linear"])
def test_the_digest_is_the_same_on_any_number_of_threads(repository: Path, kind: str) -> None:
    """Two processes, one thread and two: the very same bundle; and so is that of the pipeline."""
    if kind == "linear":
        (repository / "src" / "project" / "model.py").write_text(LINEAR)
        small.edit(repository, "params.yaml", "args: {max_iter: 150", "args: {max_iter: 200")
        small.commit(repository, "A linear model")
        assert trained(repository, "1") == trained(repository, "2")
        return
    before = digest_tree(repository / "models")
    assert before == trained(repository, "2")


def test_a_word_in_the_readme_makes_no_other_model(repository: Path) -> None:
    """The bundle names the commit that first had its inputs, not the one that is checked out."""
    before = digest_tree(repository / "models")
    (repository / "README.md").write_text("Another word\n")
    small.edit(repository, "params.yaml", "delta: 0.03", "delta: 0.04")
    small.commit(repository, "A word, and another limit")
    train.run(repository)
    assert digest_tree(repository / "models") == before


def test_the_model_sees_features_only(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The personal column, ids, entity, time, protected group and target stay outside."""
    seen: list[set[str]] = []
    real = train.fit

    def spy(x: pd.DataFrame, *rest: object) -> object:
        seen.append(set(x.columns))
        return real(x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "fit", spy)
    train.run(repository)
    rules = schema.load(repository)
    outside = {c.name for c in rules.columns if c.role != "feature"}
    assert seen
    assert not seen[0] & outside
    meta = json.loads((repository / "models" / "model.json").read_text())
    written = {e["name"] for e in meta["raw"]} | {f["name"] for f in meta["features"]}
    assert not written & outside
    assert "@" not in (repository / "models" / "profile.json").read_text()


def test_no_row_that_was_tested_was_trained_on(sample_repository: Path) -> None:
    """The three parts share no row and no customer."""
    from mainline import settings

    rules, options = schema.load(sample_repository), settings.load(sample_repository)
    rows = train.usable_rows(sample_repository, options, rules)
    customers = rows.frame.groupby(rows.part.to_numpy())["customer_id"].unique().map(set)
    assert not customers["train"] & customers["test"]
    assert not customers["train"] & customers["tune"]
    assert not customers["tune"] & customers["test"]


def test_a_bundle_predicts_what_was_recorded(sample_repository: Path) -> None:
    """The golden rows of model.json give their scores again, and they are no real rows."""
    model = bundle.load(sample_repository / "models", sample_repository)
    for golden in model.meta["golden"]:
        scores = model.predict(pd.DataFrame([golden["row"]]))
        assert scores[0].tolist() == golden["scores"]


@pytest.mark.parametrize("value", [None, "never seen", 5, True, ""])
def test_an_unknown_or_missing_category_is_a_score_too(
    sample_repository: Path, value: object
) -> None:
    """The service must not fall over a word that it has not seen."""
    model = bundle.load(sample_repository / "models", sample_repository)
    row = {**model.meta["golden"][0]["row"], "merchant_category": value, "amount": None}
    scores = model.predict(pd.DataFrame([row]))
    assert scores.shape == (1, 1)
    assert 0 <= scores[0, 0] <= 1


def test_rows_score_alike_alone_and_together(sample_repository: Path) -> None:
    """One row at a time, as the service sees them, to the last bit."""
    model = bundle.load(sample_repository / "models", sample_repository)
    rows = table.load_table(sample_repository, schema.load(sample_repository)).iloc[:25]
    together = model.predict(rows)
    alone = np.vstack([model.predict(rows.iloc[[i]]) for i in range(len(rows))])
    assert np.array_equal(together, alone)


def test_a_swapped_file_is_noticed(repository: Path, tmp_path: Path) -> None:
    """A model file of another training beside this model.json is not loaded."""
    other = tmp_path / "other"
    shutil.copytree(repository / "models", other)
    content = (other / "profile.json").read_text()
    (repository / "models" / "profile.json").unlink()
    (repository / "models" / "profile.json").write_text(content + " ")
    with pytest.raises(DataError, match=r"models/profile\.json is not the file"):
        bundle.load(repository / "models", repository)


def test_a_failed_fit_is_the_readers_to_mend(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An estimator that refuses the rows is a DataError, a wrong `build` a SettingsError."""

    class Picky:
        def fit(self, *_: object) -> None:
            raise ValueError("too many stars\nsecond line")

    monkeypatch.setattr(train.settings, "entry_point", lambda *_: lambda seed, **_: Picky())
    with pytest.raises(DataError, match=r"too many stars\.") as caught:
        train.fit(pd.DataFrame(), np.array([]), repository, train.settings.load(repository))
    assert "second line" not in str(caught.value)
    with pytest.raises(SettingsError, match="one row for each row"):
        bundle.build_features(lambda frame: frame.iloc[:1], pd.DataFrame({"a": [1, 2]}))
