"""The pipeline's exit status is that of the stage that stopped it, not DVC's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from copies import ROOT
from small import edit, run

from mainline import inputs
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


def test_what_judges_is_judged_with_again_when_it_changes() -> None:
    """Both test folders are in the policy digest of two verdicts: DVC has to make both anew."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]
    for name in ("validate", "evaluate"):
        assert set(inputs.POLICY) <= set(stages[name]["deps"]), name


def test_the_age_of_the_data_is_judged_each_day_anew(repository: Path) -> None:
    """What passed yesterday and is cached by DVC is too old the next day, where a limit is set."""
    edit(
        repository,
        "params.yaml",
        "  allow_skipped: []",
        "  allow_skipped: []\n  data: {max_age: 30D}",
    )
    last = "2024-07-15"
    assert run(repository, "pipeline", env={"MAINLINE_AS_OF": last}).status == 0
    ran = run(repository, "pipeline", env={"MAINLINE_AS_OF": "2024-09-30"})
    assert ran.status == 10, ran.out + ran.err
    assert "freshness" in (repository / "reports" / "verdicts" / "validate.json").read_text("utf-8")
