"""The model card of a version."""

from __future__ import annotations

from pathlib import Path

from mainline.files import write_text
from mainline.verdict import StepVerdict


def write(root: Path, version_name: str, commit: str, approved: StepVerdict) -> None:
    """Write reports/model_card.md and reports/model_card.html for the version to come."""
    text = f"# {version_name} on {commit[:12]}: {approved.verdict.value}\n"
    write_text(root / "reports" / "model_card.md", text)
    write_text(root / "reports" / "model_card.html", f"<!doctype html><pre>{text}</pre>\n")
