"""New rows and labels: checked before anything is written, then versioned."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from small import Ran, edit, git

from mainline.data import schema, table
from mainline.files import digest_tree

Call = Callable[..., Ran]


@pytest.fixture
def july(repository: Path) -> Path:
    """The payments of July as they arrive: without their labels."""
    from sample.feed import raw_month, without_labels

    (repository / "build").mkdir(exist_ok=True)
    file = repository / "build" / "2024-07.parquet"
    without_labels(raw_month(7, n=200, seed=7)).to_parquet(file, index=False)
    return file


def test_rows_without_labels_are_added_and_labelled_later(
    repository: Path, call: Call, july: Path
) -> None:
    """The pointer changes with the rows; the labels reach their rows by id."""
    assert call(repository, "data", "add", str(july)).status == 0
    assert git(repository, "status", "--short").split() == ["M", "data.dvc"]
    rules = schema.load(repository)
    before = table.load_table(repository, rules)
    assert before["is_fraud"].isna().sum() == 200
    labels = pd.DataFrame(
        {"row_id": pd.read_parquet(july)["transaction_id"].astype(str), "label": 1,
         "known_at": pd.Timestamp("2024-08-20"), "source": "bank"}
    )  # fmt: skip
    file = july.with_name("labels-07.csv")
    labels.to_csv(file, index=False)
    ran = call(repository, "labels", "add", str(file))
    assert (ran.status, "200 labels added (0 for rows" in ran.out) == (0, True), ran.err
    assert table.load_table(repository, rules)["is_fraud"].isna().sum() == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="amount"), "'amount' of schema.yaml is not in the data"),
        (lambda t: t.assign(hour=99), "'hour' are not at most 23"),
        (lambda t: t.assign(extra=1), "'extra' is not in schema.yaml"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "'transaction_id' are not unique"),
    ],
)
def test_rows_that_break_the_contract_are_not_added(
    repository: Path, call: Call, july: Path, change: Callable, said: str
) -> None:
    """One sentence, status 20, and data/ as it was."""
    before = digest_tree(repository / "data"), (repository / "data.dvc").read_text()
    change(pd.read_parquet(july)).to_parquet(july, index=False)
    ran = call(repository, "data", "add", str(july))
    assert (ran.status, said in ran.said) == (20, True), ran.err
    assert (digest_tree(repository / "data"), (repository / "data.dvc").read_text()) == before


def test_rows_that_are_there_already_are_not_added_twice(
    repository: Path, call: Call, july: Path
) -> None:
    """By their ids, under whatever name the file comes; one bad file keeps all of them out."""
    assert call(repository, "data", "add", str(july)).status == 0
    again = july.with_name("again.parquet")
    again.write_bytes(july.read_bytes())
    before = digest_tree(repository / "data")
    ran = call(repository, "data", "add", str(again))
    assert (ran.status, "repeats 200 row ids" in ran.said) == (20, True)
    assert digest_tree(repository / "data") == before


def test_a_failing_dvc_takes_the_rows_back(repository: Path, call: Call, july: Path) -> None:
    """Where the new pointer cannot be written the new file does not stay."""
    (repository / ".dvc" / "config").write_text("[core\n")
    before = digest_tree(repository / "data")
    assert call(repository, "data", "add", str(july)).status == 21
    assert digest_tree(repository / "data") == before


def test_rows_are_not_added_beside_data_that_was_not_pulled(
    repository: Path, call: Call, july: Path
) -> None:
    """The pointer is made from the folder: rows that were never pulled would drop out of it."""
    before = (repository / "data.dvc").read_text()
    shutil.rmtree(repository / "data")
    for words in (("data", "add"), ("labels", "add")):
        ran = call(repository, *words, str(july))
        assert (ran.status, "data pull" in ran.said) == (20, True), ran.err
    assert (repository / "data.dvc").read_text() == before


def test_rows_without_an_id_column_are_added_and_checked(
    repository: Path, call: Call, july: Path
) -> None:
    """A table that names no row keeps none: the ids are made from the values at every reading."""
    edit(repository, "schema.yaml", "row_id: transaction_id\n", "")
    edit(repository, "schema.yaml", "type: text, role: id,", "type: text, role: drop,")
    ran = call(repository, "data", "add", str(july))
    assert ran.status == 0, ran.err
    written = pd.read_parquet(repository / "data" / "rows" / july.name)
    assert "row_id" not in written
    assert call(repository, "validate").status == 0
