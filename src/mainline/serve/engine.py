"""What computes the scores: treelite for trees where it is exact, scikit-learn for all else.

treelite walks the trees in compiled code, without the checks that scikit-learn makes at each call
and that cost a hundred times as much for one row. It adds the trees up in another order than
scikit-learn does and scales probabilities anew, which changes the last bits; so here it only finds
each tree's leaf, and the leaf's value, the sum, the link function and the shape are scikit-learn's
own. `choose` believes nothing of this: an engine is used only after it gave the bits of
scikit-learn on the rows of `mainline.serve.hard`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pandas as pd

from mainline.errors import SettingsError
from mainline.serve.encode import Encoder
from mainline.train.bundle import Bundle, scores_of

logger = logging.getLogger("mainline.serve")
BOOSTED = ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor")
STAGED = ("GradientBoostingClassifier", "GradientBoostingRegressor")
AVERAGED = (
    "RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier",
    "ExtraTreesRegressor",
)  # fmt: skip


class Unsupported(Exception):
    """treelite cannot take this estimator; the text says why."""


class Engine(Protocol):
    """Scores of made features, shaped as `Bundle.predict` says."""

    name: str

    def scores(self, made: pd.DataFrame) -> np.ndarray:
        """Scores (n, k), float64, of what the forker's `build` made."""


class Sklearn:
    """The estimator itself."""

    name = "sklearn"

    def __init__(self, bundle: Bundle) -> None:
        self._estimator = bundle.estimator
        self._task = bundle.task
        self._inputs = [f["name"] for f in bundle.meta["features"]]

    def scores(self, made: pd.DataFrame) -> np.ndarray:
        """As `Bundle.predict`."""
        return scores_of(self._estimator, made[self._inputs], self._task)


class Trees:
    """A boosted or averaged ensemble of scikit-learn, its leaves found by treelite.

    Raises Unsupported for any other estimator, and for one that treelite cannot import.
    """

    name = "treelite"

    def __init__(self, bundle: Bundle) -> None:
        self._task = bundle.task
        self.estimator, prefix = _last(bundle.estimator)
        kind = type(self.estimator).__name__
        if type(self.estimator).__module__.partition(".")[0] != "sklearn" or kind not in (
            *BOOSTED, *STAGED, *AVERAGED,
        ):  # fmt: skip
            raise Unsupported(f"{kind} is no ensemble of trees that treelite reads")
        self._model, self._predict = _import(self.estimator)
        self._start = _start(self.estimator, kind)
        self._values, self._offsets = _leaves(self.estimator, kind)
        self._link = _link(self.estimator, kind)
        self.encode = Encoder(
            self.estimator, [f["name"] for f in bundle.meta["features"]], prefix,
            single=kind not in BOOSTED,
        )  # fmt: skip

    def scores(self, made: pd.DataFrame) -> np.ndarray:
        """As `Bundle.predict`, to the last bit."""
        # What scores_of asks of an estimator is all that this one has.
        return scores_of(self, self.encode(made), self._task)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Probabilities (n, classes) of encoded rows (n, features)."""
        return self._link(self.sums(x))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Values (n,) of encoded rows (n, features)."""
        return self._link(self.sums(x))

    def sums(self, x: np.ndarray) -> np.ndarray:
        """What the trees of each column add up to (n, columns), added in their order.

        `np.add.accumulate` adds from left to right, as scikit-learn does; `np.sum` does not.
        """
        leaves = self._predict(self._model, x, nthread=1).astype(np.intp)  # (n, trees)
        columns = len(self._start)
        rounds = self._values[leaves + self._offsets].reshape(len(x), -1, columns)
        terms = np.empty((len(x), columns, rounds.shape[1] + 1))
        terms[:, :, 0] = self._start
        terms[:, :, 1:] = rounds.transpose(0, 2, 1)
        np.add.accumulate(terms, axis=2, out=terms)
        return terms[:, :, -1].copy()


def _last(estimator: Any) -> tuple[Any, Any]:
    """The estimator at the end of a pipeline and what stands before it (None: nothing)."""
    steps = getattr(estimator, "steps", None)
    if type(estimator).__name__ != "Pipeline" or not steps:
        return estimator, None
    return steps[-1][1], estimator[:-1] if len(steps) > 1 else None


def _import(estimator: Any) -> tuple[Any, Callable[..., np.ndarray]]:
    try:
        import treelite.sklearn
        from treelite import gtil

        plain = copy.copy(estimator)
        if hasattr(plain, "_preprocessor"):
            plain._preprocessor = None  # text categories: `Encoder` makes numbers of them
        return treelite.sklearn.import_model(plain), gtil.predict_leaf
    except Exception as error:  # whatever stands in the way, scikit-learn remains
        raise Unsupported(str(error).splitlines()[0] if str(error) else repr(error)) from error


def _leaves(estimator: Any, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The values of all nodes of all trees (nodes, 1 or columns), and where each tree begins."""
    if kind in BOOSTED:
        values = [t.nodes["value"].reshape(-1, 1) for turn in estimator._predictors for t in turn]
    elif kind in STAGED:
        scale = estimator.learning_rate
        values = [scale * t.tree_.value.reshape(-1, 1) for t in np.ravel(estimator.estimators_)]
    else:
        values = [t.tree_.value.reshape(t.tree_.node_count, -1) for t in estimator.estimators_]
    counts = [len(v) for v in values]
    return np.concatenate(values), np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.intp)


def _start(estimator: Any, kind: str) -> np.ndarray:
    """What the trees are added to, (columns,): the baseline, or zeros for an average."""
    if kind in BOOSTED:
        return np.asarray(estimator._baseline_prediction, dtype=float).ravel()
    if kind in STAGED:
        one = np.zeros((1, estimator.n_features_in_), dtype=np.float32)
        return np.asarray(estimator._raw_predict_init(one), dtype=float).ravel()
    if estimator.n_outputs_ != 1:
        raise Unsupported("it has several outputs")
    return np.zeros(getattr(estimator, "n_classes_", 1))


def _link(estimator: Any, kind: str) -> Callable[[np.ndarray], np.ndarray]:
    """From sums to predictions, by scikit-learn's own functions."""
    classes = kind.endswith("Classifier")
    if kind in AVERAGED:
        count = len(estimator.estimators_)
        return lambda sums: sums / count if classes else (sums / count).ravel()
    loss = estimator._loss
    if not classes:
        if kind in STAGED:
            return lambda sums: sums.ravel()
        return lambda sums: np.asarray(loss.link.inverse(sums.ravel()))
    one = len(estimator.classes_) == 2
    return lambda sums: np.asarray(loss.predict_proba(sums.ravel() if one else sums))


def choose(
    bundle: Bundle, wanted: str, check: Callable[[Bundle, Trees], str | None]
) -> tuple[Engine, str]:
    """The engine for `wanted` (auto, treelite or sklearn), and why in one sentence.

    `check` says where the trees differ from scikit-learn, or None: `mainline.serve.hard.check`.
    With `auto` whatever stands in the way means scikit-learn; with `treelite` it is a
    SettingsError.
    """
    if wanted == "sklearn":
        return Sklearn(bundle), "serve.engine asks for it"
    try:
        trees = Trees(bundle)
        problem = check(bundle, trees)
    except Unsupported as error:
        problem = str(error)
    except Exception as error:  # an estimator of another version keeps its parts elsewhere
        problem = f"{type(error).__name__}: {error}"
    if problem is None:
        return trees, "it gives the bits of scikit-learn on every row that was tried"
    if wanted == "treelite":
        raise SettingsError(
            f"serve.engine is treelite, and this model cannot be served by it: {problem}",
            "Set serve.engine to auto in params.yaml",
        )
    return Sklearn(bundle), problem
