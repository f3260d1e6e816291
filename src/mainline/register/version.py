"""Which number comes next: major for the interface, minor for the making, patch for the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mainline.git import git
from mainline.registry import Version

# What makes another model of the same data.
MAKING = ("src/project", "params.yaml", "schema.yaml", "requirements.txt")


def bump(
    latest: Version | None, interface_changed: bool, making_changed: bool
) -> tuple[int, int, int]:
    """The next number; v1.0.0 is the first."""
    if latest is None:
        return (1, 0, 0)
    major, minor, patch = latest.number
    if interface_changed:
        return (major + 1, 0, 0)
    return (major, minor + 1, 0) if making_changed else (major, minor, patch + 1)


def following(root: Path, latest: Version | None, commit: str) -> str:
    """The name of the version after `latest` for `commit`, such as v1.2.0."""
    if latest is None:
        return "v1.0.0"
    interface = service_interface(root, latest.commit) != service_interface(root, commit)
    changed = git(root, "diff", "--name-only", latest.commit, commit, "--", *MAKING)
    return "v" + ".".join(map(str, bump(latest, interface, bool(changed))))


def service_interface(root: Path, commit: str) -> Any:
    """What a caller of the service depends on at `commit`: its input columns and its output."""
    documents = {}
    for name in ("schema.yaml", "params.yaml"):
        loaded = yaml.safe_load(git(root, "show", f"{commit}:{name}", check=False) or "{}")
        documents[name] = loaded if isinstance(loaded, Mapping) else {}
    columns = documents["schema.yaml"].get("columns") or []
    model = documents["params.yaml"].get("model") or {}
    inputs = sorted(
        (str(c.get("name")), str(c.get("type"))) for c in columns if c.get("role") == "feature"
    )
    return inputs, {k: model.get(k) for k in ("name", "task", "target", "positive")}
