"""docs/gates.md names every limit, every drill, and how its table was made."""

from __future__ import annotations

import json
import re

import pytest
from copies import ROOT

from mainline import console
from mainline.drill import catalogue, drill
from mainline.drill.kinds import Drill, Found, Outcome, Result, judge
from mainline.errors import UsageError
from mainline.limits import DataLimits, ModelLimits

PAGE = (ROOT / "docs" / "gates.md").read_text("utf-8")
LIMITS = [*(f"gate.data.{n}" for n in DataLimits.model_fields),
          *(f"gate.model.{n}" for n in ModelLimits.model_fields)]  # fmt: skip
FAULT = Drill("fault", "a fault", ("compare: policy",), lambda root: "")
HARMLESS = Drill("fine", "nothing", (), lambda root: "")
POLICY = {"step": "compare", "name": "policy", "verdict": "INCONCLUSIVE", "reason": "r",
          "scope": "all"}  # fmt: skip


@pytest.mark.parametrize("limit", LIMITS)
def test_every_limit_is_told(limit: str) -> None:
    """By its whole name in params.yaml."""
    assert f"`{limit}`" in PAGE


DEFAULTS = {
    f"gate.{section}.{name}": field.default
    for section, limits in (("data", DataLimits), ("model", ModelLimits))
    for name, field in limits.model_fields.items()
    if not isinstance(field.default, tuple) and name not in ("leakage",)
}


@pytest.mark.parametrize("limit", DEFAULTS)
def test_each_default_is_the_one_that_is_told(limit: str) -> None:
    """`gate.data.removed`: 0.1 on the page is 0.1 in the code; None is null."""
    said = re.search(rf"`{re.escape(limit)}`: ([\w.]+)", PAGE)
    default = DEFAULTS[limit]
    assert said, limit
    assert said[1].rstrip(".") == ("null" if default is None else f"{default:g}"
                                   if isinstance(default, float) else str(default))  # fmt: skip


def test_the_table_has_every_drill() -> None:
    """In the order of the command that prints it, and none is as it should not be."""
    table = PAGE.partition("<!-- drills -->")[2].partition("<!-- end -->")[0]
    lines = table.strip().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[:2] for row in rows] == [[d.name, d.title] for d in catalogue.ALL]
    assert all(Result(row[2]).good for row in rows)


def told(*checks: dict[str, str], status: int = 11) -> dict[str, object]:
    """What the process of a drill tells."""
    return {"did": "it", "status": status, "checks": list(checks), "seconds": 1.0}


def test_a_drill_counts_only_by_the_check_that_it_names() -> None:
    """An accident elsewhere, a crash, a gate that lets it through: none of these is a success."""
    assert judge(FAULT, told(POLICY)).result is Result.BLOCKED
    assert judge(FAULT, told({**POLICY, "name": "rows"})).result is Result.BY_ANOTHER
    assert judge(FAULT, told(POLICY, status=0)).result is Result.NOT_BLOCKED
    assert judge(FAULT, {"crash": "KeyError"}).result is Result.CRASHED
    assert judge(FAULT, {"na": "no text"}).result is Result.NOT_APPLICABLE


def test_what_holds_the_base_back_too_proves_nothing() -> None:
    """A check that the untouched project does not pass either is no success of a drill."""
    before = [Found(**POLICY)]
    assert judge(FAULT, told(POLICY), before).result is Result.NOT_BLOCKED
    assert judge(HARMLESS, told(POLICY), before).result is Result.PASSED
    assert judge(HARMLESS, told(POLICY)).result is Result.FALSE_ALARM


def test_a_name_that_is_no_drill_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(UsageError, match="leaked-target"):
        catalogue.chosen(("leek",))
    assert [d.name for d in catalogue.chosen(("emails", "leaked-target"))] == [
        "leaked-target", "emails",
    ]  # fmt: skip


def test_the_list_says_what_must_block(capsys: pytest.CaptureFixture[str]) -> None:
    """`mainline drill --list` runs nothing."""
    found = drill.run(ROOT, ("emails",), list_=True)
    assert found["drills"][0]["expect"] == ["validate: *: personal"]
    assert json.dumps(found)
    assert console.JSON is False


def test_a_table_holds_no_break_of_its_own() -> None:
    """A reason out of the data cannot open another cell or row."""
    o = Outcome("a", "b", Result.NOT_BLOCKED, reason="x | y\nz <b>")
    assert drill.table([o]).splitlines()[2:] == ["| a | b | NOT BLOCKED | x \\| y z &lt;b> |  |"]
