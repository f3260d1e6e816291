"""The data contract: all failures at once, with counts and rows, and never a personal value."""

from __future__ import annotations

import pandas as pd
import pytest
import tables

from mainline.data.validate import judge
from mainline.verdict import Check, Verdict

NO_LABELS = pd.DataFrame({c: pd.Series(dtype=object) for c in ("row_id", "label", "known_at")})


def checks(raw: pd.DataFrame) -> dict[str, Check]:
    """The checks that did not pass, by name."""
    found = judge(raw, NO_LABELS, tables.settings(), tables.schema())
    return {c.name: c for c in found.checks if c.verdict is not Verdict.PASS}


def test_good_rows_pass() -> None:
    """And the verdict says how many columns keep their contract."""
    found = judge(tables.raw(400), NO_LABELS, tables.settings("entity"), tables.schema())
    assert found.verdict is Verdict.PASS
    assert "11 of 11 columns" in next(c.reason for c in found.checks if c.name == "schema")


def test_all_failures_come_at_once() -> None:
    """Type, limit, category, missing share, repeated id, unknown and missing column: one run."""
    raw = tables.raw(40).astype({"size": object, "new": object}).drop(columns="note")
    raw.loc[1, "size"] = "big"
    raw.loc[2:3, "size"] = 99
    raw.loc[4, "kind"] = "zebra"
    raw.loc[5:30, "new"] = None
    raw.loc[7, "id"] = "r6"
    raw["more"] = 1
    assert set(checks(raw)) == {
        "size: type number", "size: at most 9", "kind: a known category", "new: missing",
        "id: unique", "note: present", "more: known",
    }  # fmt: skip


def test_a_failure_names_column_rule_count_and_first_rows() -> None:
    """What a reader needs to find the rows."""
    raw = tables.raw(40)
    raw.loc[2:6, "size"] = 99.0
    found = checks(raw)["size: at most 9"]
    assert (found.value, found.n, found.scope) == (5, 40, "size")
    assert "5 of 40 rows of 'size' are not at most 9 (row r2 = 99.0, row r3" in found.reason
    assert found.reason.endswith("...)")


@pytest.mark.parametrize("column", ["mail", "who"])
def test_values_of_persons_are_not_shown(column: str) -> None:
    """A broken personal column is told by row ids alone."""
    document = [{**c, "categories": ["none"]} if c["name"] == column else c for c in tables.COLUMNS]
    rules = tables.schema(columns=document)
    found = judge(tables.raw(9), NO_LABELS, tables.settings(), rules)
    bad = next(c for c in found.checks if c.verdict is Verdict.FAIL)
    assert "row r0, row r1" in bad.reason
    assert tables.raw(9)[column][0] not in bad.reason


def test_a_soft_limit_is_shown_and_blocks_nothing() -> None:
    """Hard fails, soft warns."""
    raw = tables.raw(400).assign(size=lambda f: f["size"].clip(upper=3))
    raw.loc[2, "size"] = 5.0
    found = judge(raw, NO_LABELS, tables.settings("entity"), tables.schema())
    assert found.verdict is Verdict.PASS
    assert any("1 values of 'size' are beyond the soft limit" in c.reason for c in found.checks)


@pytest.mark.parametrize(
    ("target", "said"),
    [(0, "is constant"), (None, "missing in every row"), ([0, 1, 2, 1], "has 3 classes")],
)
def test_a_target_that_cannot_be_learnt_fails(target: object, said: str) -> None:
    """Constant, missing, or of another number of classes than the task."""
    found = checks(tables.raw(4).assign(y=target))
    assert said in found["y: classes"].reason
