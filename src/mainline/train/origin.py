"""Which commit a model comes from, said so that equal inputs give equal bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mainline import inputs, settings
from mainline.errors import SettingsError
from mainline.files import digest_json
from mainline.git import dirty, git, is_repository, is_shallow

FILES = (*inputs.MAKING, "data.dvc")


def origin(root: Path) -> dict[str, str | None]:
    """The first commit of this history that had exactly these inputs, and its time.

    Not HEAD: a commit that only adds dvc.lock, a word in the README or another limit of the gate
    makes no other model, and a revert makes the very model that was there before. Null while an
    input is not committed, and in a shallow clone, where it cannot be known.
    """
    unknown: dict[str, str | None] = {"commit": None, "commit_time": None}
    if not is_repository(root) or is_shallow(root) or dirty(root, *FILES, "params.yaml"):
        return unknown
    log = git(root, "log", "--format=%H %cI", "--", *FILES, "params.yaml", check=False)
    commits = [line.split(" ") for line in log.splitlines()]
    if not commits:
        return unknown
    keys = _keys(root, [c for c, _ in commits])
    # Newest first, so the last that equals HEAD's inputs is the first that had them.
    commit, when = [pair for pair, key in zip(commits, keys, strict=True) if key == keys[0]][-1]
    return {"commit": commit, "commit_time": when}


def _keys(root: Path, commits: list[str]) -> list[Any]:
    """What each commit's inputs are: object ids of the files, settings that make a model."""
    names = (*FILES, "params.yaml")
    asked = "".join(f"{commit}:{name}\n" for commit in commits for name in names)
    lines = git(root, "cat-file", "--batch-check=%(objectname)", stdin=asked).splitlines()
    # A name that is not there is answered with itself, which differs from commit to commit.
    ids = [line if len(line.split()) == 1 else None for line in lines]
    sections: dict[str | None, Any] = {None: None}
    out = []
    for number in range(len(commits)):
        row = ids[number * len(names) : (number + 1) * len(names)]
        blob = row[-1]
        if blob not in sections:
            sections[blob] = _sections(git(root, "cat-file", "blob", str(blob)))
        out.append((tuple(row[:-1]), sections[blob]))
    return out


def _sections(text: str) -> Any:
    try:
        return digest_json(inputs.making_sections(settings.parse(text)))
    except SettingsError:
        return None
