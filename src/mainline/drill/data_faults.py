"""Faults in the data, derived from schema.yaml and the rows of whatever table there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mainline.data.schema import Column
from mainline.drill import edits, rows
from mainline.drill.kinds import NotApplicable
from mainline.drill.rows import Rows

POISONED = 0.1
MAILS = 200


def leaked_target(root: Path) -> str:
    """A column that says the target in other words becomes a feature."""
    table = rows.read(root)
    y = table.codes()
    return _new_feature(root, table, "case_score", np.where(np.isnan(y), np.nan, 3 * y + 1))


def future(root: Path) -> str:
    """A column that is filled in after the event: known for some classes, missing for others.

    For a regression it is the target as somebody measured it later, a hundredth of it off.
    """
    table = rows.read(root)
    y, rng = table.codes(), rows.random()
    if table.options.model.task == "regression":
        values = y + rng.normal(0, 0.01 * np.nanstd(y), len(y))
    else:
        rarest = pd.Series(y).value_counts().index[-1]
        # A few are known of the others too, so that its being there is no exact copy.
        known = (y == rarest) | (rng.random(len(y)) < 0.0005)
        values = np.where(known, rng.gamma(2.0, 5.0, len(y)), np.nan)
    return _new_feature(root, table, "days_until_closed", values)


def _new_feature(root: Path, table: Rows, wanted: str, values: np.ndarray) -> str:
    name = rows.fresh_name(table, wanted)
    edits.add_column(root, {"name": name, "type": "number", "role": "feature", "max_missing": 1})
    rows.write(root, table.raw.assign(**{name: values}))
    return f"new feature {name!r}, made from the target"


def declared_future(root: Path) -> str:
    """A column that schema.yaml says is known only later is used as a feature."""
    table = rows.read(root)
    late = [c for c in table.rules.columns if c.available == "later"]
    if not late:
        raise NotApplicable("no column of schema.yaml is `available: later`")
    edits.column(root, late[0].name, role="feature")
    return f"{late[0].name!r}, known later, has the role feature"


def shuffled(root: Path) -> str:
    """Every label goes to another row."""
    table = rows.read(root)
    where = table.labelled
    values = table.raw[table.rules.target].to_numpy()[where]
    rows.write(root, rows.with_target(table, where, rows.random().permutation(values)))
    return f"{int(where.sum())} labels shuffled"


def half_gone(root: Path) -> str:
    """Half of the rows are not there any more."""
    table = rows.read(root)
    keep = rows.random().random(len(table.raw)) < 0.5
    rows.write(root, table.raw[keep])
    return f"{int((~keep).sum())} of {len(keep)} rows removed"


def poisoned(root: Path) -> str:
    """A tenth of the labels are wrong."""
    table = rows.read(root)
    where = table.labelled & (rows.random().random(len(table.raw)) < POISONED)
    rows.write(root, rows.with_target(table, where, _wrong(table, where)))
    return f"{int(where.sum())} labels made wrong"


def inverted_labels(root: Path) -> str:
    """What is learned is the opposite: labels of all rows but the test rows are turned round."""
    table = rows.read(root)
    where = table.labelled & (table.part != "test").to_numpy()
    rows.write(root, rows.with_target(table, where, _wrong(table, where)))
    return f"{int(where.sum())} labels of training and tuning turned round"


def _wrong(table: Rows, where: np.ndarray) -> np.ndarray:
    """Stored labels that are wrong for the rows `where`: the next class, or the mirrored value."""
    stored = table.raw[table.rules.target].to_numpy()
    y = table.codes()
    if table.options.model.task == "regression":
        mirrored = np.nanmax(y) + np.nanmin(y) - y[where]
        return mirrored.astype(str) if stored.dtype == object else mirrored.astype(stored.dtype)
    classes = np.unique(y[~np.isnan(y)])
    shown = [stored[np.flatnonzero(y == c)[0]] for c in classes]
    following = {c: shown[(i + 1) % len(shown)] for i, c in enumerate(classes)}
    return pd.Series(y[where]).map(following).to_numpy()


def schema_change(root: Path) -> str:
    """The strongest number comes under another name, and schema.yaml was not told."""
    table = rows.read(root)
    first = next(iter([*table.numbers(), *table.rules.features]))
    name = rows.fresh_name(table, f"{first.name}_v2")
    rows.write(root, table.raw.rename(columns={first.name: name}))
    return f"the column {first.name!r} renamed to {name!r}"


def type_change(root: Path) -> str:
    """The strongest number comes as text with a unit."""
    table = rows.read(root)
    if not table.numbers():
        raise NotApplicable("no feature is a number")
    name = table.numbers()[0].name
    values = table.raw[name]
    text = values.astype(object).map(lambda v: None if pd.isna(v) else f"{v} units")
    rows.write(root, table.raw.assign(**{name: text}))
    return f"{name!r} comes as text, such as {text.dropna().iloc[0]!r}"


def emails(root: Path) -> str:
    """E-mail addresses in a column of text that is not declared to be personal."""
    table = rows.read(root)
    text = [c for c in table.rules.columns if _free_text(c)]
    n = len(table.raw)
    chosen = rows.random().choice(n, min(MAILS, n // 2 + 1), replace=False)
    if text:
        name = text[0].name
        values = table.raw[name].astype(object).copy()
    else:
        name = rows.fresh_name(table, "remark")
        edits.add_column(root, {"name": name, "type": "text", "role": "drop", "max_missing": 1})
        values = pd.Series("paid at the counter", index=table.raw.index, dtype=object)
    # The stored text stays around them, as people write it.
    values.iloc[chosen] = [f"asked for by jo.doe{i}@mail.example.com" for i in range(len(chosen))]
    rows.write(root, table.raw.assign(**{name: values}))
    return f"e-mail addresses in {len(chosen)} rows of {name!r}"


def _free_text(column: Column) -> bool:
    return column.type == "text" and column.role in ("feature", "drop", "slice")


def shared_rows(root: Path) -> str:
    """Test rows are there once more, where the split trains on them."""
    table = rows.read(root)
    if table.options.split.kind in ("block", "time"):
        raise NotApplicable("rows are divided by their time, so a copy stays in the same part")
    tested = np.flatnonzero((table.part == "test").to_numpy())
    copies = rows.again(table, tested)
    rows.write(root, pd.concat([table.raw, copies], ignore_index=True))
    return f"{len(copies)} test rows are trained on too, under other keys"
