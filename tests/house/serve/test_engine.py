"""Trees by treelite: the bits of scikit-learn on every row, or scikit-learn itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mainline.errors import SettingsError
from mainline.serve import engine, hard
from mainline.serve.scoring import Scorer
from mainline.train.bundle import Bundle, raw_inputs

RAW: list[dict[str, Any]] = [
    {"name": "amount", "type": "number", "categories": None},
    {"name": "hour", "type": "integer", "categories": None},
    {"name": "risk", "type": "number", "categories": None},
    {"name": "channel", "type": "category", "categories": ["pos", "web", "app"]},
    {"name": "country", "type": "category", "categories": ["FR", "DE", "IT", "rare"]},
    {"name": "foreign", "type": "bool", "categories": ["false", "true"]},
]
Build = Callable[[pd.DataFrame], pd.DataFrame]


def table(n: int = 3000, seed: int = 0, missing: float = 0.2) -> pd.DataFrame:
    """Rows as JSON would hold them."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": rng.gamma(2.0, 30.0, n),
            "hour": rng.integers(0, 24, n).astype(float),
            "risk": rng.uniform(size=n),
            "channel": rng.choice(["pos", "web", "app"], n),
            "country": rng.choice(["FR", "DE", "IT"], n),
            "foreign": rng.choice([True, False], n),
        }
    ).astype(object)
    for name in ("risk", "country"):
        frame.loc[rng.uniform(size=n) < missing, name] = None
    return frame


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """A feature more."""
    made = frame.copy()
    made["ratio"] = frame["amount"] / (1.0 + frame["hour"])
    return made


def numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers only, of several dtypes, none of them missing."""
    made = pd.DataFrame(index=frame.index)
    made["amount"] = frame["amount"].astype("float32")
    made["hour"] = frame["hour"].fillna(-1).astype("int64")
    made["risk"] = frame["risk"].fillna(-1.0)
    made["channel"] = frame["channel"].cat.codes
    made["foreign"] = frame["foreign"] == "true"
    return made


def bundle(estimator: Any, task: str, own: Build = build, missing: float = 0.2) -> Bundle:
    """A bundle of `estimator`, fitted on the table."""
    raw = table(missing=missing)
    made = own(raw_inputs(raw, RAW))
    value = made["amount"].to_numpy(dtype=float) / 90 + made["hour"].to_numpy(dtype=float) / 24
    y: Any = {"binary": value > 1.0, "multiclass": np.digitize(value, [0.6, 1.2]),
              "regression": value}[task]  # fmt: skip
    estimator.fit(made, y.astype(int) if task != "regression" else y)
    whole = raw.dropna().head(5).to_dict("records")
    meta = {
        "name": "little", "task": task, "threshold": 0.5 if task == "binary" else None, "raw": RAW,
        "features": [{"name": n} for n in made.columns],
        "golden": [{"row": row, "scores": []} for row in whole],
    }  # fmt: skip
    return Bundle(Path(), meta, estimator, own, "sha256:" + "0" * 64)


def assert_bits(made: Bundle, scorer: Scorer, missing: float = 0.2) -> None:
    """Each row of another table scores as `Bundle.predict` says: alone, in tens, all at once."""
    frame = table(400, seed=1, missing=missing)
    frame.loc[3:9, "country"] = "never seen"
    frame.loc[10:12, "amount"] = [0.0, 1e30, 5e-324]
    wanted = made.predict(frame)
    rows = frame.to_dict("records")
    assert [s for s, _ in scorer.score(rows)] == wanted.tolist()
    tens = [a for i in range(0, 400, 10) for a in scorer.score(rows[i : i + 10])]
    assert [s for s, _ in tens] == wanted.tolist()
    assert [scorer.score([row])[0][0] for row in rows[:40]] == wanted[:40].tolist()
    assert [d for _, d in tens] == made.decide(wanted).tolist()


BOOSTED = {
    "binary": HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=60),
    "multiclass": HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=20),
    "regression": HistGradientBoostingRegressor(categorical_features="from_dtype", max_iter=60),
}


@pytest.mark.parametrize("task", BOOSTED)
def test_histogram_boosting_is_exact(task: str) -> None:
    """Categories, booleans, missing values, unknown categories, two, three and no classes."""
    made = bundle(BOOSTED[task], task)
    scorer = Scorer(made)
    assert scorer.engine == "treelite", scorer.why
    assert_bits(made, scorer)


@pytest.mark.parametrize("loss", ["gamma", "poisson", "absolute_error"])
def test_a_loss_with_a_link_of_its_own_is_exact(loss: str) -> None:
    """The inverse link is scikit-learn's."""
    made = bundle(HistGradientBoostingRegressor(loss=loss, max_iter=30,
                                                categorical_features="from_dtype"),
                  "regression")  # fmt: skip
    scorer = Scorer(made)
    assert scorer.engine == "treelite", scorer.why
    assert_bits(made, scorer)


@pytest.mark.parametrize(
    ("estimator", "task"),
    [
        (RandomForestClassifier(20, max_depth=6), "binary"),
        (RandomForestClassifier(20, max_depth=6), "multiclass"),
        (RandomForestRegressor(20, max_depth=6), "regression"),
        (ExtraTreesClassifier(20, max_depth=6), "multiclass"),
        (ExtraTreesRegressor(20, max_depth=6), "regression"),
        (GradientBoostingClassifier(n_estimators=20), "binary"),
        (GradientBoostingClassifier(n_estimators=20), "multiclass"),
        (GradientBoostingRegressor(n_estimators=20), "regression"),
        (HistGradientBoostingClassifier(max_iter=20), "binary"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_other_ensembles_of_numbers_are_exact(estimator: Any, task: str) -> None:
    """Averages and stages, of columns that are float32, integers and truth values."""
    made = bundle(estimator, task, numbers, missing=0)
    scorer = Scorer(made)
    assert scorer.engine == "treelite", scorer.why
    assert_bits(made, scorer, missing=0)


def test_a_forest_may_get_missing_values() -> None:
    """Where scikit-learn takes them, treelite sends them the same way."""

    def gaps(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[["amount", "hour", "risk"]].copy()

    made = bundle(RandomForestClassifier(20, max_depth=6), "binary", gaps)
    scorer = Scorer(made)
    assert scorer.engine == "treelite", scorer.why
    rows = table(200, seed=2)
    assert [s for s, _ in scorer.score(rows.to_dict("records"))] == made.predict(rows).tolist()


def test_a_pipeline_that_ends_in_trees_is_exact() -> None:
    """What stands before the trees is scikit-learn's."""
    before = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["channel", "country"]),
        (SimpleImputer(), ["amount", "hour", "risk"]),
        sparse_threshold=0,
    )
    made = bundle(make_pipeline(before, RandomForestClassifier(20, max_depth=6)), "binary")
    scorer = Scorer(made)
    assert scorer.engine == "treelite", scorer.why
    assert_bits(made, scorer, missing=0.2)


@pytest.mark.parametrize(
    ("estimator", "task"),
    [(LogisticRegression(), "binary"), (LinearRegression(), "regression")],
    ids=["logistic", "linear"],
)
def test_any_other_model_answers_by_itself(estimator: Any, task: str) -> None:
    """It is named, with the reason, and its scores are its own."""
    made = bundle(make_pipeline(StandardScaler(), estimator), task, numbers, missing=0)
    scorer = Scorer(made)
    assert scorer.engine == "sklearn"
    assert type(estimator).__name__ in scorer.why
    frame = table(50, seed=1, missing=0)
    assert [s for s, _ in scorer.score(frame.to_dict("records"))] == made.predict(frame).tolist()
    with pytest.raises(SettingsError, match=r"serve\.engine is treelite"):
        Scorer(made, "treelite")


def test_scikit_learn_can_be_asked_for() -> None:
    """serve.engine: sklearn uses no trees of others."""
    assert Scorer(bundle(BOOSTED["binary"], "binary"), "sklearn").engine == "sklearn"


def test_one_wrong_bit_means_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine whose sums differ by the last bit, once in five hundred rows, is not used."""
    sums = engine.Trees.sums

    def off(self: engine.Trees, x: np.ndarray) -> np.ndarray:
        found = sums(self, x)
        found[499::500] = np.nextafter(found[499::500], np.inf)
        return found

    made = bundle(HistGradientBoostingRegressor(max_iter=20), "regression", numbers, missing=0)
    monkeypatch.setattr(engine.Trees, "sums", off)
    scorer = Scorer(made)
    assert scorer.engine == "sklearn"
    assert "edges of the thresholds" in scorer.why
    assert_bits(made, scorer, missing=0)
    with pytest.raises(SettingsError, match="edges of the thresholds"):
        Scorer(made, "treelite")


def test_the_sum_of_treelite_itself_would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It adds the baseline last, which is why the trees are added up here."""
    from treelite import gtil

    def native(self: engine.Trees, x: np.ndarray) -> np.ndarray:
        return gtil.predict(self._model, x, nthread=1, pred_margin=True).reshape(len(x), -1)

    monkeypatch.setattr(engine.Trees, "sums", native)
    assert Scorer(bundle(BOOSTED["binary"], "binary")).engine == "sklearn"


def test_a_wrong_code_of_a_category_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way from a row is checked, not the trees alone."""
    from mainline.serve.encode import Encoder

    fill = Encoder._fill
    monkeypatch.setattr(Encoder, "_fill", lambda *given: np.roll(fill(*given), 1))

    made = bundle(BOOSTED["regression"], "regression")
    made.estimator.fit(
        made.build(raw_inputs(table(), RAW)),
        raw_inputs(table(), RAW)["channel"].cat.codes.to_numpy(dtype=float),
    )
    scorer = Scorer(made)
    assert scorer.engine == "sklearn"
    assert "golden rows" in scorer.why


def test_an_estimator_of_the_forker_is_not_taken_for_its_parent() -> None:
    """A subclass may answer otherwise than the trees that it holds."""

    class Doubled(HistGradientBoostingRegressor):
        def predict(self, x: Any) -> np.ndarray:
            return 2 * super().predict(x)

    made = bundle(Doubled(max_iter=5), "regression", numbers, missing=0)
    assert Scorer(made).engine == "sklearn"


def test_a_model_without_golden_rows_is_served_by_scikit_learn() -> None:
    """What cannot be checked is not used."""
    made = bundle(BOOSTED["binary"], "binary")
    made.meta["golden"] = []
    assert Scorer(made).engine == "sklearn"


def test_features_may_make_new_dtypes_each_time() -> None:
    """Categories in another order, nullable numbers and texts give the scores of scikit-learn."""
    turn = iter(range(10**6))

    def moody(frame: pd.DataFrame) -> pd.DataFrame:
        made = build(frame)
        order = ["pos", "web", "app"] if next(turn) % 2 else ["app", "web", "pos"]
        made["channel"] = pd.Categorical(made["channel"].astype(object), categories=order)
        made["hour"] = made["hour"].astype("Float64")
        return made

    made = bundle(BOOSTED["binary"], "binary", moody)
    scorer = Scorer(made)
    assert_bits(made, scorer)


def test_infinity_is_refused_where_scikit_learn_refuses_it() -> None:
    """A value that overflows float32 is an error of the estimator, not a score."""
    made = bundle(RandomForestClassifier(5), "binary", lambda f: f[["amount", "hour"]].copy(), 0)
    scorer = Scorer(made)
    assert scorer.engine == "treelite", scorer.why
    row = {"amount": 1e300, "hour": 1.0}
    with pytest.raises(ValueError, match="infinity"):
        made.predict(pd.DataFrame([{**table(1).iloc[0].to_dict(), **row}]))
    with pytest.raises(ValueError, match="infinity"):
        scorer.score([row])


def test_features_may_spoil_the_frame_they_get() -> None:
    """Frames are kept between requests; what `build` gets is a copy of its own."""
    kept: list[pd.DataFrame] = []

    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        made = build(frame)
        kept.append(made.copy())
        frame.loc[:, "amount"] = 0.0
        frame["hour"] = 99.0
        return made

    made = bundle(BOOSTED["binary"], "binary", spoil)
    scorer = Scorer(made)
    rows = table(60, seed=3).to_dict("records")
    first = [scorer.score([row])[0] for row in rows]
    assert first == [scorer.score([row])[0] for row in rows] == scorer.score(rows)
    assert kept[-1]["amount"].tolist() == [row["amount"] for row in rows]


def test_hard_rows_reach_every_category_and_every_edge() -> None:
    """Each column is tried missing, each known category once, each threshold from both sides."""
    made = bundle(BOOSTED["binary"], "binary")
    rows = hard.rows(made)
    for entry in RAW:
        values = {row[entry["name"]] for row in rows}
        assert None in values
        assert set(entry["categories"] or ()) <= values
    x = hard.matrix(made.estimator, single=False)
    edges = hard._edges(made.estimator)
    place = max(edges, key=lambda p: len(edges[p]))
    column = x[:, place]
    assert np.isnan(column).any()
    assert any(np.nextafter(e, -np.inf) in column for e in edges[place])
    assert any(np.nextafter(e, np.inf) in column for e in edges[place])
    assert isinstance(made.estimator, BaseEstimator)
