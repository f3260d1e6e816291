"""What the parts of a split share is found: entities, copied rows, missing classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import tables

from mainline.data import parts
from mainline.data.split import assign
from mainline.verdict import Check, Verdict


def check(frame: pd.DataFrame, kind: str, part: pd.Series | None = None, **gate: Any) -> dict:
    """The checks of a split of this kind, by name."""
    options = tables.settings(kind, gate={"metric": "roc_auc", "delta": 0.01, "data": gate})
    rules = tables.schema()
    part = assign(frame, options, rules) if part is None else part
    return {c.name: c for c in parts.check(frame, part, options, rules)}


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("entity", Verdict.PASS), ("row", Verdict.FAIL), ("block", Verdict.INCONCLUSIVE),
     ("time", Verdict.INCONCLUSIVE)],
)  # fmt: skip
def test_an_entity_in_two_parts_is_found(kind: str, verdict: Verdict) -> None:
    """Whatever the split; by time or block a person decides whether it is meant."""
    frame = tables.typed(2000)
    found: Check = check(frame, kind)["shared entities"]
    assert found.verdict is verdict
    assert found.scope == "who"
    assert check(frame, kind, shared=1)["shared entities"].verdict is Verdict.PASS


def test_rows_that_were_copied_into_the_test_part_are_found() -> None:
    """Under another id and for another entity they are the same rows."""
    frame = tables.typed(2000)
    part = assign(frame, tables.settings("entity"), tables.schema())
    assert check(frame, "entity", part)["shared rows"].verdict is Verdict.PASS
    for share, verdict in ((0.005, Verdict.PASS), (0.05, Verdict.FAIL)):
        n = int(share * (part == "test").sum())
        copies = (
            frame[part == "train"]
            .head(n)
            .assign(id=lambda f: "again-" + f["id"], who=lambda f: "other-" + f["who"])
        )
        both = pd.concat([frame, copies], ignore_index=True)
        of_both = pd.concat([part, pd.Series(["test"] * n)], ignore_index=True)
        found = check(both, "entity", of_both)["shared rows"]
        assert (found.verdict, round(found.value * found.n)) == (verdict, n)


def test_equal_rows_of_a_coarse_table_are_shown_only() -> None:
    """Passengers of one class, sex and fare are equal by nature."""
    frame = tables.typed(2000).assign(size=1.0, at=pd.Timestamp("2024-01-01"))
    part = pd.Series(np.where(np.arange(2000) % 4 == 0, "test", "train"))
    part[:200] = "tune"
    found = check(frame, "row", part)["shared rows"]
    assert found.verdict is Verdict.PASS
    assert found.value == 1.0
    assert "may be chance" in found.reason


def test_a_class_that_a_part_lacks_is_found() -> None:
    """Training, tuning and testing each need all of them."""
    frame = tables.typed(2000)
    assert check(frame, "entity")["split: classes"].verdict is Verdict.PASS
    part = assign(frame, tables.settings("entity"), tables.schema())
    found = check(frame[~((part == "test") & (frame["y"] == 1))], "entity")["split: classes"]
    assert found.verdict is Verdict.FAIL
    assert "'test' has no row of the class '1'" in found.reason
