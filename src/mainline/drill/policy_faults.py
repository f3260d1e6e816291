"""What an author might do to the gate itself, and artifacts that were not made here."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from mainline import settings
from mainline.data import schema
from mainline.data.store import dvc
from mainline.drill import edits
from mainline.drill.kinds import NotApplicable
from mainline.git import git
from mainline.train import train

EDITED = '''"""Nothing is asked any more."""


def test_it_is_fine() -> None:
    """It always is."""
'''
KEPT = "build/kept"


def raised_delta(root: Path) -> str:
    """A larger loss is allowed."""
    old = settings.load(root).gate.delta
    edits.params(root, {"gate.delta": old * 10})
    return f"gate.delta: {old:g} -> {old * 10:g}"


def edited_tests(root: Path) -> str:
    """The tests of the model are replaced by one that always passes."""
    tests = sorted((root / "tests" / "model").glob("test_*.py"))
    if not tests:
        raise NotApplicable("there is no tests/model")
    for path in tests:
        path.write_text(EDITED, encoding="utf-8")
    return f"{len(tests)} files of tests/model ask nothing any more"


def other_salt(root: Path) -> str:
    """The rows are divided anew, so the base has trained on these test rows."""
    old = settings.load(root)
    if old.split.kind == "time":
        raise NotApplicable("a split by time has no use for the salt")
    edits.params(root, {"split.salt": f"{old.split.salt}-drill"})
    return f"split.salt: {old.split.salt!r} -> '{old.split.salt}-drill'"


# ---- artifacts of another commit --------------------------------------------------------------


def keep_artifacts(root: Path) -> str:
    """Another seed, so another commit; the base's model and verdicts are kept for later."""
    seed = settings.load(root).train.seed
    kept = root / KEPT
    shutil.copytree(root / "models", kept / "models")
    shutil.copytree(root / "reports" / "verdicts", kept / "verdicts")
    edits.params(root, {"train.seed": seed + 1})
    return f"train.seed: {seed} -> {seed + 1}"


def foreign_verdict(root: Path) -> None:
    """The verdict file of `evaluate` comes from the base's commit."""
    shutil.copy(root / KEPT / "verdicts" / "evaluate.json", root / "reports" / "verdicts")


def foreign_model(root: Path) -> None:
    """The model in `models/` is another one than was judged."""
    path = root / "models" / "model.json"
    path.write_text(path.read_text("utf-8") + "\n", encoding="utf-8")


def committed_verdicts(root: Path) -> None:
    """Verdict files are committed, so that they come along with the next checkout."""
    git(root, "add", "--force", "--", "reports/verdicts")
    git(root, "commit", "--quiet", "--no-verify", "-m", "Verdicts")


# ---- a model made by hand ---------------------------------------------------------------------


def memorised(root: Path) -> str:
    """A model that was fitted on the test rows, and a lock that says it is this commit's."""
    options, rules = settings.load(root), schema.load(root)
    found = train.usable_rows(root, options, rules)
    tested, learned = (np.flatnonzero((found.part == p).to_numpy()) for p in ("test", "train"))
    rest = np.flatnonzero((found.part != "train").to_numpy())
    # Several times, so that an estimator with a least number of rows a leaf knows them too.
    order = np.concatenate([np.tile(tested, 5), rest])
    part = np.concatenate([np.full(5 * len(tested), "train"), found.part.to_numpy()[rest]])
    rows = train.Rows(
        found.frame.iloc[order].reset_index(drop=True), pd.Series(part, dtype=object),
        found.y[order], found.classes,
    )  # fmt: skip
    with train.one_thread(root, options):
        train.write_bundle(root, rows, options, rules)
    dvc(root, "commit", "--force", "--quiet", "train")
    return f"a model fitted on the {len(tested)} test rows in place of {len(learned)}, and its lock"
