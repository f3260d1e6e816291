"""Repeated rows, rare classes, and old tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tables

from mainline.data.health import check_balance, check_duplicates, check_freshness
from mainline.errors import SettingsError
from mainline.limits import DataLimits
from mainline.verdict import Verdict

DAY = pd.Timestamp("2025-01-10")


def test_repeated_rows_are_counted_and_refused() -> None:
    """Under other ids, too; a few of them pass."""
    frame, rules = tables.typed(1000), tables.schema()
    for copies, verdict in ((0, Verdict.PASS), (30, Verdict.PASS), (100, Verdict.FAIL)):
        more = frame.head(copies).assign(id=lambda f: "again-" + f["id"])
        found = check_duplicates(pd.concat([frame, more], ignore_index=True), DataLimits(), rules)
        assert found.verdict is verdict
        assert f"{copies} of {1000 + copies} rows repeat" in found.reason


def test_equal_rows_of_a_coarse_table_are_shown_only() -> None:
    """Three columns of three values each are equal by chance."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": [str(i) for i in range(900)],
                          **{c: rng.choice(["a", "b", "c"], 900) for c in "xyz"}})  # fmt: skip
    found = check_duplicates(frame, DataLimits(), tables.schema())
    assert found.verdict is Verdict.PASS
    assert "873 of 900" in found.reason
    assert found.limit is None


def test_a_rare_class_and_one_that_is_gone_fail() -> None:
    """By rows and by share; a class that schema.yaml lists counts, though no row has it."""
    columns = [
        {**c, "type": "category", "categories": ["0", "1", "2"]} if c["name"] == "y" else c
        for c in tables.COLUMNS
    ]
    listed, rules = tables.schema(columns=columns), tables.schema()
    labels = pd.Series([0] * 995 + [1] * 5)
    assert [c.name for c in check_balance(labels, DataLimits(), rules)] == ["class 1"]
    assert [c.name for c in check_balance(labels, DataLimits(), listed)] == ["class 1", "class 2"]
    many = pd.Series([0] * 19980 + [1] * 15)
    assert check_balance(many, DataLimits(), rules)[0].limit == 20
    [fine] = check_balance(many, DataLimits(class_share=None), rules)
    assert (fine.name, fine.verdict) == ("class balance", Verdict.PASS)


def test_age_is_shown_without_a_limit_and_refused_with_one() -> None:
    """Measured from the newest row to the day of the check; rows of the future are no news."""
    frame, rules = tables.typed(100), tables.schema()
    for limit, verdict in ((None, Verdict.PASS), ("20D", Verdict.PASS), ("1W", Verdict.FAIL)):
        found = check_freshness(frame, DAY, DataLimits(max_age=limit), rules)
        assert (found.verdict, found.value) == (verdict, "2024-12-26")
    ahead = frame.assign(at=frame["at"].mask(frame.index == 99, pd.Timestamp("2031-01-01")))
    found = check_freshness(ahead, DAY, DataLimits(max_age="1W"), rules)
    assert found.verdict is Verdict.FAIL


def test_a_table_without_a_time_has_no_age() -> None:
    """With a limit that is INCONCLUSIVE: it was not measured. A limit that is none is refused."""
    columns = [c for c in tables.COLUMNS if c["name"] not in ("at", "known")]
    rules = tables.schema(time=None, known_at=None, columns=columns)
    for limit, verdict in ((None, Verdict.PASS), ("1W", Verdict.INCONCLUSIVE)):
        assert check_freshness(tables.typed(9), DAY, DataLimits(max_age=limit), rules).verdict is (
            verdict
        )
    with pytest.raises(SettingsError, match="max_age"):
        check_freshness(tables.typed(9), DAY, DataLimits(max_age="soon"), tables.schema())
