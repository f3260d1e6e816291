"""From checked rows to scores: what `Bundle.predict` computes, at the size of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mainline.serve import hard
from mainline.serve.batching import Answer
from mainline.serve.engine import choose
from mainline.serve.inputs import Row
from mainline.train.bundle import Bundle, build_features, raw_inputs

TEXT = {True: "true", False: "false"}
KEPT = 64  # frames of up to so many rows are kept and filled again


class Scorer:
    """A bundle that is asked with rows of JSON values, by one thread at a time.

    `Bundle.predict` must take any table, and its care costs ten times what the model does on a
    row. Rows here were checked already, so their columns are filled at once; a test holds that
    both give the same frame and the same scores to the last bit. `engine` names what computes the
    scores and `why` says why (`mainline.serve.engine.choose`).
    """

    def __init__(self, bundle: Bundle, engine: str = "auto") -> None:
        self.bundle = bundle
        self.name = bundle.name
        self.digest = bundle.digest
        self.threshold = bundle.threshold
        self.golden: list[dict[str, Any]] = list(bundle.meta.get("golden") or [])
        raw = bundle.meta["raw"]
        empty = pd.DataFrame({c["name"]: pd.Series([], dtype=object) for c in raw})
        dtypes = raw_inputs(empty, raw).dtypes
        self._columns = [_Column(c["name"], dtypes[c["name"]]) for c in raw]
        self._kept: dict[int, tuple[pd.DataFrame, list[Any]]] = {}
        self._engine, self.why = choose(bundle, engine, hard.check)
        self.engine = self._engine.name

    def frame(self, rows: Sequence[Row]) -> pd.DataFrame:
        """The raw inputs of `rows`, as `mainline.train.bundle.raw_inputs` makes them.

        It is overwritten by the next call: to build a frame of seventeen columns takes longer
        than to score it.
        """
        size = len(rows)
        kept = self._kept.get(size) or self._new(size)
        if size <= KEPT:
            self._kept[size] = kept
        for column, buffer in zip(self._columns, kept[1], strict=True):
            name = column.name
            buffer[:] = column.values([row.get(name) for row in rows])
        return kept[0]

    def _new(self, size: int) -> tuple[pd.DataFrame, list[Any]]:
        """A frame of `size` rows and, for each column, the array in which its values are."""
        columns = {c.name: c.empty(size) for c in self._columns}
        # The copy has all numbers in one block, which makes each copy of it cheap.
        frame = pd.DataFrame(columns).copy()
        arrays = [frame._get_column_array(i) for i in range(len(columns))]  # type: ignore[operator]
        return frame, [getattr(array, "_codes", array) for array in arrays]

    def score(self, rows: Sequence[Row]) -> list[Answer]:
        """Scores (k floats) and decision of each row; raises what the forker's features raise."""
        # The forker's code gets a copy, which it may keep and change.
        scores = self._engine.scores(build_features(self.bundle.build, self.frame(rows)))
        return list(zip(scores.tolist(), self.bundle.decide(scores).tolist(), strict=True))


class _Column:
    """One raw column: how JSON values stand in it."""

    def __init__(self, name: str, dtype: Any) -> None:
        self.name = name
        self._dtype = dtype
        self._codes: dict[Any, int] | None = None
        if isinstance(dtype, pd.CategoricalDtype):
            # An unknown category is missing (-1) to the model, as in training.
            self._codes = {text: code for code, text in enumerate(dtype.categories)}
            for value, text in TEXT.items():
                if text in self._codes:
                    self._codes[value] = self._codes[text]

    def empty(self, size: int) -> Any:
        """A column of missing values."""
        if self._codes is not None:
            return pd.Categorical.from_codes(np.full(size, -1), dtype=self._dtype)
        kind: Any = np.float64 if self._dtype == np.float64 else object
        return pd.Series(np.full(size, None, dtype=kind), dtype=kind)

    def values(self, values: list[Any]) -> list[Any]:
        """JSON values as they stand in the column's array; None becomes NaN or -1."""
        if self._codes is None:
            return values
        get = self._codes.get
        return [get(value, -1) for value in values]
