"""Which number comes next: major for the interface, minor for the making, patch for the data.

Major: the service would accept another request or answer in another form: a feature column came,
went, or changed its type, its hard limits, its closed list of categories or whether it may be
missing; the row's id or entity has another name; the task, the target or the positive class is
another one. A limit that was only widened counts too: the service then accepts what the version
before refused, and a caller that may meet both has to know. Not of the interface: soft limits,
categories of a column that allows new ones, limits of one request (`serve`).

Minor: the code (features, estimator, the house's own data and training code), the locked packages,
or the settings that make the model (`split`, `features`, `train`, `evaluate.threshold`,
`monitor.maturity_days`), or anything else of schema.yaml.

Patch: nothing of that, so the data. The other settings (`gate`, `serve`, `rollout`, `release`,
`store`, `retrain`, the rest of `monitor`) make no other model and so no version at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mainline import inputs, settings
from mainline.errors import SettingsError
from mainline.git import git
from mainline.registry import Version

# What makes another model of the same data; params.yaml and schema.yaml are read, not compared.
CODE = tuple(name for name in (*inputs.MAKING, "dvc.yaml") if not name.endswith("schema.yaml"))
OUTPUT = ("name", "task", "target", "positive")
MISSING = 0.3  # what schema.yaml allows a column where it says nothing


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
    old, new = (Making(root, c) for c in (latest.commit, commit))
    interface = old.interface != new.interface
    number = bump(latest, interface, not interface and _made_otherwise(root, old, new))
    return "v" + ".".join(map(str, number))


def same_inputs(root: Path, one: str, other: str) -> bool:
    """Whether two commits have the same training inputs, data among them: then no new model."""
    if git(root, "diff", "--name-only", one, other, "--", *CODE, "data.dvc"):
        return False
    old, new = (Making(root, c) for c in (one, other))
    # Of schema.yaml a comment makes other code, by which verdicts go: it is trained again.
    same = git(root, "diff", "--name-only", one, other, "--", "schema.yaml") == ""
    return same and old.settings == new.settings


class Making:
    """What a commit says of a model's making and of its interface."""

    def __init__(self, root: Path, commit: str) -> None:
        self.commit = commit
        self.schema, _ = _document(root, commit, "schema.yaml")
        self.params, text = _document(root, commit, "params.yaml")
        try:
            self.settings = inputs.making_sections(settings.parse(text))
        except SettingsError:  # of an older house, which knew other keys
            self.settings = {name: self.params.get(name) for name in inputs.SECTIONS}

    @property
    def interface(self) -> Any:
        """What a caller of the service depends on: its input columns and its output."""
        columns = [c for c in self.schema.get("columns") or () if isinstance(c, Mapping)]
        features = sorted(map(_field, (c for c in columns if c.get("role") == "feature")), key=str)
        named = [self.schema.get("row_id"), self.schema.get("entity")]
        model = self.params.get("model") or {}
        target = next((c for c in columns if c.get("role") == "target"), {})
        classes = (target.get("type"), _texts(target.get("categories")))
        return features, named, [model.get(k) for k in OUTPUT], classes


def _field(column: Mapping[str, Any]) -> tuple[Any, ...]:
    """A column as the service asks for it: name, type, optional, limits, the only categories."""
    hard = column.get("hard")
    limits = hard if isinstance(hard, Mapping) else {}
    closed = None if column.get("allow_new") else _texts(column.get("categories"))
    missing = column.get("max_missing", MISSING)
    return (str(column.get("name")), str(column.get("type")), missing != 0,
            limits.get("min"), limits.get("max"), closed)  # fmt: skip


def _texts(categories: Any) -> Any:
    return sorted(map(str, categories)) if isinstance(categories, (list, tuple)) else None


def _made_otherwise(root: Path, old: Making, new: Making) -> bool:
    code = git(root, "diff", "--name-only", old.commit, new.commit, "--", *CODE)
    return bool(code) or old.settings != new.settings or old.schema != new.schema


def _document(root: Path, commit: str, name: str) -> tuple[Mapping[str, Any], str]:
    """A YAML file as it is at `commit`, and its text; what is none is empty."""
    text = git(root, "show", f"{commit}:{name}", check=False)
    try:
        loaded = yaml.safe_load(text or "{}")
    except yaml.YAMLError:
        loaded = None
    return (loaded if isinstance(loaded, Mapping) else {}), text
