"""`mainline check`: all gates here, as CI runs them."""

from __future__ import annotations

from pathlib import Path

from mainline import console, pipeline
from mainline.compare import compare
from mainline.errors import MainlineError
from mainline.report import gate, report
from mainline.verdict import StepVerdict


def run(root: Path, base: str = "auto") -> StepVerdict:
    """Pipeline, comparison, report, gate; a step that fails does not stop the next from telling."""
    pipeline.reproduce(root)
    try:
        compare.run(root, base)
    except MainlineError as error:
        console.progress(f"compare: {error}")
    report.run(root)
    return gate.run(root)
