"""The model bundle `models/`: model.skops, model.json, profile.json, and how it predicts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline import settings
from mainline.data.schema import Column
from mainline.data.table import coerce_column
from mainline.errors import DataError, SettingsError
from mainline.files import digest_file, digest_tree
from mainline.train import skops_file

FILES = ("model.skops", "model.json", "profile.json")
# HistGradientBoosting and others take at most 255 categories; rarer ones become missing.
MOST_CATEGORIES = 250
BLOCK = 16  # rows; a multiple of what the kernels of matrix products take at once


def raw_columns(features: Sequence[Column], frame: pd.DataFrame) -> list[dict[str, Any]]:
    """What the model keeps of its raw columns: name, type, and the categories that it knows.

    Categories are those of the schema in their order, then others seen in `frame` (typed training
    rows), the most frequent first where there are too many.
    """
    out = []
    for column in features:
        categories = None
        if column.type == "bool":
            categories = ["false", "true"]
        elif column.type == "category":
            seen = frame[column.name].dropna()
            declared = list(column.categories or ())
            counts = seen[~seen.isin(declared)].value_counts()
            extra = sorted(counts.index, key=lambda c: (-int(counts[c]), c))
            categories = declared + sorted(extra[: max(0, MOST_CATEGORIES - len(declared))])
        out.append({"name": column.name, "type": column.type, "categories": categories})
    return out


def raw_inputs(frame: pd.DataFrame, raw: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The raw feature columns with fixed dtypes: float64, Categorical with known categories, text.

    `frame` is typed (`data.table.coerce`) or of JSON values; an unknown category becomes missing.
    Raises DataError when a column is gone.
    """
    columns = {}
    for entry in raw:
        name = entry["name"]
        if name not in frame:
            raise DataError(f"The column {name!r} that the model needs is gone", "Add it")
        series = coerce_column(frame[name], Column(name=name, type=entry["type"], role="feature"))
        if entry["categories"] is not None:
            known: Any = pd.CategoricalDtype(entry["categories"])
            # What is not among them gets the code -1, which is missing.
            codes = pd.Categorical.from_codes(known.categories.get_indexer(series), dtype=known)
            series = pd.Series(codes, index=frame.index)
        columns[name] = series
    return pd.DataFrame(columns, index=frame.index)


def build_features(
    build: Callable[[pd.DataFrame], pd.DataFrame], raw: pd.DataFrame
) -> pd.DataFrame:
    """Run the forker's `build`; SettingsError when it does not give one row for each row."""
    made = build(raw.copy())
    if not isinstance(made, pd.DataFrame) or len(made) != len(raw):
        raise SettingsError(
            "features.build did not return a table with one row for each row",
            "Return a DataFrame with the index of its argument",
        )
    return made


@dataclass(frozen=True)
class Bundle:
    """A trained model that can be asked: its metadata, estimator, features and digest."""

    folder: Path
    meta: dict[str, Any]
    estimator: Any
    build: Callable[[pd.DataFrame], pd.DataFrame]
    digest: str

    @property
    def name(self) -> str:
        """The model's name, as in its tags."""
        return str(self.meta["name"])

    @property
    def task(self) -> str:
        """binary, multiclass or regression."""
        return str(self.meta["task"])

    @property
    def threshold(self) -> float | None:
        """At or above this score a binary decision is 1; None for other tasks."""
        return self.meta["threshold"]

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """Scores of shape (n, k), float64.

        Binary: k = 1, the probability of the positive class. Multiclass: k classes, in the order
        of `meta["classes"]`. Regression: k = 1, the value. `frame` holds at least the raw feature
        columns. Raises DataError when a column is gone or a score is not finite.
        """
        inputs = build_features(self.build, raw_inputs(frame, self.meta["raw"]))
        names = [f["name"] for f in self.meta["features"]]
        gone = [n for n in names if n not in inputs]
        if gone:
            raise DataError(f"features.build no longer makes {gone[0]!r}", "Train again")
        return scores_of(self.estimator, inputs[names], self.task)

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """Decisions of shape (n,): 0 or 1, a class index, or the value itself (regression)."""
        return decide(scores, self.task, self.threshold)

    def profile(self) -> dict[str, Any]:
        """The reference profile for drift."""
        return json.loads((self.folder / "profile.json").read_text("utf-8"))


def scores_of(estimator: Any, inputs: Any, task: str) -> np.ndarray:
    """Scores of a fitted estimator for the rows that it takes, shaped as `Bundle.predict` says.

    A table is asked in full blocks of rows: a matrix product takes the rows of an unfinished block
    another way, and then the last bits of a linear model's score hang on how many rows come along.
    """
    count = len(inputs)
    if isinstance(inputs, pd.DataFrame) and count % BLOCK:
        inputs = inputs.iloc[np.append(np.arange(count), np.full(-count % BLOCK, count - 1))]
    if task == "regression":
        scores = np.asarray(estimator.predict(inputs), dtype=float).reshape(-1, 1)[:count]
    else:
        scores = np.asarray(estimator.predict_proba(inputs), dtype=float)[:count]
        if task == "binary":
            scores = scores[:, 1:2]
    if not np.isfinite(scores).all():
        raise DataError("The model gave a score that is not finite", "Look at the estimator")
    return scores


def decide(scores: np.ndarray, task: str, threshold: float | None) -> np.ndarray:
    """Decisions from scores; see `Bundle.decide`."""
    if task == "regression":
        return scores[:, 0]
    if task == "multiclass":
        return scores.argmax(axis=1)
    return (scores[:, 0] >= (0.5 if threshold is None else threshold)).astype(int)


def encode_target(values: pd.Series, task: str, classes: Sequence[str] | None) -> np.ndarray:
    """Typed target values as numbers: 0/1, class index, or the value; classes as text."""
    if task == "regression":
        return values.to_numpy(dtype=float)
    codes = {name: index for index, name in enumerate(classes or ())}
    found = class_names(values).map(codes)
    if found.isna().any():
        unknown = class_names(values)[found.isna()].iloc[0]
        raise DataError(
            f"The target holds the class {unknown!r}, which the model does not know",
            f"Known classes: {', '.join(codes)}",
        )
    return found.to_numpy(dtype=int)


def class_names(values: pd.Series) -> pd.Series:
    """Target values as class names: `1.0` is `1`, True is `true`."""
    from mainline.data.table import as_text

    return as_text(values)


def load(folder: Path, root: Path | None = None) -> Bundle:
    """Load the bundle in `folder`; the forker's features come from `root/src` (its parent).

    What may be loaded and called is said by the params.yaml beside the bundle and never by the
    bundle: a hand-made one could name anything. Raises DataError when a file is missing, damaged,
    or not the one that model.json recorded.
    """
    root = root or folder.parent
    options = settings.load(folder.parent)
    meta = read_meta(folder)
    for name, recorded in meta["files"].items():
        if not (folder / name).is_file() or digest_file(folder / name) != recorded:
            raise DataError(
                f"{folder.name}/{name} is not the file that was trained",
                "Run `./mainline pipeline`, or `dvc pull models` to have it again",
            )
    content = (folder / "model.skops").read_bytes()
    estimator = skops_file.load(content, options.train.trusted)
    build = settings.entry_point(root, options.features.build)
    return Bundle(folder, meta, estimator, build, digest_tree(folder))


def read_meta(folder: Path) -> dict[str, Any]:
    """model.json; DataError when it is missing or damaged."""
    try:
        meta = json.loads((folder / "model.json").read_text("utf-8"))
        if meta["schema"] != "model/1":
            raise ValueError(meta["schema"])
        return meta
    except FileNotFoundError as error:
        raise DataError(
            f"There is no model in {folder.name}/", "Run `./mainline pipeline` first"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder.name}/model.json is damaged", "Train it again") from error
