"""The base of a comparison: production, else the newest version, else main, else two baselines.

A base scores the candidate's rows with its own code, in its own worktree, with its own
environment where the locks differ. Only predictions come back.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mainline import assets, environment, registry
from mainline.compare.cache import dvc_md5, from_cache
from mainline.data import schema, table
from mainline.data.store import locked_model
from mainline.errors import MainlineError, NotMeasured
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


class Unreadable(NotMeasured):
    """The base cannot read the candidate's rows, nor rows of its own with their ids."""


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
    """The base's predictions on the candidate's rows, its metadata and the digest of its bundle.

    `cost` has what is known of `latency_ms` (one row) and `size_mb`.
    """

    found: predictions.Predictions
    meta: dict[str, Any]
    digest: str
    trained_again: bool
    cost: dict[str, float]


@contextlib.contextmanager
def worktree_of(root: Path, base: Base) -> Iterator[tuple[Path, Path]]:
    """A worktree of `base`, and the Python with its locked packages."""
    assert base.commit is not None
    with worktree(root, base.commit) as tree:
        lend_cache(root, tree)
        yield tree, environment.python_for(tree)


@contextlib.contextmanager
def checked_out(root: Path, base: Base) -> Iterator[tuple[Path, Path, bool]]:
    """A worktree of `base` with its model in `models/`: (folder, its Python, was it trained again).

    The model comes from the cache or the store, and is trained again where neither has it. Raises
    NotMeasured when it can neither be had nor trained.
    """
    with worktree_of(root, base) as (tree, python):
        fetched = fetch_model(tree, python, base)
        if not fetched:
            run_in(tree, python, "data", "pull")
            run_in(tree, python, "train")
        yield tree, python, not fetched


def score(root: Path, base: Base, rows: Path) -> BaseResult:
    """Let `base` score the rows in the file `rows`; Unreadable when it cannot read them.

    Where it asks for columns that these rows no longer have, it scores its own rows of these ids.
    """
    with checked_out(root, base) as (tree, python, again), tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "predictions.parquet"
        words = ("predict", "--json", "--out", str(out))
        try:
            said = run_in(tree, python, *words, str(rows.resolve()))
        except NotMeasured as error:
            own = Path(folder) / "own.parquet"
            if not _own_rows(tree, python, rows, own):
                raise Unreadable(error.cause) from error
            said = run_in(tree, python, *words, str(own))
        models = tree / "models"
        return BaseResult(predictions.read(out), read_meta(models), digest_tree(models), again,
                          _cost(said, models))  # fmt: skip


def _own_rows(tree: Path, python: Path, rows: Path, out: Path) -> bool:
    """Write the rows of the base's own data that have the ids of `rows`; False where none has."""
    try:
        run_in(tree, python, "data", "pull")
        rules, raw = schema.load(tree), table.read_rows(tree)
        frame = table.coerce(raw, rules)[0]
        name = rules.row_id or schema.ROW_ID
        wanted = pd.read_parquet(rows)
        keep = table.row_ids(frame, rules).isin(table.as_text(wanted[name])).to_numpy()
    except (MainlineError, KeyError):
        return False
    if keep.any():
        raw.assign(**{name: frame[name]})[keep].to_parquet(out, index=False)
    return bool(keep.any())


def _cost(said: str, models: Path) -> dict[str, float]:
    """What the base costs to run, as far as it says: milliseconds of a row, megabytes."""
    size = sum(f.stat().st_size for f in models.iterdir() if f.is_file()) / 1e6
    try:
        return {"latency_ms": float(json.loads(said)["latency_ms"]), "size_mb": size}
    except (ValueError, KeyError, TypeError):
        return {"size_mb": size}


def lend_cache(root: Path, tree: Path) -> None:
    """Let the worktree use this clone's DVC cache and private remotes."""
    local = root / ".dvc" / "config.local"
    own = local.read_text("utf-8") if local.exists() else ""
    if "[cache]" not in own:  # else this clone's cache is elsewhere itself
        own += '\n[cache]\n    dir = "{}"\n'.format(root / ".dvc" / "cache")
    write_text(tree / ".dvc" / "config.local", own)


def fetch_model(tree: Path, python: Path, base: Base) -> bool:
    """Whether the model that the lock of `tree` names is in `tree/models` now.

    Of a version it is the one that was registered, by its digest: from the cache, the store or
    the assets of its GitHub release. Raises DataError where the release holds another model.
    """
    lock = tree / "dvc.lock"
    if not lock.exists():
        return False
    models, wanted = tree / "models", locked_model(lock.read_text("utf-8"))
    if from_cache(tree, wanted, models, copy=True) and dvc_md5(models) == wanted and (
        _registered(models, base)
    ):  # fmt: skip
        return True
    shutil.rmtree(models, ignore_errors=True)
    command = [str(python), "-m", "dvc", "pull", "--quiet", "models"]
    subprocess.run(command, cwd=tree, env=_environment(tree, python), capture_output=True,
                   check=False)  # fmt: skip
    if (models / "model.json").exists() and _registered(models, base):
        return True
    shutil.rmtree(models, ignore_errors=True)
    # The last resort of a version is its GitHub release; it takes no other model than the tag's.
    return base.version is not None and assets.download(tree, base.version, models)


def _registered(models: Path, base: Base) -> bool:
    known = base.version.digest if base.version else None
    return known in (None, digest_tree(models))


def run_in(tree: Path, python: Path, *arguments: str) -> str:
    """Run `mainline ARGUMENTS` with the code of `tree`; returns what it printed.

    NotMeasured says why it failed.
    """
    done = subprocess.run(
        [str(python), "-m", "mainline", *arguments], cwd=tree, env=_environment(tree, python),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = (done.stderr.strip() or "no message").splitlines()[-1].removeprefix("mainline: ")
        raise NotMeasured(f"The base could not run `mainline {arguments[0]}`: {said}")
    return done.stdout


def _environment(tree: Path, python: Path) -> dict[str, str]:
    env = environment.surroundings(tree, python, _source(tree))
    env.pop("MAINLINE_ROOT", None)
    return env


def _source(tree: Path) -> Path:
    """Where the code is: in `src/`, and in a Bento beside the model."""
    return tree / "src" if (tree / "src").is_dir() else tree
