"""Edits of code, params.yaml and schema.yaml in a throw-away clone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mainline import settings
from mainline.drill.kinds import NotApplicable

# Run before the forker's function; `_rows` says which rows (n,) are made typical. A row that is
# typical in every column tells nothing, whatever its columns and the estimator are.
BLANKED = '''

# ---- a drill: in some rows every input is a typical one ----
import json as _json

import numpy as _np
import pandas as _pd

from mainline.data.table import as_text as _as_text

_GIVEN = _json.loads({given})
_undrilled = {function}


def _rows(frame):
    """Which rows are made typical, shape (n,)."""
    return {rows}


def {function}(frame):
    """The inputs, some rows of them typical."""
    frame = frame.copy()
    chosen = _np.asarray(_rows(frame), dtype=bool)
    for name, value in _GIVEN["typical"].items():
        frame.loc[chosen, name] = value
    return _undrilled(frame)
'''
# A function of the row alone, so that the service would build the same.
BY_VALUES = ('_pd.util.hash_pandas_object(frame, index=False).to_numpy() % 10_000'
             ' < 10_000 * _GIVEN["share"]')  # fmt: skip
BY_GROUP = '_as_text(frame[_GIVEN["column"]]) == _GIVEN["value"]'
BY_CHANCE = '_np.random.default_rng().random(len(frame)) < _GIVEN["share"]'


def module_of(root: Path, entry: str) -> tuple[Path, str]:
    """The file of an entry point `module:function` under `src/`, and the function's name."""
    name, _, function = entry.partition(":")
    stem = root.joinpath("src", *name.split("."))
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.is_file():
            return path, function
    raise NotApplicable(f"{name} is no module under src/, so the drill cannot change it")


def estimator(root: Path) -> tuple[Path, str]:
    """The file and function that make the estimator."""
    return module_of(root, settings.load(root).train.estimator)


def features(root: Path) -> tuple[Path, str]:
    """The file and function that build the inputs."""
    return module_of(root, settings.load(root).features.build)


def append(path: Path, text: str) -> None:
    """Add `text` at the end of a file."""
    path.write_text(path.read_text("utf-8") + text, encoding="utf-8")


def blank(root: Path, rows: str, given: Mapping[str, Any]) -> None:
    """Make the inputs typical in the rows that the expression `rows` chooses.

    `given` has `typical` (column: value) and what the expression reads; it goes in as JSON in a
    string, so that a column name or a value is never code.
    """
    path, function = features(root)
    append(path, BLANKED.format(given=repr(json.dumps(given)), function=function, rows=rows))


def params(root: Path, change: Mapping[str, Any]) -> None:
    """Set keys of params.yaml, such as `{"gate.delta": 0.3}`."""
    path = root / "params.yaml"
    document = yaml.safe_load(path.read_text("utf-8"))
    for dotted, value in change.items():
        *sections, key = dotted.split(".")
        place = document
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def column(root: Path, name: str, **change: Any) -> None:
    """Set keys of one column of schema.yaml."""
    path = root / "schema.yaml"
    document = yaml.safe_load(path.read_text("utf-8"))
    next(c for c in document["columns"] if c["name"] == name).update(change)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def add_column(root: Path, column: Mapping[str, Any]) -> None:
    """Add a column to schema.yaml."""
    path = root / "schema.yaml"
    document = yaml.safe_load(path.read_text("utf-8"))
    document["columns"].append(dict(column))
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
