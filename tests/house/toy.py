"""A small production: a model of three columns, its log, and labels that come later."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from mainline.files import digest_tree, write_json
from mainline.serve.ids import timestamp
from mainline.serve.sink import append
from mainline.train import profile
from mainline.train.bundle import decide

RAW = [
    {"name": "size", "type": "number", "categories": None},
    {"name": "kind", "type": "category", "categories": ["a", "b", "c"]},
    {"name": "new", "type": "bool", "categories": ["false", "true"]},
]
PARAMS = {
    "model": {"name": "toy", "task": "binary", "target": "y", "positive": 1},
    "split": {"kind": "row", "salt": "s", "tune": 0.2, "test": 0.2},
    "features": {"build": "project.features:build"},
    "train": {"estimator": "project.model:build"},
    "gate": {"metric": "roc_auc", "delta": 0.01},
}
SCHEMA = {
    "version": 1, "row_id": "id", "time": "at", "target": "y", "known_at": "known",
    "columns": [
        {"name": "id", "type": "text", "role": "id"},
        {"name": "at", "type": "datetime", "role": "time"},
        {"name": "size", "type": "number", "role": "feature"},
        {"name": "kind", "type": "category", "role": "feature", "allow_new": True},
        {"name": "new", "type": "bool", "role": "feature"},
        {"name": "y", "type": "integer", "role": "target"},
        {"name": "known", "type": "datetime", "role": "drop", "available": "later"},
    ],
}  # fmt: skip


def rows(start: str, days: int, per_day: int, seed: int, shift: float = 0.0, recall: float = 0.8):
    """Rows of `days` days: three features, a label with rate .2, a score that mostly knows it."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    seconds = np.sort(rng.integers(0, days * 86400, n))
    at = pd.Timestamp(start) + pd.to_timedelta(seconds, unit="s")
    y = (rng.random(n) < 0.2).astype(int)
    sure = rng.random(n) < np.where(y == 1, recall, 0.05)
    return pd.DataFrame(
        {
            "id": [f"{start}-{i}" for i in range(n)],
            "at": at.astype("datetime64[ns]"),
            "size": rng.normal(shift, 1, n),
            "kind": rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2]),
            "new": rng.random(n) < 0.3,
            "y": y,
            "known": (at + pd.to_timedelta(np.where(y == 1, 5, 30), unit="D")).astype(
                "datetime64[ns]"
            ),
            "score": np.where(sure, rng.uniform(0.5, 1, n), rng.uniform(0, 0.5, n)),
        }
    )


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """The raw feature columns as training has them."""
    return pd.DataFrame(
        {
            "size": frame["size"],
            "kind": pd.Categorical(frame["kind"], categories=["a", "b", "c"]),
            "new": pd.Categorical(
                frame["new"].map({True: "true", False: "false"}), categories=["false", "true"]
            ),
        }
    )


@dataclass
class Production:
    """A repository with a model, and a place to which its service logs."""

    root: Path
    digest: str

    @property
    def log(self) -> Path:
        return self.root / "log"

    def serve(self, frame: pd.DataFrame, arm: str = "stable", digest: str | None = None) -> None:
        """Log a prediction for each row."""
        decision = decide(frame[["score"]].to_numpy(), "binary", 0.5)
        columns = [c for c in frame.columns if c not in ("id", "at", "y", "known", "score")]
        features = json.loads(frame[columns].to_json(orient="records"))
        side = arm if digest is None else f"{arm}-{digest}"
        append(
            str(self.log),
            [
                {
                    "v": 1, "prediction_id": f"p-{side}-{row.id}",
                    "request_id": f"r-{row.id}", "row": row.id,
                    "ts": timestamp(row.at.to_pydatetime()), "model": "toy",
                    "digest": digest or self.digest, "arm": arm, "generation": 1, "entity": None,
                    "features": values, "scores": [row.score], "decision": int(decided),
                    "threshold": 0.5, "ms": 1.0, "status": 200,
                }
                for row, values, decided in zip(
                    frame.itertuples(), features, decision, strict=True
                )
            ],
        )  # fmt: skip

    def label(self, frame: pd.DataFrame, name: str = "labels") -> None:
        """Add the labels of all rows, each with the time at which it becomes known."""
        folder = self.root / "data" / "labels"
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(
            {"row_id": frame["id"], "label": frame["y"], "known_at": frame["known"], "source": "t"}
        ).to_parquet(folder / f"{name}.parquet")

    def found(self) -> dict:
        """reports/monitor.json."""
        return json.loads((self.root / "reports" / "monitor.json").read_text("utf-8"))


def make(root: Path, weeks: int = 10, **params: object) -> Production:
    """A Production at `root` whose model was trained on `weeks` weeks of 1,000 rows."""
    start = pd.Timestamp("2024-03-11") - pd.Timedelta(weeks=weeks)
    train = rows(f"{start:%Y-%m-%d}", 7 * weeks, 140, seed=1)
    held = rows(f"{start:%Y-%m-%d}", 7 * weeks, 60, seed=2)
    scores = held[["score"]].to_numpy()
    reference = profile.build_reference(
        typed(train), train["at"], scores, decide(scores, "binary", 0.5),
        held["y"].to_numpy(), held["at"], "binary",
    )  # fmt: skip
    meta = {
        "schema": "model/1", "name": "toy", "task": "binary", "classes": ["0", "1"],
        "threshold": 0.5, "raw": RAW, "rows": {"train": len(train), "test": len(held)},
        "trained_until": "2024-03-10T23:00:00", "files": {},
    }  # fmt: skip
    (root / "params.yaml").write_text(yaml.safe_dump({**PARAMS, **params}))
    (root / "schema.yaml").write_text(yaml.safe_dump(SCHEMA))
    write_json(root / "models" / "profile.json", reference)
    write_json(root / "models" / "model.json", meta)
    return Production(root, digest_tree(root / "models"))
