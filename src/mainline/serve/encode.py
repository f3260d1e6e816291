"""From the forker's features to the numbers that the trees see, as scikit-learn would make them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

NUMERIC = "fiub"  # kinds of numpy's own numbers


class Encoder:
    """A frame of features to a matrix (n, features) of float64.

    For a category the code of the estimator's own encoder is looked up in a table that the
    estimator filled; a number is taken as it is. What is not so simple (another dtype, infinity or
    a missing value where the estimator may refuse it, a pipeline) goes the estimator's own way,
    with its own errors. `single`: the estimator rounds its input to float32.
    """

    def __init__(self, estimator: Any, inputs: Sequence[str], prefix: Any, *, single: bool) -> None:
        self._estimator = estimator
        self._inputs = list(inputs)
        self._prefix = prefix
        self.single = single
        self._places: tuple[list[Any], list[int]] = ([], [])
        self._tables: dict[str, tuple[Any, np.ndarray]] = {}
        flags = getattr(estimator, "is_categorical_", None)
        known = [False] * len(self._inputs) if flags is None else list(flags)
        self.categorical = [n for n, c in zip(self._inputs, known, strict=False) if c]
        self.numeric = [n for n, c in zip(self._inputs, known, strict=False) if not c]
        # scikit-learn's encoder puts the categories first.
        self.order = [*self.categorical, *self.numeric]

    def __call__(self, made: pd.DataFrame) -> np.ndarray:
        """The matrix of `made`; raises what the estimator raises."""
        quick = None if self._prefix is not None else self._quick(made)
        return self.slow(made) if quick is None else quick

    def slow(self, made: pd.DataFrame) -> np.ndarray:
        """The same by the estimator itself."""
        x: Any = made[self._inputs]
        if self._prefix is not None:
            x = self._prefix.transform(x)
        if hasattr(self._estimator, "_preprocess_X"):
            x = self._estimator._preprocess_X(x, reset=False)
        else:
            check = getattr(self._estimator, "_validate_X_predict", None)
            x = check(x) if check is not None else self._validate(x)
        return np.ascontiguousarray(x, dtype=np.float64)

    def _validate(self, x: Any) -> np.ndarray:
        """As GradientBoosting does before it predicts."""
        from sklearn.utils.validation import validate_data

        return np.asarray(
            validate_data(self._estimator, x, dtype=np.float32, order="C", reset=False)
        )

    def _quick(self, made: pd.DataFrame) -> np.ndarray | None:
        arrays = self._arrays(made)
        if arrays is None:
            return None
        x = np.empty((len(made), len(self.order)))
        for place, (name, values) in enumerate(zip(self.order, arrays, strict=True)):
            if place < len(self.categorical):
                if not isinstance(values, pd.Categorical):
                    return None
                codes = self._table(made, name, values)[values.codes]
                x[:, place] = codes
            elif isinstance(values, np.ndarray) and values.dtype.kind in NUMERIC:
                x[:, place] = values
            else:
                return None
        if self.single:
            with np.errstate(over="ignore"):
                x = x.astype(np.float32).astype(np.float64)
            if not np.isfinite(x).all():  # refused or allowed: the estimator knows
                return None
        return x

    def _arrays(self, made: pd.DataFrame) -> list[Any] | None:
        """The arrays of the columns in `order`, without a Series for each."""
        columns = made.columns.tolist()
        if columns != self._places[0]:
            if len(set(columns)) != len(columns) or not set(self.order) <= set(columns):
                return None
            self._places = (columns, [columns.index(name) for name in self.order])
        get = getattr(made, "_get_column_array", None)
        if get is None:
            return [made[name].array for name in self.order]
        return [get(place) for place in self._places[1]]

    def _table(self, made: pd.DataFrame, name: str, values: pd.Categorical) -> np.ndarray:
        """The codes of the estimator by code of the column; the last, for -1, is missing."""
        found = self._tables.get(name)
        if found is not None and found[0] is values.dtype:
            return found[1]
        # Equal dtypes may have their categories in another order.
        if found is not None and found[0].categories.tolist() == values.dtype.categories.tolist():
            self._tables[name] = (values.dtype, found[1])
            return found[1]
        table = self._fill(made, name, values.dtype)
        self._tables[name] = (values.dtype, table)
        return table

    def _fill(self, made: pd.DataFrame, name: str, dtype: Any) -> np.ndarray:
        size = len(dtype.categories) + 1
        rows = made[self._inputs].iloc[np.zeros(size, dtype=int)].reset_index(drop=True)
        rows[name] = pd.Categorical.from_codes([*range(size - 1), -1], dtype=dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            encoded = self._estimator._preprocess_X(rows, reset=False)
        return np.asarray(encoded[:, self.categorical.index(name)], dtype=float)
