"""schema.yaml: who may see a column, and contradictions that are refused."""

from __future__ import annotations

import pytest
import tables
from pydantic import ValidationError

from mainline.data.schema import check_agreement
from mainline.errors import SettingsError


def test_only_features_are_features() -> None:
    """Personal data, ids, entities, times, protected groups and the target are none."""
    assert [c.name for c in tables.schema().features] == ["size", "kind", "new"]
    assert tables.schema().personal == {"mail", "who"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"row_id": "nothing"}, "nothing"),
        ({"entity": "mail"}, "has the role 'pii'"),
        ({"known_at": "nowhere"}, "nowhere"),
        ({"columns": [*tables.COLUMNS, tables.COLUMNS[0]]}, "stands twice"),
        ({"columns": [c for c in tables.COLUMNS if c["role"] != "feature"]}, "no column has"),
        ({"columns": [*tables.COLUMNS, {"name": "z", "type": "number", "role": "feature",
                                        "available": "later"}]}, "known only later"),
        ({"columns": [*tables.COLUMNS, {"name": "z", "type": "datetime", "role": "feature"}]},
         "cannot be a feature"),
        ({"columns": [*tables.COLUMNS, {"name": "z", "type": "number", "role": "feature",
                                        "hard": {"min": 2, "max": 1}}]}, "above its maximum"),
        ({"columns": [*tables.COLUMNS, {"name": "z", "type": "category", "role": "feature",
                                        "categories": [True]}]}, "quote the category"),
    ],
)  # fmt: skip
def test_a_contradiction_is_refused(change: dict, said: str) -> None:
    """Each with what is wrong."""
    with pytest.raises(ValidationError, match=said):
        tables.schema(**change)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"model": {"name": "toy", "task": "binary", "target": "z", "positive": 1}}, "one target"),
        ({"evaluate": {"slices": ["size"]}}, "no category"),
        ({"evaluate": {"slices": ["zzz"]}}, "no category"),
    ],
)
def test_the_two_files_must_agree(sections: dict, said: str) -> None:
    """Another target or a slice that is none is status 22."""
    with pytest.raises(SettingsError, match=said):
        check_agreement(tables.settings(**sections), tables.schema())


def test_a_split_needs_its_column() -> None:
    """By entity or time without such a column is status 22."""
    rules = tables.schema(entity=None, time=None)
    for kind in ("entity", "time", "block"):
        with pytest.raises(SettingsError, match="needs a column"):
            check_agreement(tables.settings(split=kind), rules)
    check_agreement(tables.settings(split="row"), rules)


@pytest.mark.parametrize(
    "limits",
    [
        {"directional": [{"column": "sise", "score": "up"}]},
        {"invariant": [{"column": "sise"}]},
        {"fairness": [{"by": "sise", "rate": "recall"}]},
    ],
)
def test_a_rule_on_a_column_that_is_not_there_is_refused_at_once(limits: dict) -> None:
    """Before anything is trained, with the name that was probably meant."""
    gate = {"metric": "roc_auc", "delta": 0.01, "model": limits}
    with pytest.raises(SettingsError, match=r"sise.*Did you mean 'size'"):
        check_agreement(tables.settings(gate=gate), tables.schema())
