"""From checked rows to scores: what `Bundle.predict` computes, at the size of a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mainline.serve.batching import Answer
from mainline.serve.inputs import Row
from mainline.train.bundle import Bundle, build_features, raw_inputs, scores_of

TEXT = {True: "true", False: "false"}


class Scorer:
    """A bundle that is asked with rows of JSON values.

    `Bundle.predict` must take any table, and its care costs ten times what the model does on a
    row. Rows here were checked already, so their columns are made at once; a test holds that
    both give the same frame and the same scores to the last bit.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.name = bundle.name
        self.digest = bundle.digest
        self.threshold = bundle.threshold
        self.golden: list[dict[str, Any]] = list(bundle.meta.get("golden") or [])
        raw = bundle.meta["raw"]
        empty = pd.DataFrame({c["name"]: pd.Series([], dtype=object) for c in raw})
        dtypes = raw_inputs(empty, raw).dtypes
        self._columns = [(c["name"], _maker(dtypes[c["name"]])) for c in raw]
        self._inputs = [f["name"] for f in bundle.meta["features"]]

    def frame(self, rows: Sequence[Row]) -> pd.DataFrame:
        """The raw inputs of `rows`, as `mainline.train.bundle.raw_inputs` makes them."""
        return pd.DataFrame(
            {name: make([row.get(name) for row in rows]) for name, make in self._columns}
        )

    def score(self, rows: Sequence[Row]) -> list[Answer]:
        """Scores (k floats) and decision of each row; raises what the forker's features raise."""
        inputs = build_features(self.bundle.build, self.frame(rows))[self._inputs]
        scores = scores_of(self.bundle.estimator, inputs, self.bundle.task)
        return list(zip(scores.tolist(), self.bundle.decide(scores).tolist(), strict=True))


def _maker(dtype: Any) -> Callable[[list[Any]], Any]:
    """A function from a column's JSON values to an array of `dtype`."""
    if isinstance(dtype, pd.CategoricalDtype):
        codes = {name: code for code, name in enumerate(dtype.categories)}
        for value, text in TEXT.items():
            if text in codes:
                codes[value] = codes[text]

        def categorical(values: list[Any]) -> Any:
            # An unknown category is missing to the model, as in training.
            return pd.Categorical.from_codes([codes.get(v, -1) for v in values], dtype=dtype)

        return categorical
    if dtype == np.float64:
        return lambda values: np.array(values, dtype="float64")  # None becomes NaN

    def objects(values: list[Any]) -> pd.Series:
        return pd.Series(values, dtype=object)

    return objects
