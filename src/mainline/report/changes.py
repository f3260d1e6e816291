"""What else changed since the base: parameters, columns, locked packages, data and code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainline.compare.meaning import Change, column_changes, differing, parsed, yaml_changes
from mainline.git import git

LOCKED = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
# Told by tables of their own, or written by a tool.
ELSEWHERE = ("params.yaml", "schema.yaml", "data.dvc", "dvc.lock", "requirements*.txt",
             "demo-store", "reports")  # fmt: skip


@dataclass(frozen=True)
class Changes:
    """All differences from the commit `base`; `files` holds (path, lines added, lines removed)."""

    base: str
    parameters: tuple[Change, ...] = ()
    columns: tuple[Change, ...] = ()
    locks: tuple[tuple[str, tuple[Change, ...]], ...] = ()
    data: tuple[Change, ...] = ()
    files: tuple[tuple[str, str, str], ...] = ()


def collect(root: Path, base: str) -> Changes:
    """What differs between the commit `base` and the files that stand in `root` now."""

    def both(name: str) -> tuple[str, str]:
        path = root / name
        here = path.read_text("utf-8", errors="replace") if path.is_file() else ""
        return git(root, "show", f"{base}:{name}", check=False), here

    names = {p.name for p in root.glob("requirements*.txt")}
    listed = git(root, "ls-tree", "--name-only", "-z", base, check=False).split("\0")
    names |= {n for n in listed if re.fullmatch(r"requirements[\w-]*\.txt", n)}
    locks = ((n, lock_changes(*both(n))) for n in sorted(names))
    return Changes(
        base,
        parameters=yaml_changes(*both("params.yaml")),
        columns=column_changes(*both("schema.yaml")),
        locks=tuple((n, changed) for n, changed in locks if changed),
        data=data_changes(*both("data.dvc")),
        files=_files(root, base),
    )


def _files(root: Path, base: str) -> tuple[tuple[str, str, str], ...]:
    without = [f":(exclude){name}" for name in ELSEWHERE]
    out = git(
        root, "diff", "--numstat", "--no-renames", "-z", base, "--", ".", *without, check=False
    )
    found = []
    for record in out.split("\0"):
        added, _, rest = record.partition("\t")
        removed, tab, path = rest.partition("\t")
        if tab:
            found.append((path, added, removed))
    return tuple(found)


def lock_changes(old: str, new: str) -> tuple[Change, ...]:
    """Packages whose locked version differs between two texts of a requirements file."""
    return differing(dict(LOCKED.findall(old)), dict(LOCKED.findall(new)))


def data_changes(old: str, new: str) -> tuple[Change, ...]:
    """What DVC's pointer says of the data: its digest, files and bytes, where they differ."""
    return differing(_pointer(parsed(old)), _pointer(parsed(new)))


def _pointer(document: Any) -> dict[str, str]:
    outs = document.get("outs") if isinstance(document, dict) else None
    if not (isinstance(outs, list) and outs and isinstance(outs[0], dict)):
        return {}
    known = {"md5": "DVC digest", "nfiles": "files", "size": "bytes"}
    return {
        said: f"{v:,}" if isinstance(v := outs[0][key], int) else str(v)
        for key, said in known.items()
        if key in outs[0]
    }
