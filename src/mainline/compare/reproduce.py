"""What came with a pull request is compared with what was trained here, and never trusted.

CI trains by itself each time (`mainline pipeline --force`), so nothing that was brought along can
stand in for that. Still a lock that promises a model which this code does not make is a sign that
something is wrong, or that training is not reproducible; so the two are compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from mainline.compare import base as bases
from mainline.compare.cache import dvc_md5
from mainline.compare.policy import Policy
from mainline.errors import MainlineError
from mainline.evaluate import predictions
from mainline.git import git, head
from mainline.verdict import Check, Verdict

NAME = "reproduction"
TOLERANCE = 1e-9
# Outputs of the pipeline, and places from which one could be taken instead of made.
MADE_HERE = ("models", "reports", "build", ".dvc/cache", ".dvc/tmp")
KEPT = ("reports/.gitkeep",)
LEAVE_OUT = "Leave dvc.lock out of the pull request: the release writes its own"


def check(
    root: Path, policy: Policy, rows: Path, own: predictions.Predictions
) -> tuple[list[Check], dict[str, Any]]:
    """The checks, and what was found for `comparison.json`.

    `rows` is a file of the test rows and `own` what the model trained here says of them. A lock
    that the pull request did not bring (it is that of main) decides nothing.
    """
    brought = committed(root)
    checks = [brought] if brought else []
    here = head(root)
    lock = stage(git(root, "show", f"{here}:dvc.lock", check=False)) if here else None
    if lock is None:
        return [*checks, _passed("No dvc.lock came along; the model was trained here")], {}
    late = out_of_step(root, lock)
    if late:
        reason = f"The dvc.lock that came along is out of step ({late}); the model was trained here"
        return [*checks, _passed(reason)], {"in_step": False}
    promised, made = _digest_of(lock, "outs", "models"), dvc_md5(root / "models")
    document = {"in_step": True, "promised": promised, "made": made, "same": promised == made}
    if promised == made:
        return [*checks, _passed("The model trained here is the one in the dvc.lock that came "
                                 "along, byte for byte")], document  # fmt: skip
    if policy.merged or lock == stage(git(root, "show", f"{policy.commit}:dvc.lock", check=False)):
        reason = "The dvc.lock of main names another model (as on another platform); it is not used"
        return [*checks, _passed(reason)], document
    found, worst = _compare(root, str(here), rows, own)
    return [*checks, found], {**document, "largest": worst}


def _passed(reason: str) -> Check:
    return Check(NAME, Verdict.PASS, reason)


def committed(root: Path) -> Check | None:
    """FAIL where outputs of the pipeline are committed to Git; None where none is."""
    listed = git(root, "ls-files", "-z", "--", *MADE_HERE, check=False).split("\0")
    names = [n for n in listed if n and n not in KEPT]
    if not names:
        return None
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return Check(
        "committed outputs", Verdict.FAIL,
        f"{names[0]}{more} is committed: what is judged is made here. "
        f"Take it out with `git rm --cached`", value=len(names), limit=0,
    )  # fmt: skip


def stage(lock: str) -> dict[str, Any] | None:
    """The stage `train` in the text of a dvc.lock; None where there is none that can be read."""
    try:
        found = yaml.safe_load(lock)["stages"]["train"]
        return found if isinstance(found, dict) and _digest_of(found, "outs", "models") else None
    except (yaml.YAMLError, KeyError, TypeError):
        return None


def _digest_of(stage: Mapping[str, Any], side: str, path: str) -> str | None:
    listed = stage.get(side)
    entries = listed if isinstance(listed, list) else []
    return next((str(e.get("md5")) for e in entries
                 if isinstance(e, dict) and e.get("path") == path), None)  # fmt: skip


def out_of_step(root: Path, lock: Mapping[str, Any]) -> str | None:
    """What of the inputs is not as the stage `lock` says; None where all is.

    Inputs are the command, the files and the settings that dvc.yaml names for `train`.
    """
    declared = yaml.safe_load((root / "dvc.yaml").read_text("utf-8"))["stages"]["train"]
    if lock.get("cmd") != declared.get("cmd"):
        return "the command"
    for name in declared.get("deps", ()):
        if _digest_of(lock, "deps", name) != dvc_md5(root / name):
            return str(name)
    written = yaml.safe_load((root / "params.yaml").read_text("utf-8"))
    recorded = (lock.get("params") or {}).get("params.yaml") or {}
    for name in declared.get("params", ()):
        found: Any = written
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        if recorded.get(name) != found:
            return f"the setting {name}"
    return None


def _compare(
    root: Path, commit: str, rows: Path, own: predictions.Predictions
) -> tuple[Check, float | None]:
    """Let the model that the lock promises score the test rows, in a worktree of its own."""
    base = bases.Base("the lock", commit)
    with bases.worktree_of(root, base) as (tree, python):
        if not bases.fetch_model(tree, python, base):
            reason = ("The dvc.lock that came along promises another model than was trained here, "
                      f"and neither cache nor store has it. {LEAVE_OUT}")  # fmt: skip
            return Check(NAME, Verdict.INCONCLUSIVE, reason), None
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "predictions.parquet"
            try:
                bases.run_in(tree, python, "predict", str(rows.resolve()), "--out", str(out))
                theirs = predictions.read(out)
            except MainlineError as error:
                reason = (f"The model that the dvc.lock promises is not the one trained here, and "
                          f"cannot be asked: {error.cause} {LEAVE_OUT}")  # fmt: skip
                return Check(NAME, Verdict.FAIL, reason), None
    return judge(own, theirs)


def judge(
    own: predictions.Predictions, theirs: predictions.Predictions
) -> tuple[Check, float | None]:
    """PASS where two models say the same of every row within 1e-9, else FAIL. Pure."""
    n = len(own.frame)
    if list(own.frame["row_id"]) != list(theirs.frame["row_id"]) or (
        own.scores.shape != theirs.scores.shape
    ):
        reason = f"The model that the dvc.lock promises scores other rows or classes. {LEAVE_OUT}"
        return Check(NAME, Verdict.FAIL, reason, n=n), None
    apart = np.abs(own.scores - theirs.scores).max(axis=1)
    worst, count = float(apart.max()), int((apart > TOLERANCE).sum())
    if count == 0 and pd.Series(own.decisions).equals(pd.Series(theirs.decisions)):
        reason = f"The dvc.lock promises other bytes that say the same of all {n} test rows"
        return Check(NAME, Verdict.PASS, reason, value=worst, limit=TOLERANCE, n=n), worst
    reason = (f"The model that the dvc.lock promises is not what this code makes: it differs on "
              f"{count} of {n} test rows, by up to {worst:.3g}. {LEAVE_OUT}")  # fmt: skip
    return Check(NAME, Verdict.FAIL, reason, value=worst, limit=TOLERANCE, n=n), worst
