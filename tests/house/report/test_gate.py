"""The gate: all verdicts into one, and nothing that is missing, stale or forged passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mainline.report.gate import REQUIRED, decide, read_all
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


@pytest.mark.parametrize(
    "left",
    [
        {"train": "was not written", "evaluate": "was not written", "compare": "was not written"},
        {"train": step("train", code="sha256:old"), "evaluate": step("evaluate", code="sha256:old"),
         "compare": StepVerdict("compare", (Check("compare", ERROR, "of other code"),))},
        {n: step(n, data="sha256:old", model="sha256:old") for n in REQUIRED[1:]},
        {"train": step("train", data="sha256:old"), "evaluate": step("evaluate", data="sha256:old"),
         "compare": step("compare")},
        {"train": StepVerdict("train", (Check("train", ERROR, "crashed once"),)),
         "evaluate": "was not written", "compare": "was not written"},
    ],
    ids=["missing", "other code", "other data", "compared what was left", "an error that was left"],
)  # fmt: skip
def test_what_an_earlier_run_left_after_a_failure_fails_with_it(
    left: dict[str, StepVerdict | str],
) -> None:
    """The failed step is the cause: no ERROR, no talk of digests, and never a PASS."""
    done = decide(four(validate=step("validate", FAIL, model=None), **left), CODE)
    assert done.verdict is FAIL
    assert [c.name for c in done.checks] == list(REQUIRED)
    for found in done.checks[1:]:
        assert found.verdict is FAIL
        assert found.reason == f"{found.name}: not run, because validate failed"
    assert done.inputs["model"] is None


def test_what_ran_after_a_failure_keeps_its_own_verdict() -> None:
    """Fresh verdicts count as they are: a comparison that broke is an ERROR of its own."""
    broken = StepVerdict("compare", (Check("compare", ERROR, "the base is gone"),))
    done = decide(four(evaluate=step("evaluate", FAIL), compare=broken), CODE)
    assert [c.verdict for c in done.checks] == [PASS, PASS, FAIL, ERROR]
    done = decide(four(validate=step("validate", FAIL)), CODE)
    assert [c.verdict for c in done.checks] == [FAIL, PASS, PASS, PASS]


def test_limits_changed_before_a_failure_leave_no_error() -> None:
    """An evaluation by other limits was left by an earlier run, and so was its comparison."""
    failed = step("validate", FAIL, policy="sha256:p")
    old = step("evaluate", policy="sha256:old")
    done = decide(four(validate=failed, evaluate=old), CODE, (), "sha256:p")
    assert [c.verdict for c in done.checks] == [FAIL, PASS, FAIL, FAIL]
    assert decide(four(evaluate=old), CODE, (), "sha256:p").verdict is ERROR


def test_a_failure_that_is_stale_itself_excuses_nothing() -> None:
    """Nor does a step that could not run: what is missing after it stays an ERROR."""
    for first in (step("validate", FAIL, code="sha256:old"), step("validate", ERROR)):
        done = decide(four(validate=first, compare="was not written"), CODE)
        assert [c.verdict for c in done.checks] == [ERROR, PASS, PASS, ERROR]


def test_a_skipped_step_passes_only_by_leave() -> None:
    """The policy lists it, or it is INCONCLUSIVE."""
    skipped = four(compare=replace(step("compare"), skipped="no base"))
    assert decide(skipped, CODE).verdict is INCONCLUSIVE
    assert decide(skipped, CODE, ("compare",)).verdict is PASS


def test_no_verdict_at_all_is_an_error() -> None:
    """An empty folder does not pass."""
    assert decide({}, CODE).verdict is ERROR


def test_a_tried_service_counts_and_one_that_nobody_tried_does_not(tmp_path: Path) -> None:
    """What fails when it is served is not merged; a try of an earlier model says nothing."""
    for name in REQUIRED:
        step(name).write(tmp_path)
    assert list(read_all(tmp_path)) == list(REQUIRED)
    step("serve", FAIL).write(tmp_path)
    assert decide(read_all(tmp_path), CODE).verdict is FAIL
    step("serve", PASS).write(tmp_path)
    assert decide(read_all(tmp_path), CODE).verdict is PASS
    (tmp_path / "reports" / "verdicts" / "serve.json").write_text("{}")
    assert decide(read_all(tmp_path), CODE).verdict is ERROR
    step("serve", FAIL).write(tmp_path)
    (tmp_path / "models").mkdir()
    assert "serve" not in read_all(tmp_path)
