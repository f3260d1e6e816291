"""The job `gate` has the verdicts of an artifact and the history, and believes the history."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import small
import town


@pytest.mark.slow
def test_a_forged_comparison_hides_no_changed_limit(
    repository: Path, call: Callable[..., small.Ran]
) -> None:
    """What the comparison says of the policy is looked at again; as it was, it is let be."""
    small.git(repository, "branch", "--move", "main")
    # A busy machine is no slow model.
    small.edit(repository, "params.yaml", *town.UNTIMED)
    small.commit(repository, "Without a limit on time")
    small.git(repository, "switch", "--quiet", "--create", "change")
    small.edit(repository, "params.yaml", "delta: 0.03 ", "delta: 0.5 ")
    small.commit(repository, "Allow more to be lost")
    assert call(repository, "pipeline").status == 0
    assert call(repository, "compare").status == 11
    # The artifact `verdicts` holds the verdicts and nothing else.
    (repository / "reports" / "comparison.json").unlink()
    honest = call(repository, "gate")
    assert honest.status == 11, honest.out
    path = repository / "reports" / "verdicts" / "compare.json"
    verdict = json.loads(path.read_text("utf-8"))
    for check in verdict["checks"]:
        check["verdict"] = "PASS"
        if check["name"] == "policy":
            check |= {"value": 0, "reason": "Limits are those of main"}
    path.write_text(json.dumps({**verdict, "verdict": "PASS"}), "utf-8")
    forged = call(repository, "gate")
    assert forged.status == 12, forged.out
    assert "Limits, tests or workflows were changed" in forged.out
