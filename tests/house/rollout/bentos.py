"""Two small trained versions for tests of a rollout: as folders like a Bento's, and as Bentos."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from serve import conftest as small

from mainline.data import schema, table
from mainline.serve.batch import json_rows
from mainline.serve.build import build, check

# While the file that BREAK names is there, a service answers one slice as if its amounts were 1.
FEATURES = '''
"""Features that break in a service when they are told to, and never offline."""
import os

def build(frame):
    made = frame.copy()
    told = os.environ.get("BREAK", "")
    if os.environ.get("MAINLINE_SERVING") == "1" and told and os.path.exists(told):
        made["amount"] = made["amount"].where(frame["channel"] != "web", 1.0)
    made["ratio"] = made["amount"] / (1.0 + frame["hour"])
    return made
'''
TRAIN = "from pathlib import Path; from mainline.train.train import run; run(Path('.'))"


def trained(root: Path, rounds: int) -> Path:
    """A project with a trained model of so many rounds in `root`."""
    shutil.copytree(
        small.HOUSE / "src" / "mainline", root / "src" / "mainline",
        ignore=shutil.ignore_patterns("__pycache__"),
    )  # fmt: skip
    own = root / "src" / "own"
    own.mkdir()
    (own / "__init__.py").write_text("")
    (own / "features.py").write_text(FEATURES)
    (own / "model.py").write_text(small.MODEL)
    (root / "params.yaml").write_text(small.PARAMS.replace("max_iter: 10", f"max_iter: {rounds}"))
    (root / "schema.yaml").write_text(small.SCHEMA)
    for name in ("bentofile.yaml", "requirements.txt", "requirements-serve.txt"):
        shutil.copy(small.HOUSE / name, root)
    (root / "data" / "rows").mkdir(parents=True)
    small.table().to_parquet(root / "data" / "rows" / "2024-03.parquet", index=False)
    env = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", TRAIN], cwd=root, env=env, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return root


def like_a_bento(project: Path, place: Path) -> Path:
    """What offline scoring needs of the Bento of `project`, without BentoML."""
    shutil.copytree(project / "src" / "own", place / "src" / "own")
    shutil.copytree(project / "models", place / "src" / "models")
    for name in ("params.yaml", "schema.yaml"):
        shutil.copy(project / name, place / "src" / name)
    return place


def built(project: Path, version: str) -> tuple[Path, str]:
    """The Bento of `project`, and its model's digest."""
    path = Path(build(project, version)["path"])
    return path, str(check(path)["digest"])


def rows(project: Path, count: int) -> list[dict[str, Any]]:
    """Feature rows as a client sends them."""
    rules = schema.load(project)
    frame, _ = table.coerce(small.table(count), rules)
    found = json_rows(frame[[c.name for c in rules.features]], rules)
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]
