"""The exit status of a verdict, and who may put a decision off."""

from __future__ import annotations

import pytest
import typer

from mainline import console
from mainline.verdict import Check, StepVerdict, Verdict


def status(step: str, verdict: Verdict) -> int:
    with pytest.raises(typer.Exit) as ended:
        console.show(StepVerdict(step, (Check("c", verdict, "said"),)))
    return ended.value.exit_code


@pytest.fixture(autouse=True)
def nobody_decides_later(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DVC_STAGE", "MAINLINE_UNDECIDED"):
        monkeypatch.delenv(name, raising=False)


def test_each_verdict_has_its_status() -> None:
    """PASS 0, FAIL 10, INCONCLUSIVE 11, ERROR 12."""
    assert [status("compare", v) for v in Verdict] == [0, 11, 10, 12]


@pytest.mark.parametrize(("name", "value"), [("DVC_STAGE", "validate"),
                                             ("MAINLINE_UNDECIDED", "gate")])  # fmt: skip
def test_only_what_is_inconclusive_waits_for_a_later_decision(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC would stop the pipeline before there is anything to decide on; a FAIL does stop it."""
    monkeypatch.setenv(name, value)
    assert [status("validate", v) for v in Verdict] == [0, 0, 10, 12]


def test_the_gate_never_puts_its_decision_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says: nothing comes after it."""
    monkeypatch.setenv("MAINLINE_UNDECIDED", "gate")
    assert status("gate", Verdict.INCONCLUSIVE) == 11


def test_no_other_word_puts_a_decision_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """`MAINLINE_UNDECIDED=1` is no leave."""
    monkeypatch.setenv("MAINLINE_UNDECIDED", "1")
    assert status("compare", Verdict.INCONCLUSIVE) == 11
