"""The table of a throw-away clone: read, changed, written back and versioned."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline import settings
from mainline.data import schema, table
from mainline.data.schema import ROW_ID, Column, Schema
from mainline.data.split import assign
from mainline.data.store import dvc
from mainline.settings import Settings

SEED = 20


@dataclass(frozen=True)
class Rows:
    """All rows as stored (`raw`), typed (`frame`), and their part: train, tune, test or None."""

    options: Settings
    rules: Schema
    raw: pd.DataFrame
    frame: pd.DataFrame
    part: pd.Series

    @property
    def labelled(self) -> np.ndarray:
        """Which rows have a label, shape (n,)."""
        return self.frame[self.rules.target].notna().to_numpy()

    def codes(self) -> np.ndarray:
        """The target as numbers, shape (n,): the value, or the number of the class; NaN: none."""
        target = self.frame[self.rules.target]
        if self.options.model.task == "regression":
            return target.to_numpy(dtype=float)
        numbers = pd.factorize(table.as_text(target), sort=True)[0].astype(float)
        return np.where(numbers < 0, np.nan, numbers)

    def numbers(self) -> list[Column]:
        """The numeric features, the one that says most about the target first."""
        y = pd.Series(self.codes())
        found = [c for c in self.rules.features if c.type in ("number", "integer")]
        strength = {c.name: abs(self.frame[c.name].reset_index(drop=True).corr(y, "spearman"))
                    for c in found}  # fmt: skip
        return sorted(found, key=lambda c: -np.nan_to_num(strength[c.name]))


def read(root: Path) -> Rows:
    """The rows of `root`; labels that came later are put into the rows themselves."""
    options, rules = settings.load(root), schema.load(root)
    raw = table.read_rows(root)
    frame = table.load_table(root, rules)
    if (root / "data" / "labels").is_dir():
        late = [n for n in (rules.target, rules.known_at) if n and n in frame]
        raw = raw.assign(**{n: frame[n].to_numpy() for n in late})
    usable = table.usable(frame, options, rules)
    part = pd.Series(None, index=frame.index, dtype=object)
    part[usable] = assign(frame[usable], options, rules)
    return Rows(options, rules, raw, frame, part)


def write(root: Path, raw: pd.DataFrame) -> None:
    """Put `raw` in the place of all files under `data/` and make the pointer anew."""
    shutil.rmtree(root / "data")
    (root / "data" / "rows").mkdir(parents=True)
    raw.to_parquet(root / "data" / "rows" / "rows.parquet", index=False)
    dvc(root, "add", "--quiet", "data")


def random() -> np.random.Generator:
    """The same random numbers at each run."""
    return np.random.default_rng(SEED)


def with_target(rows: Rows, where: np.ndarray, values: Any) -> pd.DataFrame:
    """The stored table with other labels in the rows `where`; `values` are stored ones."""
    target = rows.raw[rows.rules.target].copy()
    target.iloc[np.flatnonzero(where)] = values
    return rows.raw.assign(**{rows.rules.target: target})


def again(rows: Rows, chosen: np.ndarray) -> pd.DataFrame:
    """Copies of the rows `chosen` (positions) that the split puts into another part.

    They take the entity of rows that are trained on, and new ids. Where a row is named by its
    values a copy is numbered, and its number sends it to any part.
    """
    split, rules = rows.options.split, rows.rules
    copies = rows.raw.iloc[chosen].copy()
    key = split.key or rules.entity
    if split.kind == "entity" and key in rows.raw:
        learned = np.flatnonzero((rows.part == "train").to_numpy())
        copies[key] = rows.raw[key].iloc[random().choice(learned, len(copies))].to_numpy()
    if rules.row_id is not None:
        copies[rules.row_id] = new_ids(rows, len(copies))
    return copies


def new_ids(rows: Rows, count: int) -> Any:
    """`count` row ids that are not there yet, of the type that the others have."""
    name = rows.rules.row_id or ROW_ID
    column = rows.raw[name]
    if pd.api.types.is_numeric_dtype(column.dtype):
        return (int(column.max()) + 1 + np.arange(count)).astype(column.dtype.type)
    if rows.rules.by_name[name].type in ("integer", "number"):  # as text, out of a CSV
        first = int(rows.frame[name].max()) + 1
        return [str(first + number) for number in range(count)]
    return [f"drill-{number}" for number in range(count)]


def fresh_name(rows: Rows, wanted: str) -> str:
    """A name that no column has."""
    while wanted in rows.raw or wanted in rows.rules.by_name:
        wanted += "_"
    return wanted
