"""From checked rows to scores: what `Bundle.predict` computes, at the size of a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
Fill = Callable[[Any, list[Any]], None]


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
        if size not in self._kept or size > KEPT:
            buffers = [column.buffer(size) for column in self._columns]
            frame = pd.DataFrame(
                {c.name: c.array(b) for c, b in zip(self._columns, buffers, strict=True)},
                copy=False,
            )
            self._kept[size] = (frame, buffers)
        frame, buffers = self._kept[size] if size <= KEPT else self._kept.pop(size)
        for column, buffer in zip(self._columns, buffers, strict=True):
            name = column.name
            column.fill(buffer, [row.get(name) for row in rows])
        return frame

    def score(self, rows: Sequence[Row]) -> list[Answer]:
        """Scores (k floats) and decision of each row; raises what the forker's features raise."""
        # The forker's code gets a copy, which it may keep and change.
        scores = self._engine.scores(build_features(self.bundle.build, self.frame(rows)))
        return list(zip(scores.tolist(), self.bundle.decide(scores).tolist(), strict=True))


class _Column:
    """One raw column: a buffer of numbers, the array that pandas sees in it, how it is filled."""

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

    def buffer(self, size: int) -> Any:
        """What `fill` writes into."""
        if self._codes is not None:
            return pd.Categorical.from_codes(
                np.zeros(size, dtype=int), dtype=self._dtype
            ).codes.copy()
        return np.zeros(size) if self._dtype == np.float64 else np.zeros(size, dtype=object)

    def array(self, buffer: Any) -> Any:
        """The column over `buffer`, not a copy of it."""
        if self._codes is None:
            return pd.Series(buffer, copy=False)
        return pd.Categorical.from_codes(buffer, dtype=self._dtype, validate=False)

    def fill(self, buffer: Any, values: list[Any]) -> None:
        """Write the JSON values of some rows; None becomes NaN."""
        if self._codes is not None:
            get = self._codes.get
            buffer[:] = [get(value, -1) for value in values]
        else:
            buffer[:] = values
