"""The table of cases that must come out right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mainline.verdict import Verdict


def judged(made: Any, text: str) -> dict[str, Any]:
    """The checks of the cases by name."""
    made.cases(text)
    return {n: c for n, c in made.prove().items() if n.startswith("case")}


def test_cases_of_two_classes(room: Callable[..., Any]) -> None:
    """A wrong case fails by its name with what it came to; a column left out is usual."""
    found = judged(room(), """\
        case,expect,min_score,max_score,a,b,kind
        clear,1,0.6,,3,-2,z
        "no, clearly",0,,0.4,-3,2,x
        wrong,1,,,-3,2,x
        too high,,,0.2,3,-2,
        """)  # fmt: skip
    assert {n: c.verdict for n, c in found.items()} == {
        "case: wrong": Verdict.FAIL, "case: too high": Verdict.FAIL, "cases": Verdict.PASS,
    }  # fmt: skip
    assert "decided as '0'" in found["case: wrong"].reason
    assert "expected is at most 0.2" in found["case: too high"].reason
    assert found["cases"].reason == "2 of 4 cases come out right"


def test_cases_of_many_classes_and_of_numbers(room: Callable[..., Any]) -> None:
    """The score is that of the class in `expect`, or the value itself."""
    many = judged(room(task="multiclass"), "case,expect,min_score,a,b\nhi,2,.6,3,-2\nlo,2,,-3,2\n")
    assert {n: c.verdict.value for n, c in many.items()} == {"case: lo": "FAIL", "cases": "PASS"}
    value = judged(room(task="regression"), "case,min_score,max_score,a\nup,2,,3\ndown,2,9,-3\n")
    assert {n: c.verdict.value for n, c in value.items()} == {"case: down": "FAIL", "cases": "PASS"}


@pytest.mark.parametrize(
    ("text", "said"),
    [("case,expect,ages\none,1,3\n", "'ages' is no feature"),
     ("case,expect,a\none,2,3\n", "expects the class '2'; known are 0, 1"),
     ("case,expect,a\none,1,three\n", "has the a 'three'"),
     ("case,expect,a\none,,3\n", "expects nothing"),
     ("case,expect,a\none,1,3\none,1,2\n", "a name of its own"),
     ("case,min_score,a\none,high,3\n", "'high' is no number"),
     ("expect,a\n1,3\n", "must name the case"),
     ("case,expect\n", "has no rows")],
)  # fmt: skip
def test_a_mistake_in_the_table_is_an_error(room: Callable[..., Any], text: str, said: str) -> None:
    """A typo is named and is no case that holds by itself."""
    found = judged(room(n=500), text)["cases"]
    assert found.verdict is Verdict.ERROR
    assert said in found.reason


def test_no_table_is_shown_and_checks_nothing(room: Callable[..., Any]) -> None:
    """A fork need not have one."""
    assert "nothing to check" in room(n=500).prove()["cases"].reason
