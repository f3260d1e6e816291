"""What people and machines read of a command: text or JSON on stdout, progress on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from mainline.errors import MainlineError
    from mainline.verdict import StepVerdict

JSON = False
INCONCLUSIVE = 11


def show(verdict: StepVerdict) -> None:
    """Print a step's verdict and end with its status."""
    if JSON:
        _print_json(verdict.to_dict())
    else:
        print(verdict_text(verdict))
    raise typer.Exit(exit_status(verdict))


def exit_status(verdict: StepVerdict) -> int:
    """The status of a verdict; INCONCLUSIVE is 0 where something later decides on it.

    That is inside a stage of DVC, which would stop there, and where MAINLINE_UNDECIDED says that
    the gate comes later: a person who decides needs to see how the rest went.
    """
    status = verdict.verdict.status
    return 0 if status == INCONCLUSIVE and verdict.step != "gate" and decided_later() else status


def decided_later() -> bool:
    """Whether a later command decides on what is inconclusive."""
    later = ("gate", "output")  # the gate, or the jobs that read what this step puts out
    return bool(os.environ.get("DVC_STAGE")) or os.environ.get("MAINLINE_UNDECIDED") in later


def verdict_text(verdict: StepVerdict) -> str:
    """One line for the step, then a line for each check, those that did not pass first."""
    from mainline.verdict import ORDER, Verdict

    lines = [f"{verdict.verdict.value}  {verdict.step}"]
    if verdict.skipped:
        lines.append(f"  skipped: {verdict.skipped}")
    checks = sorted(verdict.checks, key=lambda c: -ORDER.index(c.verdict))
    for check in checks:
        mark = " " if check.verdict is Verdict.PASS else check.verdict.value
        lines.append(f"  {mark:<12} {check.reason}" if mark.strip() else f"  {check.reason}")
    return "\n".join(lines)


def done(document: Mapping[str, Any]) -> None:
    """Print what a step did: `text` for people, the rest for machines; exits with `status`."""
    if JSON:
        _print_json({k: v for k, v in document.items() if k != "text"})
    elif document.get("text"):
        print(document["text"])
    else:
        for key, value in document.items():
            print(f"{key}: {value if isinstance(value, str) else json.dumps(value, default=str)}")
    raise typer.Exit(int(document.get("status") or 0) if _is_status(document) else 0)


def _is_status(document: Mapping[str, Any]) -> bool:
    return isinstance(document.get("status"), int)


def failed(error: MainlineError) -> None:
    """Print an error: one sentence of cause, one of remedy."""
    if JSON:
        _print_json({"error": error.cause, "remedy": error.remedy, "status": error.status})
    print(f"mainline: {error}", file=sys.stderr)


def progress(text: str) -> None:
    """One line of progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def stage_done(name: str, verdict: StepVerdict) -> None:
    """One line of progress for a stage of a rollout."""
    first = next((c for c in verdict.checks if c.verdict is verdict.verdict), None)
    progress(f"  {verdict.verdict.value:<13} {name:<20} {first.reason if first else ''}")


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, default=str))
