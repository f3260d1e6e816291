"""The split: the same everywhere and always, and new rows never reshuffle old ones."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tables

from mainline.data.split import assign, bucket, split_digest
from mainline.data.table import coerce
from mainline.errors import DataError


@pytest.mark.parametrize(
    ("salt", "key", "number"),
    [("mainline-1", "1", 437), ("mainline-1", "42", 169), ("s", "é", 549), ("", "", 191)],
)
def test_a_bucket_is_pinned(salt: str, key: str, number: int) -> None:
    """sha256(salt | key) mod 1000, whatever the machine or the version of Python."""
    assert bucket(salt, key) == number


def test_another_process_splits_alike() -> None:
    """Python's own salt for hashes has no say."""
    code = "from mainline.data.split import bucket; print([bucket('x', str(i)) for i in range(50)])"
    said = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                       env={"PYTHONPATH": str(tables.SOURCE), "PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert said[0] == said[1]
    assert said[0].strip() == str([bucket("x", str(i)) for i in range(50)])


@pytest.mark.parametrize("kind", ["entity", "row", "block"])
def test_new_rows_leave_old_rows_where_they_are(kind: str) -> None:
    """A row's part follows from its own key alone."""
    options, rules = tables.settings(split=kind), tables.schema()
    frame = tables.typed(400)
    before = assign(frame.iloc[:250], options, rules)
    after = assign(frame, options, rules)
    assert after.iloc[:250].tolist() == before.tolist()


@pytest.mark.parametrize("kind", ["entity", "row", "block", "time"])
def test_the_shares_are_about_those_asked_for(kind: str) -> None:
    """A fifth for tuning and a fifth for the test, give or take."""
    part = assign(tables.typed(4000), tables.settings(split=kind), tables.schema())
    shares = part.value_counts(normalize=True)
    for name, wanted in (("train", 0.6), ("tune", 0.2), ("test", 0.2)):
        assert shares[name] == pytest.approx(wanted, abs=0.12), kind


def test_an_entity_is_in_one_part_only() -> None:
    """All rows of one customer stay together."""
    frame = tables.typed(1000)
    part = assign(frame, tables.settings(split="entity"), tables.schema())
    assert part.groupby(frame["who"]).nunique().max() == 1


def test_a_block_is_a_stretch_of_time() -> None:
    """All rows of one week stay together, and weeks differ."""
    frame = tables.typed(1000)
    part = assign(frame, tables.settings(split="block"), tables.schema())
    week = (frame["at"] - pd.Timestamp(0)) // pd.Timedelta("7D")
    assert part.groupby(week).nunique().max() == 1
    assert part.nunique() == 3


def test_time_gives_the_newest_rows_to_the_test() -> None:
    """Train before tune before test."""
    frame = tables.typed(500)
    part = assign(frame, tables.settings(split="time"), tables.schema())
    first, last = frame["at"].groupby(part).min(), frame["at"].groupby(part).max()
    assert last["train"] <= first["tune"]
    assert last["tune"] <= first["test"]


def test_equal_rows_without_an_id_stay_together() -> None:
    """Rows that differ in their label alone are never in two parts."""
    rules = tables.schema(row_id=None, entity=None)
    raw = tables.raw(300)
    twice = pd.concat([raw, raw.assign(y=1 - raw["y"])], ignore_index=True)
    frame, _ = coerce(twice, rules)
    part = assign(frame, tables.settings(split="row"), rules).to_numpy()
    assert np.array_equal(part[:300], part[300:])


def test_another_salt_or_share_is_another_split() -> None:
    """The digest tells two splits apart, and columns that name the rows count too."""
    one, rules = tables.settings(), tables.schema()
    assert split_digest(one, rules) == split_digest(tables.settings(), rules)
    assert split_digest(tables.settings(salt="other"), rules) != split_digest(one, rules)
    by_value = tables.schema(row_id=None, entity=None)
    fewer = tables.schema(row_id=None, entity=None, without=("size",))
    row = tables.settings(split="row")
    assert split_digest(row, by_value) != split_digest(row, fewer)


def test_a_part_without_rows_and_a_key_without_value_are_told() -> None:
    """Too few rows, or a missing entity, are a DataError."""
    rules = tables.schema()
    with pytest.raises(DataError, match="leaves no row for the part"):
        assign(tables.typed(1), tables.settings(), rules)
    frame = tables.typed(50)
    frame.loc[3, "who"] = None
    with pytest.raises(DataError, match="'who' is missing in 1 rows"):
        assign(frame, tables.settings(split="entity"), rules)
