"""Helpers for tests that compare a candidate with a version in production."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mainline.data import validate
from mainline.evaluate import evaluate
from mainline.train import train
from mainline.verdict import read_verdict


def pipeline(root: Path) -> None:
    """The three stages, in this process and without DVC."""
    for step in (validate, train, evaluate):
        step.run(root)


def reasons(root: Path) -> dict[str, tuple[str, str]]:
    """The checks of the comparison: name to verdict and reason."""
    found = read_verdict(root / "reports" / "verdicts" / "compare.json")
    return {c.name: (c.verdict.value, c.reason) for c in found.checks}


def document(root: Path) -> dict[str, Any]:
    """`comparison.json`."""
    return json.loads((root / "reports" / "comparison.json").read_text("utf-8"))
