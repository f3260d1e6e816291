"""The gate: all verdicts into one, and nothing that is missing, stale or forged passes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mainline.report.gate import REQUIRED, decide
from mainline.verdict import Check, StepVerdict, Verdict

PASS, INCONCLUSIVE, FAIL, ERROR = Verdict
CODE = "sha256:code"
INPUTS = {"code": CODE, "data": "sha256:d", "split": "sha256:s", "model": "sha256:m"}


def step(name: str, verdict: Verdict = PASS, **inputs: str | None) -> StepVerdict:
    return StepVerdict(name, (Check("c", verdict, "because"),), {**INPUTS, **inputs})


def four(**changed: StepVerdict | str) -> dict[str, StepVerdict | str]:
    return {**{name: step(name) for name in REQUIRED}, **changed}


def test_four_that_passed_pass() -> None:
    """And the gate hands on what was approved."""
    done = decide(four(), CODE)
    assert done.verdict is PASS
    assert done.inputs["model"] == "sha256:m"


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_worst_one_decides(name: str, verdict: Verdict) -> None:
    """Whichever step it is."""
    assert decide(four(**{name: step(name, verdict)}), CODE).verdict is verdict


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: "was not written",
        lambda s: replace(s, inputs={**INPUTS, "code": "sha256:other"}),
        lambda s: replace(s, inputs={**INPUTS, "code": None}),
        lambda s: replace(s, inputs={}),
        lambda s: replace(s, inputs={**INPUTS, "data": "sha256:other"}),
        lambda s: replace(s, inputs={**INPUTS, "split": "sha256:other"}),
        lambda s: replace(s, inputs={**INPUTS, "model": "sha256:other"}),
        lambda s: replace(s, step="elsewhere"),
        lambda s: replace(s, checks=()),
    ],
    ids=["missing", "stale", "no code", "no inputs", "other data", "other split", "other model",
         "other step", "no checks"],
)  # fmt: skip
def test_what_does_not_belong_is_an_error(name: str, spoil: object) -> None:
    """Missing, of other code, data, split or model, or of another step: never a PASS."""
    assert decide(four(**{name: spoil(step(name))}), CODE).verdict is ERROR  # type: ignore[operator]


def test_a_skipped_step_passes_only_by_leave() -> None:
    """The policy lists it, or it is INCONCLUSIVE."""
    skipped = four(compare=replace(step("compare"), skipped="no base"))
    assert decide(skipped, CODE).verdict is INCONCLUSIVE
    assert decide(skipped, CODE, ("compare",)).verdict is PASS


def test_no_verdict_at_all_is_an_error() -> None:
    """An empty folder does not pass."""
    assert decide({}, CODE).verdict is ERROR
