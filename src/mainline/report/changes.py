"""What else changed since the base: parameters, columns, locked packages, data and code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainline.git import git

LOCKED = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
# Told by tables of their own, or written by a tool.
ELSEWHERE = ("params.yaml", "schema.yaml", "data.dvc", "dvc.lock", "requirements*.txt",
             "demo-store", "reports")  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was; None on the side where it is not there."""

    name: str
    base: str | None
    candidate: str | None


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


def yaml_changes(old: str, new: str) -> tuple[Change, ...]:
    """Keys, dotted, whose values differ between two YAML texts; of lists each item has a number."""
    return _compare(_flat(_parse(old)), _flat(_parse(new)))


def column_changes(old: str, new: str) -> tuple[Change, ...]:
    """What differs between two texts of schema.yaml; a column that came or went is one line."""
    before, after = _parse(old), _parse(new)
    base, candidate = _columns(before), _columns(after)
    changed: list[Change] = list(_compare(_head(before), _head(after)))
    for name in dict.fromkeys([*base, *candidate]):
        if name in base and name in candidate:
            changed += _compare(_flat(base[name], name), _flat(candidate[name], name))
        else:
            sides = (_facts(columns.get(name)) for columns in (base, candidate))
            changed.append(Change(f"column {name}", *sides))
    return tuple(changed)


def lock_changes(old: str, new: str) -> tuple[Change, ...]:
    """Packages whose locked version differs between two texts of a requirements file."""
    return _compare(dict(LOCKED.findall(old)), dict(LOCKED.findall(new)))


def data_changes(old: str, new: str) -> tuple[Change, ...]:
    """What DVC's pointer says of the data: its digest, files and bytes, where they differ."""
    return _compare(_pointer(_parse(old)), _pointer(_parse(new)))


def _compare(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    names = dict.fromkeys([*old, *new])
    return tuple(Change(n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n))


def _parse(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError:
        return {"(the file)": "cannot be read as YAML"}


def _flat(node: Any, before: str = "") -> dict[str, str]:
    if isinstance(node, dict) and node:
        items = [(str(k), v) for k, v in node.items()]
    elif isinstance(node, list) and any(isinstance(v, dict | list) for v in node):
        items = [(str(number), v) for number, v in enumerate(node)]
    else:
        return {before: _say(node)} if before else {}
    out: dict[str, str] = {}
    for key, value in items:
        out.update(_flat(value, f"{before}.{key}" if before else key))
    return out


def _head(document: Any) -> dict[str, str]:
    rest = (
        {k: v for k, v in document.items() if k != "columns"} if isinstance(document, dict) else {}
    )
    return _flat(rest)


def _columns(document: Any) -> dict[str, dict[str, Any]]:
    listed = document.get("columns") if isinstance(document, dict) else None
    columns = [c for c in listed if isinstance(c, dict)] if isinstance(listed, list) else []
    return {str(c.get("name")): {k: v for k, v in c.items() if k != "name"} for c in columns}


def _facts(column: dict[str, Any] | None) -> str | None:
    return None if column is None else _say(column)[1:-1].replace('"', "")


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


def _say(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
