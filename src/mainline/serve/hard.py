"""Rows on which an engine must give the bits of scikit-learn before it may answer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mainline.train.bundle import Bundle, build_features, raw_inputs, scores_of

if TYPE_CHECKING:
    from mainline.serve.engine import Trees

CASES = 1000
ODD = (None, -1.0, 0.0, 0.5, 1.0, 1e9)


def check(bundle: Bundle, trees: Trees) -> str | None:
    """Where `trees` does not give the bits of scikit-learn, in words; None: nowhere.

    Whole rows go through the forker's features and the encoder; encoded ones, at the edges of the
    thresholds, through the trees alone. A row that scikit-learn itself refuses proves nothing and
    is left out.
    """
    tried = 0
    for frame in _frames(bundle):
        wanted = _predict(bundle, frame)
        if wanted is None:
            continue
        made = build_features(bundle.build, raw_inputs(frame, bundle.meta["raw"]))
        if not np.array_equal(trees.scores(made), wanted):
            return "its scores differ from scikit-learn's on the golden rows or near them"
        tried += len(frame)
    if not tried:
        return "no golden row could be tried"
    plain, x = _plain(trees.estimator), matrix(trees.estimator, single=trees.encode.single)
    try:
        wanted = scores_of(plain, x, bundle.task)
    except ValueError:  # it takes no missing values
        x = np.nan_to_num(x)
        wanted = scores_of(plain, x, bundle.task)
    if not np.array_equal(scores_of(trees, x, bundle.task), wanted):
        return "its scores differ from scikit-learn's at the edges of the thresholds"
    return None


def _frames(bundle: Bundle) -> list[pd.DataFrame]:
    """All hard rows in one frame; where scikit-learn refuses one of them, each in its own."""
    names = [c["name"] for c in bundle.meta["raw"]]
    frame = pd.DataFrame(rows(bundle), columns=names, dtype=object)
    if _predict(bundle, frame) is not None:
        return [frame]
    return [frame.iloc[[i]].reset_index(drop=True) for i in range(len(frame))]


def _predict(bundle: Bundle, frame: pd.DataFrame) -> np.ndarray | None:
    try:
        return bundle.predict(frame)
    except Exception:  # the forker's features and the estimator may refuse what they like
        return None


def rows(bundle: Bundle) -> list[dict[str, Any]]:
    """Raw rows around the golden ones: each field missing, at odd values, of every category."""
    golden = [g["row"] for g in bundle.meta.get("golden") or []]
    if not golden:
        return []
    base = golden[0]
    made = [*golden, dict.fromkeys(base)]
    for entry in bundle.meta["raw"]:
        values: Sequence[Any] = ()
        if entry["categories"] is not None:
            values = [None, "\x00 never seen", *entry["categories"]]
        elif entry["type"] in ("number", "integer"):
            values = ODD
        made += [{**base, entry["name"]: value} for value in values]
    return made


def matrix(estimator: Any, *, single: bool, seed: int = 0) -> np.ndarray:
    """Encoded rows at the trees' own thresholds, one bit to either side, missing and far away."""
    rng = np.random.default_rng(seed)
    kind = np.float32 if single else np.float64
    edges, codes = _edges(estimator), _codes(estimator)
    x = np.empty((CASES, int(estimator.n_features_in_)))
    for place in range(x.shape[1]):
        how = rng.integers(0, 6, CASES)
        if place in codes:
            x[:, place] = rng.integers(0, max(1, codes[place]), CASES)
        else:
            at = rng.choice(np.asarray(edges.get(place, [0.0])), CASES).astype(kind)
            below, above = np.nextafter(at, kind(-np.inf)), np.nextafter(at, kind(np.inf))
            x[:, place] = np.select([how == 0, how == 1, how == 2], [below, above, at * 2 + 1], at)
        x[how == 5, place] = np.nan
    return x


def _plain(estimator: Any) -> Any:
    """The same estimator, asked with what its own preprocessing would have made."""
    plain = copy.copy(estimator)
    plain.__dict__.pop("feature_names_in_", None)
    if hasattr(plain, "_preprocessor"):
        plain._preprocessor = None
    return plain


def _codes(estimator: Any) -> dict[int, int]:
    """How many codes each encoded column of a category has; the encoder puts them first.

    A missing value, where training saw one, is the last category and never a code.
    """
    encoder = getattr(estimator, "_preprocessor", None)
    known = [] if encoder is None else encoder.named_transformers_["encoder"].categories_
    return {place: int(pd.notna(names).sum()) for place, names in enumerate(known)}


def _edges(estimator: Any) -> dict[int, list[float]]:
    """The finite thresholds of each encoded column, each once, in their order."""
    found: dict[int, set[float]] = {}
    boosted = hasattr(estimator, "_predictors")
    turns = estimator._predictors if boosted else estimator.estimators_
    for tree in (tree for turn in turns for tree in (turn if boosted else np.ravel(turn))):
        if boosted:
            inner = tree.nodes[(tree.nodes["is_leaf"] == 0) & (tree.nodes["is_categorical"] == 0)]
            pairs = zip(inner["feature_idx"], inner["num_threshold"], strict=True)
        else:
            inside = tree.tree_.feature >= 0
            pairs = zip(tree.tree_.feature[inside], tree.tree_.threshold[inside], strict=True)
        for place, edge in pairs:
            if np.isfinite(edge):
                found.setdefault(int(place), set()).add(float(edge))
    return {place: sorted(edges) for place, edges in found.items()}
