"""A table of made-up rows with its contract and settings, for tests of the core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from copies import ROOT

from mainline.data.schema import Schema
from mainline.data.table import coerce
from mainline.settings import Settings

SOURCE: Path = ROOT / "src"
COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "text", "role": "id", "max_missing": 0},
    {"name": "who", "type": "text", "role": "entity", "max_missing": 0},
    {"name": "mail", "type": "text", "role": "pii"},
    {"name": "at", "type": "datetime", "role": "time", "max_missing": 0},
    {"name": "group", "type": "category", "role": "slice"},
    {"name": "size", "type": "number", "role": "feature", "hard": {"min": -9, "max": 9},
     "soft": {"max": 3}},
    {"name": "kind", "type": "category", "role": "feature", "categories": ["a", "b", "c"]},
    {"name": "new", "type": "bool", "role": "feature"},
    {"name": "note", "type": "text", "role": "drop"},
    {"name": "y", "type": "integer", "role": "target"},
    {"name": "known", "type": "datetime", "role": "drop", "available": "later"},
]  # fmt: skip


def schema(without: tuple[str, ...] = (), **changes: Any) -> Schema:
    """The contract of these rows; `changes` replace its keys."""
    columns = [c for c in COLUMNS if c["name"] not in without]
    document = {"version": 1, "row_id": "id", "entity": "who", "time": "at", "target": "y",
                "known_at": "known", "columns": columns, **changes}  # fmt: skip
    return Schema.model_validate(document)


def settings(split: str = "row", salt: str = "s", **sections: Any) -> Settings:
    """Settings for them; `sections` replace whole sections."""
    document = {
        "model": {"name": "toy", "task": "binary", "target": "y", "positive": 1},
        "split": {"kind": split, "salt": salt, "tune": 0.2, "test": 0.2},
        "features": {"build": "project.features:build"},
        "train": {"estimator": "project.model:build"},
        "evaluate": {"metrics": ["roc_auc"], "slices": ["group"]},
        "gate": {"metric": "roc_auc", "delta": 0.01},
        **sections,
    }
    return Settings.model_validate(document)


def raw(n: int, seed: int = 0) -> pd.DataFrame:
    """`n` rows as a file would hold them."""
    rng = np.random.default_rng(seed)
    at = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(n) * 24 * 364 // n, unit="h")
    size = rng.normal(0, 1, n)
    return pd.DataFrame(
        {
            "id": [f"r{i}" for i in range(n)],
            "who": [f"w{i}" for i in rng.integers(0, max(n // 4, 1), n)],
            "mail": [f"m{i}@example.org" for i in range(n)],
            "at": at,
            "group": rng.choice(["x", "y"], n),
            "size": size,
            "kind": rng.choice(["a", "b", "c"], n),
            "new": rng.random(n) < 0.5,
            "note": "-",
            "y": (size + rng.normal(0, 1, n) > 0.5).astype(int),
            "known": at + pd.Timedelta(days=5),
        }
    )


def typed(n: int, seed: int = 0) -> pd.DataFrame:
    """`n` rows with the dtypes of the contract."""
    return coerce(raw(n, seed), schema())[0]
