"""The rows of another commit: from this clone's cache where they are, else through a worktree."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mainline.compare.base import lend_cache
from mainline.compare.cache import from_cache
from mainline.data import table
from mainline.data.schema import Schema
from mainline.data.store import dvc, pointer
from mainline.git import git, worktree


def pointer_at(root: Path, commit: str | None) -> str | None:
    """The digest (md5) in data.dvc: at `commit`, or as it stands here where that is None."""
    if commit is not None:
        return pointer(git(root, "show", f"{commit}:data.dvc", check=False))
    path = root / "data.dvc"
    return pointer(path.read_text("utf-8")) if path.is_file() else None


@contextlib.contextmanager
def data_at(root: Path, commit: str) -> Iterator[Path]:
    """A folder with the `data/` of `commit`, gone afterwards.

    Raises RemoteError where neither the cache nor the store has it.
    """
    with tempfile.TemporaryDirectory() as folder:
        if from_cache(root, pointer_at(root, commit), Path(folder) / "data"):
            yield Path(folder)
            return
    with worktree(root, commit) as tree:
        lend_cache(root, tree)
        dvc(tree, "pull", "--quiet", "data.dvc")
        yield tree


def typed(folder: Path, rules: Schema) -> pd.DataFrame:
    """All rows under `folder`/data with the types of `rules` and their labels, one per row id.

    Columns that are not there are left out. Raises DataError where the rows cannot be read or
    have no id.
    """
    frame, _ = table.coerce(table.read_rows(folder), rules)
    table.restrict(frame, [rules.row_id] if rules.row_id else [])
    frame = table.join_labels(frame, table.read_labels(folder), rules)
    ids = table.row_ids(frame, rules)
    return frame.set_index(pd.Index(ids, name=None)).loc[lambda f: ~f.index.duplicated("last")]
