"""All checks of the data at once: silent on sound tables, loud on broken ones, over 20 seeds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import real
import tables
import tasks
import yaml
from copies import ROOT

from mainline import settings
from mainline.data import schema, table, validate
from mainline.data.schema import Schema
from mainline.errors import SettingsError
from mainline.settings import Settings
from mainline.verdict import Verdict, read_verdict
from sample.feed import raw_month

SEEDS = range(20)
LABELS = pd.DataFrame({c: pd.Series(dtype=object) for c in table.LABEL_COLUMNS})
TITANIC = {"survived": "integer", "pclass": "integer", "sex": "category", "age": "number",
           "sibsp": "integer", "parch": "integer", "fare": "number", "embarked": "category",
           "class": "category", "who": "category", "adult_male": "bool", "deck": "category",
           "embark_town": "text", "alive": "text", "alone": "bool"}  # fmt: skip
DIAMONDS = {"carat": "number", "cut": "category", "color": "category", "clarity": "category",
            "depth": "number", "table": "number", "price": "integer", "x": "number",
            "y": "number", "z": "number"}  # fmt: skip


def findings(raw: pd.DataFrame, options: Settings, rules: Schema) -> dict[str, Verdict]:
    """What does not pass, by name."""
    found = validate.judge(raw, LABELS, options, rules).checks
    return {c.name: c.verdict for c in found if c.verdict is not Verdict.PASS}


def sample(seed: int) -> pd.DataFrame:
    """Six months of the sample."""
    return pd.concat([raw_month(m, n=600, seed=seed) for m in range(1, 7)], ignore_index=True)


def again(frame: pd.DataFrame, **changes: Any) -> pd.DataFrame:
    """The rows, and a tenth of them under other ids."""
    copies = frame.sample(frac=0.1, random_state=0)
    copies = copies.assign(transaction_id="again-" + copies["transaction_id"], **changes)
    return pd.concat([frame, copies], ignore_index=True)


def waiting(frame: pd.DataFrame) -> pd.DataFrame:
    """As of 1 July: labels of the newest rows are not known yet."""
    known = frame["label_available_at"] < pd.Timestamp("2024-07-01")
    return frame.assign(is_fraud=frame["is_fraud"].astype("Int64").where(known),
                        label_available_at=frame["label_available_at"].where(known))  # fmt: skip


def flipped(frame: pd.DataFrame) -> pd.DataFrame:
    """The target with a tenth of the labels turned round, as a feature."""
    turn = np.random.default_rng(1).random(len(frame)) < 0.1
    return frame.assign(tx_count_1h=np.where(turn, 1 - frame["is_fraud"], frame["is_fraud"]))


def thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """Four fifths of a column gone."""
    gone = np.random.default_rng(1).random(len(frame)) < 0.8
    return frame.assign(amount=frame["amount"].mask(gone))


def of_the_future(frame: pd.DataFrame) -> pd.DataFrame:
    """A feature that is there once the label is."""
    frame = waiting(frame)
    return frame.assign(distance_km=frame["distance_km"].where(frame["is_fraud"].notna()))


FAULTS: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "a copied target": ("merchant_risk: leakage",
                        lambda f: f.assign(merchant_risk=f["is_fraud"].astype(float))),
    "a noisy copy of it": ("tx_count_1h: leakage", flipped),
    "a feature of the future": ("distance_km: later", of_the_future),
    "missing values": ("amount: missing", thinned),
    "emails": ("country: personal",
               lambda f: f.assign(country="x" + f["customer_id"].astype(str) + "@mail.org")),
    "repeated rows": ("duplicates", again),
    "rows copied into another part": (
        "shared rows",
        lambda f: again(f, customer_id=lambda copies: copies["customer_id"] + 100_000)),
    "a class that is gone": ("is_fraud: classes", lambda f: f[f["is_fraud"] == 0]),
    "a class that is all but gone": (
        "class 1", lambda f: f[(f["is_fraud"] == 0) | (f["is_fraud"].cumsum() < 6)]),
}  # fmt: skip


@pytest.mark.parametrize("seeds", [range(2), pytest.param(SEEDS, marks=pytest.mark.slow)])
def test_nothing_fires_on_the_sample(seeds: range) -> None:
    """With all labels, and on a day when those of the newest rows are not known yet."""
    options, rules = settings.load(ROOT), schema.load(ROOT)
    for seed in seeds:
        raw = sample(seed)
        assert findings(raw, options, rules) == {}, seed
        assert findings(waiting(raw), options, rules) == {}, seed


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_fires_over_20_seeds(fault: str) -> None:
    """Whatever the draw."""
    options, rules = settings.load(ROOT), schema.load(ROOT)
    name, break_it = FAULTS[fault]
    for seed in SEEDS:
        assert name in findings(break_it(sample(seed)), options, rules), seed


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_fires(fault: str) -> None:
    """On one draw, by the check that is meant."""
    name, break_it = FAULTS[fault]
    assert name in findings(break_it(sample(7)), settings.load(ROOT), schema.load(ROOT))


def test_customers_in_two_parts_fire() -> None:
    """The very same rows, divided by row."""
    options, rules = settings.load(ROOT), schema.load(ROOT)
    split = options.split.model_copy(update={"kind": "row", "key": None})
    options = options.model_copy(update={"split": split})
    assert findings(sample(7), options, rules) == {"shared entities": Verdict.FAIL}


def task(name: str) -> tuple[pd.DataFrame, Settings, Schema]:
    """A real table with its settings and contract."""
    raw = table.read_file(real.table(name))
    if name in tasks.TABLES:
        params, columns, _ = tasks.TABLES[name]
        document = yaml.safe_load(columns)
        return raw, settings.parse(params + tasks.COMMON), Schema.model_validate(document)
    types, target, kind = (
        (TITANIC, "survived", "binary") if name == "titanic.csv" else
        (DIAMONDS, "price", "regression")
    )  # fmt: skip
    unused = ("class", "embark_town", "alive")
    columns = [
        {"name": c, "type": t, "max_missing": 0.9,
         "role": "target" if c == target else "drop" if c in unused else "feature"}
        for c, t in types.items()
    ]  # fmt: skip
    metric = "roc_auc" if kind == "binary" else "mae"
    options = tables.settings(
        model={"name": "real", "task": kind, "target": target, "positive": 1},
        evaluate={}, gate={"metric": metric, "delta": 1},
    )  # fmt: skip
    return raw, options, Schema.model_validate({"version": 1, "target": target, "columns": columns})


@pytest.mark.parametrize(
    "name", ["titanic.csv", "penguins.csv", "bike_hour.csv", "diamonds.csv.gz"]
)
def test_nothing_fires_on_real_tables(name: str) -> None:
    """Binary, multiclass and regression, with what repeats the target left out."""
    assert findings(*task(name)) == {}


@pytest.mark.parametrize(
    ("name", "column"),
    [("titanic.csv", "alive"), ("bike_hour.csv", "registered"), ("titanic.csv", "boat"),
     ("penguins.csv", "copy"), ("bike_hour.csv", "copy")],
)  # fmt: skip
def test_leaks_of_real_tables_fire(name: str, column: str) -> None:
    """`alive` repeats the target, `registered` is most of it, a boat's number goes with it."""
    raw, options, rules = task(name)
    rng, y = np.random.default_rng(0), raw[rules.target]
    if column == "boat":
        has = rng.random(len(raw)) < np.where(y == "1", 0.95, 0.011)
        raw[column] = np.where(has, rng.integers(1, 20, len(raw)).astype(str), None)
    elif column == "copy":
        raw[column] = np.where(rng.random(len(raw)) < 0.1, rng.permutation(y), y)
    own = {"name": column, "role": "feature", "max_missing": 0.9,
           "type": "integer" if name == "bike_hour.csv" else "text"}  # fmt: skip
    columns = [c.model_dump() for c in rules.columns if c.name != column]
    rules = Schema.model_validate({**rules.model_dump(), "columns": [*columns, own]})
    assert f"{column}: leakage" in findings(raw, options, rules)


def test_the_table_as_a_whole_waits_for_its_columns() -> None:
    """A column that is gone is said first, and nothing falls over."""
    raw = tables.raw(400).drop(columns="size")
    found = validate.judge(raw, LABELS, tables.settings("entity"), tables.schema())
    assert "size: present" in {c.name for c in found.checks}
    assert "leakage" not in {c.name for c in found.checks}


def test_a_split_that_leaves_a_part_empty_is_told() -> None:
    """Rather than by a training that breaks off."""
    found = validate.judge(tables.raw(3), LABELS, tables.settings("entity"), tables.schema())
    assert any(c.name == "split" and c.verdict is Verdict.FAIL for c in found.checks)


def test_labels_that_are_all_too_young_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No row may train yet; and the day of the check may be given."""
    raw = tables.raw(50).assign(known=pd.Timestamp("2024-01-02"))
    found = validate.judge(raw, LABELS, tables.settings("entity"), tables.schema())
    assert any(c.name == "labelled" and c.verdict is Verdict.FAIL for c in found.checks)
    monkeypatch.setenv("MAINLINE_AS_OF", "2024-06-30")
    assert validate.today() == pd.Timestamp("2024-06-30")
    monkeypatch.setenv("MAINLINE_AS_OF", "tomorrow or so")
    with pytest.raises(SettingsError, match="MAINLINE_AS_OF"):
        validate.today()


def test_an_old_table_is_refused_where_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the day of the check."""
    options, rules = settings.load(ROOT), schema.load(ROOT)
    data = options.gate.data.model_copy(update={"max_age": "30D"})
    options = options.model_copy(update={"gate": options.gate.model_copy(update={"data": data})})
    raw = sample(7)
    for day, found in (("2024-07-20", {}), ("2024-09-01", {"freshness": Verdict.FAIL})):
        monkeypatch.setenv("MAINLINE_AS_OF", day)
        assert findings(raw, options, rules) == found


def test_the_forkers_tests_are_part_of_the_verdict(tmp_path: Path) -> None:
    """A test of tests/data that fails makes the step FAIL, by its own sentence."""
    for name in ("params.yaml", "schema.yaml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "data").mkdir()
    sample(7).to_parquet(tmp_path / "data" / "rows.parquet")
    (tmp_path / "tests" / "data").mkdir(parents=True)
    file = tmp_path / "tests" / "data" / "test_mine.py"
    for text, verdict in (("assert True", Verdict.PASS), ("assert 1 == 2", Verdict.FAIL)):
        file.write_text(f'def test_it() -> None:\n    """One is two."""\n    {text}\n')
        assert validate.run(tmp_path).verdict is verdict
        found = read_verdict(tmp_path / "reports" / "verdicts" / "validate.json")
        assert found.verdict is verdict
    assert any("One is two: assert 1 == 2" in c.reason for c in found.checks)
    only = validate.checks(tmp_path, settings.load(tmp_path), schema.load(tmp_path))
    assert {c.scope for c in only}.isdisjoint({"tests/data"})
