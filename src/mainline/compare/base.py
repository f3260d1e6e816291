"""The base of a comparison: production, else the newest version, else main, else two baselines.

A base scores the candidate's rows with its own code, in its own worktree, with its own
environment where the locks differ. Only predictions come back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline import environment, registry
from mainline.errors import NotMeasured
from mainline.evaluate import predictions
from mainline.files import digest_tree, write_text
from mainline.git import git, head, resolve, worktree
from mainline.settings import Settings
from mainline.train.bundle import read_meta


@dataclass(frozen=True)
class Base:
    """What the candidate is compared with; `commit` is None for the baselines."""

    kind: str
    commit: str | None = None
    version: registry.Version | None = None

    @property
    def label(self) -> str:
        """How people call it."""
        if self.version is not None:
            place = "production" if self.kind == "production" else "newest version"
            return f"{place} {self.version.name}"
        return f"{self.kind} {self.commit[:12]}" if self.commit else self.kind


BASELINES = Base("a dummy and a linear baseline")


def find(root: Path, options: Settings, asked: str = "auto") -> Base:
    """The base by the order of preference, or the version, branch or commit that was asked for.

    Raises UsageError for a version that is not registered and NotMeasured for an unknown ref.
    """
    model = options.model.name
    if asked and asked != "auto":
        if registry.VERSION.match(asked) or asked.startswith(f"{model}@"):
            version = registry.find(root, model, asked)
            return Base("version", version.commit, version)
        commit = resolve(root, asked) or resolve(root, f"origin/{asked}")
        if commit is None:
            raise NotMeasured(f"The base {asked!r} was not found", "Fetch it: `git fetch origin`")
        return Base(asked, commit)
    production = registry.at_stage(root, model, "prod")
    if production is not None:
        return Base("production", production.commit, production)
    known = registry.versions(root, model)
    if known:
        return Base("version", known[-1].commit, known[-1])
    here = head(root)
    for ref in ("origin/main", "main"):
        commit = resolve(root, ref)
        if commit and commit != here and git(root, "ls-tree", commit, "dvc.yaml", check=False):
            return Base("main", commit)
    return BASELINES


@dataclass(frozen=True)
class BaseResult:
    """The base's predictions on the candidate's rows, its metadata and the digest of its bundle."""

    found: predictions.Predictions
    meta: dict[str, Any]
    digest: str
    trained_again: bool


@contextlib.contextmanager
def checked_out(root: Path, base: Base) -> Iterator[tuple[Path, Path, bool]]:
    """A worktree of `base` with its model in `models/`: (folder, its Python, was it trained again).

    The model comes from the cache or the store, and is trained again where neither has it. Raises
    NotMeasured when it can neither be had nor trained.
    """
    assert base.commit is not None
    with worktree(root, base.commit) as tree:
        lend_cache(root, tree)
        python = environment.python_for(tree)
        fetched = _fetch_model(tree, python, base)
        if not fetched:
            run_in(tree, python, "data", "pull")
            run_in(tree, python, "train")
        yield tree, python, not fetched


def score(root: Path, base: Base, rows: Path) -> BaseResult:
    """Let `base` score the rows in the file `rows`; NotMeasured when it cannot read them."""
    with checked_out(root, base) as (tree, python, again), tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "predictions.parquet"
        run_in(tree, python, "predict", str(rows.resolve()), "--out", str(out))
        models = tree / "models"
        return BaseResult(predictions.read(out), read_meta(models), digest_tree(models), again)


def lend_cache(root: Path, tree: Path) -> None:
    """Let the worktree use this clone's DVC cache and private remotes."""
    local = root / ".dvc" / "config.local"
    own = local.read_text("utf-8") if local.exists() else ""
    if "[cache]" not in own:  # else this clone's cache is elsewhere itself
        own += '\n[cache]\n    dir = "{}"\n'.format(root / ".dvc" / "cache")
    write_text(tree / ".dvc" / "config.local", own)


def _fetch_model(tree: Path, python: Path, base: Base) -> bool:
    """Whether the model that was registered is in `tree/models` now, by its digest."""
    if not (tree / "dvc.lock").exists():
        return False
    for action in ("checkout", "pull"):
        command = [str(python), "-m", "dvc", action, "--quiet", "models"]
        subprocess.run(command, cwd=tree, env=_environment(tree, python), capture_output=True,
                       check=False)  # fmt: skip
        if (tree / "models" / "model.json").exists():
            known = base.version.digest if base.version else None
            if known in (None, digest_tree(tree / "models")):
                return True
            shutil.rmtree(tree / "models")
    return False


def run_in(tree: Path, python: Path, *arguments: str) -> None:
    """Run `mainline ARGUMENTS` with the code of `tree`; NotMeasured says why it failed."""
    done = subprocess.run(
        [str(python), "-m", "mainline", *arguments], cwd=tree, env=_environment(tree, python),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = (done.stderr.strip() or "no message").splitlines()[-1].removeprefix("mainline: ")
        raise NotMeasured(f"The base could not run `mainline {arguments[0]}`: {said}")


def _environment(tree: Path, python: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != "MAINLINE_ROOT"}
    path = os.pathsep.join([str(python.parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, "PYTHONPATH": str(_source(tree))}


def _source(tree: Path) -> Path:
    """Where the code is: in `src/`, and in a Bento beside the model."""
    return tree / "src" if (tree / "src").is_dir() else tree


def baselines(
    train: pd.DataFrame, y: np.ndarray, test: pd.DataFrame, task: str
) -> dict[str, np.ndarray]:
    """Scores (n, k) on `test` of a dummy and a linear model fitted on `train` (raw inputs)."""
    from sklearn.compose import ColumnTransformer, make_column_selector
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from mainline.train.bundle import scores_of

    numbers = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    categories = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=30)
    encode = ColumnTransformer(
        [("numbers", numbers, make_column_selector(dtype_include="number")),
         ("categories", categories, make_column_selector(dtype_include="category"))]
    )  # fmt: skip
    regression = task == "regression"
    linear = Ridge() if regression else LogisticRegression(max_iter=1000)
    dummy = DummyRegressor() if regression else DummyClassifier(strategy="prior")
    return {
        "dummy": scores_of(dummy.fit(train, y), test, task),
        "linear": scores_of(make_pipeline(encode, linear).fit(train, y), test, task),
    }
