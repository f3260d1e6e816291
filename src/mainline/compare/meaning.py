"""What a text means: two that differ in comments, format or docstrings only mean the same."""

from __future__ import annotations

import ast
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from mainline.config import parse_yaml
from mainline.data.schema import Schema
from mainline.errors import SettingsError

# The sections of pyproject.toml that judge code; the others say what is installed.
TOOLS = "tool"
# What may have happened to a file whose content is not told.
FILE = ("added", "changed", "removed")


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was; None on the side where it is not there."""

    name: str
    base: str | None
    candidate: str | None

    def __str__(self) -> str:
        if self.candidate in FILE:
            return f"{self.name} {self.candidate}"
        if self.base is None:
            return f"{self.name}: {self.candidate} is new"
        if self.candidate is None:
            return f"{self.name}: {self.base} is gone"
        return f"{self.name}: {self.base} -> {self.candidate}"


def differing(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    """The keys whose values differ, those of `old` first."""
    names = dict.fromkeys([*old, *new])
    return tuple(Change(n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n))


def flat(node: Any, before: str = "") -> dict[str, str]:
    """Plain data as dotted keys and values in words; of lists of tables each item has a number."""
    if isinstance(node, dict) and node:
        items = [(str(k), v) for k, v in node.items()]
    elif isinstance(node, list) and any(isinstance(v, dict | list) for v in node):
        items = [(str(number), v) for number, v in enumerate(node)]
    else:
        return {before: say(node)} if before else {}
    out: dict[str, str] = {}
    for key, value in items:
        out.update(flat(value, f"{before}.{key}" if before else key))
    return out


def say(value: Any) -> str:
    """A value in words; text stays as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def parsed(text: str) -> Any:
    """YAML as plain data; what is none is said to be none."""
    import yaml

    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError:
        return {"(the file)": "cannot be read as YAML"}


def yaml_changes(old: str, new: str) -> tuple[Change, ...]:
    """Keys, dotted, whose values differ between two YAML texts."""
    return differing(flat(parsed(old)), flat(parsed(new)))


def column_changes(old: str, new: str) -> tuple[Change, ...]:
    """What differs between two texts of schema.yaml; a column that came or went is one line.

    A default that is written out, another order and a comment are no change.
    """
    before, after = _schema(old), _schema(new)
    base, candidate = _columns(before), _columns(after)
    changed: list[Change] = list(differing(_head(before), _head(after)))
    for name in dict.fromkeys([*base, *candidate]):
        if name in base and name in candidate:
            changed += differing(flat(base[name], name), flat(candidate[name], name))
        else:
            sides = (_facts(columns.get(name)) for columns in (base, candidate))
            changed.append(Change(f"column {name}", *sides))
    return tuple(changed)


def _schema(text: str) -> Any:
    try:
        return parse_yaml(text, "schema.yaml", Schema).model_dump(mode="json") if text else {}
    except SettingsError:
        return parsed(text)


def _head(document: Any) -> dict[str, str]:
    rest = (
        {k: v for k, v in document.items() if k != "columns"} if isinstance(document, dict) else {}
    )
    return flat(rest)


def _columns(document: Any) -> dict[str, dict[str, Any]]:
    listed = document.get("columns") if isinstance(document, dict) else None
    columns = [c for c in listed if isinstance(c, dict)] if isinstance(listed, list) else []
    return {str(c.get("name")): {k: v for k, v in c.items() if k != "name"} for c in columns}


def _facts(column: dict[str, Any] | None) -> str | None:
    if column is None:
        return None
    told = {k: v for k, v in column.items() if v not in (None, False, {"min": None, "max": None})}
    return say(told)[1:-1].replace('"', "")


def of_file(name: str, text: str) -> object:
    """What the file `name` means: equal for two texts that do the same.

    Python without comments, format and docstrings; YAML and TOML as parsed (of pyproject.toml the
    tools' settings only); anything else, and what cannot be parsed, line by line.
    """
    import yaml

    kind = PurePosixPath(name).suffix
    try:
        if kind in (".yml", ".yaml"):
            return flat({"file": yaml.safe_load(text)})  # in words: true is not 1
        if kind == ".toml":
            return flat({"file": tomllib.loads(text).get(TOOLS)})
        if kind == ".py" or text.startswith("#!/usr/bin/env python"):
            return _python(text)
    except (yaml.YAMLError, SyntaxError, ValueError, RecursionError):
        pass  # then its lines are compared
    return text.split("\n")


def _python(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(
                first.value.value, str
            ):  # fmt: skip
                node.body = node.body[1:]
    return ast.dump(tree)
