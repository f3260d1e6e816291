"""`mainline pipeline`: `dvc repro`, with the status of the stage that stopped it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel

from mainline import console, settings
from mainline.data import schema, table
from mainline.errors import NotMeasured, SettingsError
from mainline.git import require_repository
from mainline.verdict import Verdict, read_verdict, worst

STEPS = ("validate", "train", "evaluate")
ADVICE = ("Updating lock file", "Generating lock file", "To track", "\tgit add", "To enable",
          "\tdvc config", "Use `dvc push`")  # fmt: skip


def reproduce(root: Path, *, force: bool = False) -> int:
    """Run the stages that are out of date; returns the status of the worst verdict.

    Settings are read first, because DVC says of a mistyped key only that a stage failed.
    """
    require_repository(root)
    options = settings.load(root)
    schema.check_agreement(options, schema.load(root))
    _check_parameters(root)
    if not (root / "data").is_dir():
        table.read_rows(root)  # says what to do
    calls = [["--force"] if force else []]
    if options.gate.data.max_age is not None and not force:
        # How old the newest row is changes from day to day, which DVC does not see.
        calls.insert(0, ["--single-item", "--force", "validate"])
    if any(_repro(root, *words) != 0 for words in calls):
        return failed_status(root)
    return worst(_read(root).values()).status


def verdicts(root: Path) -> dict[str, str]:
    """The verdict of each step that has one."""
    return {step: verdict.value for step, verdict in _read(root).items()}


def _read(root: Path) -> dict[str, Verdict]:
    files = {step: root / "reports" / "verdicts" / f"{step}.json" for step in STEPS}
    return {s: read_verdict(f).verdict for s, f in files.items() if f.exists()}


def _repro(root: Path, *words: str) -> int:
    """`dvc repro`, less its advice on Git: nobody has to commit dvc.lock, a release keeps it."""
    command = [sys.executable, "-m", "dvc", "repro", *words]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip() and not line.startswith(ADVICE):
                print(line, end="", file=sys.stderr if console.JSON else sys.stdout, flush=True)
    return child.returncode


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
                default = _default(settings.load(root), name)
                raise SettingsError(
                    f"params.yaml: {name!r} is missing",
                    f"DVC wants it written down, even at its default: {default}",
                )


def _default(options: settings.Settings, name: str) -> str:
    found: object = options
    for part in name.split("."):
        found = getattr(found, part)
    plain = found.model_dump(mode="json") if isinstance(found, BaseModel) else found
    return f"`{name.rpartition('.')[2]}: {json.dumps(plain)}`"


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
