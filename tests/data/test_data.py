"""Your data, as they are now: the contract holds, and no row or entity is in two parts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mainline import settings
from mainline.data import schema, table, validate
from mainline.data.split import PARTS, assign
from mainline.verdict import Verdict


@pytest.fixture(scope="module")
def rows(root: Path) -> pd.DataFrame:
    """The rows that train and test, with their part."""
    options, rules = settings.load(root), schema.load(root)
    frame = table.load_table(root, rules)
    frame = frame[table.usable(frame, options, rules)].reset_index(drop=True)
    return frame.assign(_part=assign(frame, options, rules), _id=table.row_ids(frame, rules))


def test_the_contract_holds(root: Path) -> None:
    """Each column has the type, the limits and the share of values that schema.yaml promises."""
    found = validate.judge(
        table.read_rows(root), table.read_labels(root), settings.load(root), schema.load(root)
    )
    broken = [c.reason for c in found.checks if c.verdict is not Verdict.PASS]
    assert found.verdict is Verdict.PASS, broken


def test_every_part_has_rows_and_every_class(root: Path, rows: pd.DataFrame) -> None:
    """Training, tuning and testing each see all classes."""
    target = schema.load(root).target
    classes = rows[target].nunique() if settings.load(root).model.task != "regression" else 1
    for part in PARTS:
        assert rows.loc[rows["_part"] == part, target].nunique() >= classes, part


def test_no_row_is_there_twice(rows: pd.DataFrame) -> None:
    """So none can be in two parts."""
    assert not rows["_id"].duplicated().any()


def test_no_entity_is_in_two_parts(root: Path, rows: pd.DataFrame) -> None:
    """A customer who was trained on is not tested on, where the split is by entity."""
    options, rules = settings.load(root), schema.load(root)
    if options.split.kind != "entity":
        pytest.skip("the split is not by entity")
    key = options.split.key or rules.entity
    assert rows.groupby(key)["_part"].nunique().max() == 1
