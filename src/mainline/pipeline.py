"""`mainline pipeline`: `dvc repro`, with the status of the stage that stopped it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mainline import console, settings
from mainline.data import schema
from mainline.errors import NotMeasured
from mainline.git import require_repository
from mainline.verdict import Verdict, read_verdict

STEPS = ("validate", "train", "evaluate")


def reproduce(root: Path, *, force: bool = False) -> int:
    """Run the stages that are out of date; returns 0 or the status of the one that failed.

    Settings are read first, because DVC says of a mistyped key only that a stage failed.
    """
    require_repository(root)
    schema.check_agreement(settings.load(root), schema.load(root))
    command = [sys.executable, "-m", "dvc", "repro", *(["--force"] if force else [])]
    stdout = sys.stderr if console.JSON else None
    status = subprocess.run(command, cwd=root, stdout=stdout, check=False).returncode
    return 0 if status == 0 else failed_status(root)


def failed_status(root: Path) -> int:
    """The status of the first step whose verdict file is not a PASS; 1 where none says why."""
    for step in STEPS:
        try:
            verdict = read_verdict(root / "reports" / "verdicts" / f"{step}.json")
        except NotMeasured:
            continue
        for check in verdict.checks:
            if check.unit == "exit status" and isinstance(check.value, int):
                return check.value
        if verdict.verdict is not Verdict.PASS:
            return verdict.verdict.status
    return 1
