"""The commands `rollout ...` as the command line calls them: settings, target, and what is said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mainline.console import progress
from mainline.github import write_output
from mainline.rollout import approvals, describe, rollout, versions
from mainline.rollout.target import Target, opened
from mainline.verdict import StepVerdict, of_document


def start(root: Path, version: str, supersede: bool, revert: bool) -> StepVerdict:
    """`rollout start`."""
    return said(versions.begin(root, version, supersede=supersede, revert=revert, say=progress))


def stage(root: Path, name: str, version: str | None, wait: float) -> StepVerdict:
    """`rollout stage`; who approved it goes to the record first."""
    with opened(None, root) as there:
        approvals.note(there)
        return said(rollout.stage(root, name, wait, target=there, version=version))


def promote(root: Path, version: str | None, wait: float) -> StepVerdict:
    """`rollout promote`; who approved it goes to the record first."""
    with opened(None, root) as there:
        approvals.note(there)
        return said(rollout.promote(root, timeout=wait, target=there, version=version))


def settle(root: Path, version: str | None) -> StepVerdict:
    """`rollout settle`, by the labels that have come since."""
    with opened(None, root) as there:
        return said(rollout.settle(root, target=there, version=version,
                                   labels=lambda now: _labels(there)))  # fmt: skip


def _labels(there: Target) -> StepVerdict | None:
    """What labels say; None where no place of labels is set."""
    found = there.labels()
    return None if found["skipped"] else of_document(found)


def status(root: Path) -> dict[str, Any]:
    """`rollout status`."""
    found = rollout.status(root)
    return {"rollout": found, "text": describe.status_text(found)}


def history(root: Path) -> dict[str, Any]:
    """`rollout history`."""
    found = rollout.history(root)
    return {"history": found, "text": describe.history_text(found)}


def ended(document: dict[str, Any]) -> dict[str, Any]:
    """What abort, pause and resume show: a sentence, and the state for machines."""
    return {"rollout": {k: v for k, v in document.items() if k != "text"},
            "text": document["text"]}  # fmt: skip


def said(verdict: StepVerdict) -> StepVerdict:
    """`verdict`, which the next job of a workflow reads as an output of this step."""
    write_output({"verdict": verdict.verdict.value}, os.environ)
    return verdict
