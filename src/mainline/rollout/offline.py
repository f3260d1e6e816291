"""What a Bento's model answers offline: its own bundle, by scikit-learn, away from any service.

`python -m mainline.rollout.offline BENTO` scores the rows (JSON objects, one a line) on stdin: a
line of scores for each, or `null` where the model has no answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mainline
from mainline.errors import DataError, NotMeasured

# The same order of summation as in the service, and no more of the machine than one core.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
SECONDS = 120.0
NICE = 10


def is_bento(artifact: str | Path) -> bool:
    """Whether a model that can be asked offline is in `artifact`."""
    return bool(str(artifact)) and (Path(artifact) / "src" / "models" / "model.json").is_file()


@dataclass(frozen=True)
class Offline:
    """The model of a Bento, loaded; it takes seconds and a hundred megabytes to make one."""

    bundle: Any

    @staticmethod
    def load(bento: Path) -> Offline:
        """Load `bento`; the forker's features are those in it. Raises DataError, SettingsError."""
        from mainline.train import bundle

        return Offline(bundle.load(bento / "src" / "models", bento))

    @property
    def digest(self) -> str:
        """The digest of the model."""
        return str(self.bundle.digest)

    def scores(self, rows: Sequence[Any]) -> list[list[float] | None]:
        """The scores of each row of features; None where the model has no answer to it."""
        try:
            return self._together(rows)
        except Exception:  # whatever the forker's features raise: one row must not cost the others
            return [self._alone(row) for row in rows]

    def _together(self, rows: Sequence[Mapping[str, Any]]) -> list[list[float] | None]:
        import pandas as pd

        if not rows:
            return []
        columns = {
            name: pd.Series([row[name] for row in rows], dtype=object)
            for name in (c["name"] for c in self.bundle.meta["raw"])
        }
        return list(self.bundle.predict(pd.DataFrame(columns)).tolist())

    def _alone(self, row: Any) -> list[float] | None:
        try:
            return self._together([row])[0]
        except Exception:
            return None

    def decision(self, scores: Sequence[float]) -> float:
        """The decision that belongs to these scores."""
        import numpy as np

        return float(self.bundle.decide(np.array([scores], dtype=float))[0])


def ask(bento: Path, rows: Sequence[Mapping[str, Any]]) -> list[list[float] | None]:
    """The scores of `rows` by the model of `bento`, in a process of its own.

    Raises NotMeasured (12) where the model cannot be asked.
    """
    command = [sys.executable, "-m", "mainline.rollout.offline", str(bento.resolve())]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    source = str(Path(mainline.__file__).resolve().parents[1])
    paths = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run(
            command, input=content, env={**os.environ, **ONE_THREAD, "PYTHONPATH": paths},
            text=True, capture_output=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        found = [json.loads(line) for line in done.stdout.splitlines()]
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise NotMeasured(f"The model in {bento.name} could not be asked offline ({error})") from (
            error
        )
    if done.returncode or len(found) != len(rows):
        said = (done.stderr.strip() or "no message").splitlines()[-1]
        raise NotMeasured(f"The model in {bento.name} could not be asked offline ({said})")
    return found


def main(bento: Path) -> None:
    """Score the lines of stdin."""
    os.nice(NICE)
    # What the forker's code prints must not stand among the scores.
    out, sys.stdout = sys.stdout, sys.stderr
    model = Offline.load(bento)
    rows = [json.loads(line) for line in sys.stdin]
    out.write("".join(json.dumps(scores) + "\n" for scores in model.scores(rows)))
    out.flush()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except DataError as error:
        print(error, file=sys.stderr)
        sys.exit(error.status)
