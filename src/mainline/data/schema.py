"""schema.yaml -> the data contract: types, roles and limits of each column."""

from __future__ import annotations

import difflib
import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from mainline.config import Section, load_yaml
from mainline.errors import SettingsError
from mainline.settings import Settings

ROW_ID = "row_id"


class Limits(Section):
    """Inclusive bounds of a number."""

    min: float | None = None
    max: float | None = None


class Column(Section):
    """One column: its type, who may see it (`role`), and what its values may be."""

    name: str = Field(min_length=1)
    type: Literal["number", "integer", "category", "bool", "datetime", "text"]
    role: Literal["feature", "target", "id", "entity", "time", "slice", "pii", "drop"]
    max_missing: float = Field(0.3, ge=0, le=1)
    hard: Limits = Limits()
    soft: Limits = Limits()
    categories: tuple[str, ...] | None = None
    allow_new: bool = False
    available: Literal["at_prediction", "later"] = "at_prediction"

    @field_validator("categories", mode="before")
    @classmethod
    def _strings(cls, value: Any) -> Any:
        # YAML reads `no`, `1` and `2024-01-01` as other things; values are compared as text.
        if isinstance(value, (list, tuple)):
            for item in value:
                if isinstance(item, bool):
                    raise ValueError(
                        f"quote the category {str(item).lower()!r}: YAML reads it as a bool"
                    )
            return tuple(str(item) for item in value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        if self.role == "feature" and self.available == "later":
            raise ValueError(f"{self.name!r} is known only later and cannot be a feature")
        for limits in (self.hard, self.soft):
            if limits.min is not None and limits.max is not None and limits.min > limits.max:
                raise ValueError(f"{self.name!r} has a minimum above its maximum")
        if self.type == "datetime" and self.role == "feature":
            raise ValueError(
                f"{self.name!r} is a datetime and cannot be a feature; derive numbers from it"
            )
        return self


class Schema(Section):
    """All of schema.yaml. `known_at` names the column that says when the label became known.

    Without `row_id` a row is named by the digest of its own values but the label.
    """

    version: Literal[1]
    row_id: str | None = None
    entity: str | None = None
    time: str | None = None
    target: str
    known_at: str | None = None
    columns: tuple[Column, ...]

    @model_validator(mode="after")
    def _roles(self) -> Schema:
        names = [c.name for c in self.columns]
        twice = {n for n in names if names.count(n) > 1}
        if twice:
            raise ValueError(f"column {sorted(twice)[0]!r} stands twice")
        for key, role in (
            ("row_id", "id"),
            ("entity", "entity"),
            ("time", "time"),
            ("target", "target"),
        ):
            name = getattr(self, key)
            if name is None:
                continue
            if name not in names:
                raise ValueError(f"{key}: no column {name!r}; known are {', '.join(names)}")
            found = next(c for c in self.columns if c.name == name)
            if found.role != role:
                raise ValueError(
                    f"{key}: column {name!r} has the role {found.role!r}, not {role!r}"
                )
        if ROW_ID in names and self.row_id != ROW_ID:
            raise ValueError(
                f"{ROW_ID!r} is the name of the row's own id: name another column, or set row_id"
            )
        if self.known_at is not None and self.known_at not in names:
            raise ValueError(f"known_at: no column {self.known_at!r}")
        if not any(c.role == "feature" for c in self.columns):
            raise ValueError("no column has the role 'feature'")
        return self

    @cached_property
    def features(self) -> tuple[Column, ...]:
        """The columns that the model may see, in the order of schema.yaml."""
        return tuple(c for c in self.columns if c.role == "feature")

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by name."""
        return {c.name: c for c in self.columns}

    @cached_property
    def personal(self) -> frozenset[str]:
        """Columns whose values never appear in a report: personal data, ids and entities."""
        return frozenset(c.name for c in self.columns if c.role in ("pii", "entity"))


def load(root: Path) -> Schema:
    """Read `schema.yaml` under `root`; SettingsError (22) names file, line and remedy."""
    return load_yaml(root / "schema.yaml", Schema)


def check_agreement(settings: Settings, schema: Schema) -> None:
    """Raise SettingsError where params.yaml and schema.yaml contradict each other."""
    if settings.model.target != schema.target:
        raise SettingsError(
            f"params.yaml predicts {settings.model.target!r} and schema.yaml {schema.target!r}",
            "Name one target in both",
        )
    split = settings.split
    by_time = split.key or schema.time
    needs = {"entity": split.key or schema.entity, "block": by_time, "time": by_time,
             "row": schema.row_id or ROW_ID}[split.kind]  # fmt: skip
    if needs is None or (needs not in schema.by_name and needs != ROW_ID):
        raise SettingsError(
            f"params.yaml: the split by {split.kind} needs a column and finds {needs!r}",
            "Set split.key to a column of schema.yaml",
        )
    for name in settings.evaluate.slices:
        column = schema.by_name.get(name)
        if column is None or re.match("number|datetime|text", column.type):
            raise SettingsError(
                f"params.yaml: evaluate.slices names {name!r}, which is no category of schema.yaml",
                "Name category, bool or integer columns",
            )
    _check_behaviour(settings, schema)


def _check_behaviour(settings: Settings, schema: Schema) -> None:
    """Columns that `gate.model` names are there, before anything is trained for them."""
    limits = settings.gate.model
    named = [("directional", d.column) for d in limits.directional]
    named += [("invariant", i.column) for i in limits.invariant]
    named += [("fairness", f.by) for f in limits.fairness]
    for section, name in named:
        if name not in schema.by_name:
            near = difflib.get_close_matches(name, schema.by_name, n=1)
            raise SettingsError(
                f"params.yaml: gate.model.{section} names {name!r}, which is no column of "
                "schema.yaml",
                f"Did you mean {near[0]!r}?" if near else "Name a column of schema.yaml",
            )
