"""The model file: the same bytes for the same model, and nothing else than models in it."""

from __future__ import annotations

import os
import zipfile
from io import BytesIO

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mainline.errors import DataError
from mainline.train import skops_file

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(200, 3)), RNG.integers(0, 2, 200)


class Foreign:
    """A type that nobody allowed."""


class Reducing:
    """What pickle would run on loading."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo never",)


MODELS = {
    "boosting": lambda: HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "linear": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "forest": lambda: RandomForestClassifier(3, random_state=0),
}


@pytest.mark.parametrize("name", MODELS)
def test_two_trainings_give_the_same_bytes(name: str) -> None:
    """Memory addresses and the clock have no say."""
    one, two = (skops_file.dump(MODELS[name]().fit(X, Y)) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("name", MODELS)
def test_what_is_loaded_predicts_alike(name: str) -> None:
    """To the last bit, after its members were renamed."""
    fitted = MODELS[name]().fit(X, Y)
    loaded = skops_file.load(skops_file.dump(fitted))
    assert np.array_equal(fitted.predict_proba(X), loaded.predict_proba(X))


def test_a_foreign_type_is_refused_by_name() -> None:
    """And the message says how a forker allows one of their own."""
    fitted = LogisticRegression().fit(X, Y)
    fitted.extra_ = Foreign()
    with pytest.raises(DataError, match=r"Foreign.*not on the allow-list.*train\.trusted"):
        skops_file.load(skops_file.dump(fitted))


def test_a_foreign_type_that_is_trusted_is_loaded() -> None:
    """`train.trusted` widens the list by exactly that name."""
    fitted = LogisticRegression().fit(X, Y)
    fitted.extra_ = Foreign()
    name = f"{Foreign.__module__}.{Foreign.__qualname__}"
    content = skops_file.dump(fitted)
    if name not in skops.io.get_untrusted_types(data=content):
        pytest.skip("the test module has no importable name")
    with pytest.raises(DataError):
        skops_file.load(content, [name + "x"])


@pytest.mark.parametrize("function", [os.system, eval, print])
def test_a_function_that_runs_code_is_refused(function: object) -> None:
    """A transformer that carries os.system or eval does not get through."""
    carrier = make_pipeline(FunctionTransformer(function), LogisticRegression())
    content = skops_file.dump(carrier)
    with pytest.raises(DataError, match="not on the allow-list"):
        skops_file.load(content)


def test_an_object_with_reduce_never_runs_it(capfd: pytest.CaptureFixture[str]) -> None:
    """skops either cannot write it or the allow-list refuses it; nothing is executed."""
    fitted = LogisticRegression().fit(X, Y)
    fitted.extra_ = Reducing()
    with pytest.raises(Exception, match=r"Reducing|allow-list|unsupported"):
        skops_file.load(skops_file.dump(fitted))
    assert "never" not in capfd.readouterr().out


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x04cos\nsystem\n.", os.urandom(200)])
def test_what_is_no_model_file_is_damaged(content: bytes) -> None:
    """Nothing, rubbish, or a pickle: one sentence."""
    with pytest.raises(DataError, match="damaged"):
        skops_file.load(content)


def test_a_zip_without_schema_is_damaged() -> None:
    """A zip file is not yet a model."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(DataError, match="damaged"):
        skops_file.load(out.getvalue())


def test_scikit_learns_estimators_are_known_one_by_one() -> None:
    """All that skops itself trusts, without its list: and nothing that is no estimator."""
    from sklearn.utils import all_estimators

    named = [f"{kind.__module__}.{kind.__qualname__}" for _, kind in all_estimators()]
    assert [name for name in named if not skops_file._is_estimator(name)] == []
    others = ("os.system", "builtins.eval", "sklearn.utils.validation.check_array", "sklearn",
              "sklearn.linear_model._base.LinearModel", "sklearn.nothing.Such")  # fmt: skip
    assert [name for name in others if skops_file._is_estimator(name)] == []
