"""`mainline pipeline`: `dvc repro`, with the status of the stage that stopped it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from mainline import console, settings
from mainline.data import schema, table
from mainline.errors import NotMeasured, SettingsError
from mainline.git import require_repository
from mainline.verdict import Verdict, read_verdict

STEPS = ("validate", "train", "evaluate")


def reproduce(root: Path, *, force: bool = False) -> int:
    """Run the stages that are out of date; returns 0 or the status of the one that failed.

    Settings are read first, because DVC says of a mistyped key only that a stage failed.
    """
    require_repository(root)
    schema.check_agreement(settings.load(root), schema.load(root))
    _check_parameters(root)
    if not (root / "data").is_dir():
        table.read_rows(root)  # says what to do
    command = [sys.executable, "-m", "dvc", "repro", *(["--force"] if force else [])]
    stdout = sys.stderr if console.JSON else None
    status = subprocess.run(command, cwd=root, stdout=stdout, check=False).returncode
    return 0 if status == 0 else failed_status(root)


def _check_parameters(root: Path) -> None:
    """Raise SettingsError for a setting that dvc.yaml tracks and params.yaml leaves to its default.

    DVC wants each to be written down.
    """
    stages, written = (yaml.safe_load((root / n).read_text("utf-8"))
                       for n in ("dvc.yaml", "params.yaml"))  # fmt: skip
    for stage in stages["stages"].values():
        for name in stage.get("params", ()):
            found = written
            for part in name.split("."):
                found = found.get(part) if isinstance(found, Mapping) else None
            if found is None:
                raise SettingsError(
                    f"params.yaml: {name!r} is missing", "Write it down, even at its default"
                )


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
