"""The pipeline's exit status is that of the stage that stopped it, not DVC's."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainline.pipeline import failed_status
from mainline.verdict import Check, StepVerdict, Verdict


def write(root: Path, step: str, check: Check) -> None:
    StepVerdict(step, (check,)).write(root)


@pytest.mark.parametrize(("verdict", "status"), [("FAIL", 10), ("INCONCLUSIVE", 11), ("ERROR", 12)])
def test_the_first_step_that_did_not_pass_gives_the_status(
    tmp_path: Path, verdict: str, status: int
) -> None:
    """In the order of the flow."""
    write(tmp_path, "validate", Check("c", Verdict.PASS, "fine"))
    write(tmp_path, "train", Check("c", Verdict(verdict), "not fine"))
    assert failed_status(tmp_path) == status


def test_an_error_keeps_the_status_of_its_cause(tmp_path: Path) -> None:
    """Bad data is 20 through DVC too."""
    write(tmp_path, "train", Check("train", Verdict.ERROR, "No rows", 20, unit="exit status"))
    assert failed_status(tmp_path) == 20


def test_without_a_verdict_nothing_is_known(tmp_path: Path) -> None:
    """Then it is 1, as for any bug."""
    assert failed_status(tmp_path) == 1
