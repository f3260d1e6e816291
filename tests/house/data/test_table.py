"""The table: types, row ids, labels that come later, and which rows count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tables

from mainline.data.schema import Column
from mainline.data.table import (
    as_text,
    coerce,
    coerce_column,
    content_ids,
    join_labels,
    last_labels,
    load_table,
    read_file,
    read_labels,
    usable,
)
from mainline.errors import DataError


def column(kind: str) -> Column:
    return Column.model_validate({"name": "c", "type": kind, "role": "drop"})


@pytest.mark.parametrize(
    ("kind", "values", "typed"),
    [
        ("number", ["1.5", " 2 ", None, "x"], [1.5, 2.0, None, None]),
        ("number", [np.inf, -np.inf, np.nan, 1], [None, None, None, 1.0]),
        ("number", [True, False], [1.0, 0.0]),
        ("integer", [1, 2.0, 2.5, "3"], [1.0, 2.0, None, 3.0]),
        ("bool", [True, "no", 1, "maybe", None], ["true", "false", "true", None, None]),
        ("category", [1.0, "1", 1, 1.5, None], ["1", "1", "1", "1.5", None]),
        ("text", ["é", 5], ["é", "5"]),
    ],
)  # fmt: skip
def test_values_get_the_type_of_the_contract(kind: str, values: list, typed: list) -> None:
    """What does not fit becomes missing; a text, a CSV and a Parquet file agree."""
    found = coerce_column(pd.Series(values, dtype=object), column(kind))
    assert [None if pd.isna(v) else v for v in found] == typed


@pytest.mark.parametrize("kind", ["number", "integer", "bool", "category", "text", "datetime"])
@pytest.mark.parametrize(
    "values",
    [
        pd.Series(["1", "2"], dtype="category"),
        pd.Series([1, 2], dtype="category"),
        pd.Series(pd.to_datetime(["2024-01-01", "2024-01-02"])),
        pd.Series([1, None], dtype="Int64"),
        pd.Series([True, None], dtype="boolean"),
        pd.Series(["a", None], dtype="string"),
        pd.Series([pd.Timedelta("1D")]),
        pd.Series([{"a": 1}, [1]], dtype=object),
        pd.Series([pd.Timestamp("2024-01-01").date()], dtype=object),
        pd.Series([], dtype=object),
    ],
    ids=lambda s: str(s.dtype) + str(len(s)),
)
def test_any_stored_dtype_is_read_without_a_crash(kind: str, values: pd.Series) -> None:
    """Whatever a Parquet file holds, each value is typed or missing."""
    found = coerce_column(values, column(kind))
    assert len(found) == len(values)


def test_a_time_is_no_number() -> None:
    """A column of times where a number is due is a problem in every row, not nanoseconds."""
    raw = tables.raw(5)
    _, problems = coerce(raw.assign(size=raw["at"]), tables.schema())
    assert [(p.column, len(p.rows)) for p in problems] == [("size", 5)]


def test_text_of_a_value_does_not_depend_on_its_neighbours() -> None:
    """The service sees one row where training saw the column: 1.0 is `1` in both."""
    assert as_text(pd.Series([1.0, 1.5]))[0] == as_text(pd.Series([1.0]))[0] == "1"


def test_ids_from_content_know_nothing_of_the_label() -> None:
    """Another label, a later or a dropped column that may repeat it: the same ids."""
    rules = tables.schema(row_id=None)
    raw = tables.raw(50)
    other = raw.assign(y=1 - raw["y"], known=raw["known"] + pd.Timedelta("9D"), note=raw["y"])
    ids = [content_ids(coerce(t, rules)[0], rules).tolist() for t in (raw, other)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 50


def test_ids_from_content_are_pinned_and_number_equal_rows() -> None:
    """The same values give the same id in every process; the n-th equal row says so."""
    rules = tables.schema(row_id=None)
    frame, _ = coerce(pd.concat([tables.raw(2)] * 2, ignore_index=True), rules)
    ids = frame["row_id"].tolist()
    assert [i.rpartition("-")[2] for i in ids] == ["0", "0", "1", "1"]
    assert ids[0].rpartition("-")[0] == ids[2].rpartition("-")[0]
    reversed_, _ = coerce(tables.raw(2).iloc[::-1].reset_index(drop=True), rules)
    assert reversed_["row_id"].tolist() == [ids[1], ids[0]]


def labels(*rows: tuple[str, int, str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["row_id", "label", "known_at"])
    return table.assign(known_at=pd.to_datetime(table["known_at"]), source="t")


def test_the_label_known_last_wins() -> None:
    """In whatever order the files come."""
    some = labels(("r0", 1, "2024-03-01"), ("r0", 0, "2024-02-01"), ("r1", 0, "2024-01-01"))
    for order in (some, some.iloc[::-1]):
        found = last_labels(order).set_index("row_id")["label"]
        assert found.to_dict() == {"r0": 1, "r1": 0}


def test_later_labels_replace_those_in_the_rows() -> None:
    """With the time at which they became known; labels of strangers change nothing."""
    frame = tables.typed(3)
    joined = join_labels(frame, labels(("r1", 1, "2025-01-01"), ("zz", 1, "2025-01-01")),
                         tables.schema())  # fmt: skip
    assert joined["y"].tolist() == [frame["y"][0], 1.0, frame["y"][2]]
    assert joined["known"][1] == pd.Timestamp("2025-01-01")
    assert joined["known"][0] == frame["known"][0]


def test_rows_without_a_target_column_get_their_labels(tmp_path: Path) -> None:
    """Rows may arrive before anybody knows their label."""
    (tmp_path / "data" / "rows").mkdir(parents=True)
    (tmp_path / "data" / "labels").mkdir()
    tables.raw(4).drop(columns=["y", "known"]).to_parquet(tmp_path / "data" / "rows" / "a.parquet")
    labels(("r2", 1, "2024-05-01")).to_parquet(tmp_path / "data" / "labels" / "a.parquet")
    found = load_table(tmp_path, tables.schema())
    assert found["y"].notna().tolist() == [False, False, True, False]


def test_only_matured_rows_in_the_window_count() -> None:
    """The clock is the newest label: rows that are younger, or before the window, are left out."""
    frame, rules = tables.typed(365), tables.schema()
    as_of = frame["known"].max()
    options = tables.settings(
        monitor={"maturity_days": 30},
        train={"estimator": "project.model:build", "window_days": 200},
    )
    kept = frame.loc[usable(frame, options, rules), "at"]
    assert kept.max() <= as_of - pd.Timedelta(days=30)
    assert kept.min() > as_of - pd.Timedelta(days=200)
    later = pd.concat([frame, frame.assign(y=np.nan, known=pd.NaT)], ignore_index=True)
    assert usable(later, options, rules).sum() == len(kept)


def test_without_times_every_labelled_row_counts() -> None:
    """No time column, or no time of a label: nothing can be said to be young."""
    frame = tables.typed(20).assign(known=pd.NaT)
    frame.loc[0, "y"] = np.nan
    assert usable(frame, tables.settings(), tables.schema()).sum() == 19


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (labels(("r0", 1, "2024-01-01")).drop(columns="label"), "no column 'label'"),
        (labels(("r0", 1, "2024-01-01")).assign(known_at="soon"), "'known_at' is missing in 1"),
    ],
)
def test_a_bad_file_of_labels_is_told(tmp_path: Path, table: pd.DataFrame, said: str) -> None:
    """A column that is gone, a time that is none."""
    (tmp_path / "data" / "labels").mkdir(parents=True)
    table.to_parquet(tmp_path / "data" / "labels" / "a.parquet")
    with pytest.raises(DataError, match=said):
        read_labels(tmp_path)


def test_a_csv_and_a_parquet_file_give_the_same_table(tmp_path: Path) -> None:
    """The format of a file is no property of its rows."""
    rules, raw = tables.schema(), tables.raw(30)
    raw.to_csv(tmp_path / "a.csv", index=False)
    raw.to_csv(tmp_path / "a.tsv.gz", index=False, sep="\t")
    raw.to_parquet(tmp_path / "a.parquet", index=False)
    frames = [coerce(read_file(f), rules)[0] for f in sorted(tmp_path.iterdir())]
    for other in frames[1:]:
        pd.testing.assert_frame_equal(frames[0], other)
