"""The process that explains: rows on its input, explanations on its output, a line of JSON each.

`python -m mainline.serve.explaining MODELS ROOT DIGEST IDLE`; it ends when its input does, which
is when the service ended, however that was, or after IDLE seconds without a row.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mainline.serve.explain import document
from mainline.serve.inputs import Row

SEED = 0
EVALUATIONS = 1000  # masked rows that are scored, each once for each golden row


class Explainer:
    """Explains rows by a scorer and the golden rows of its bundle."""

    def __init__(self, score: Callable[[list[Row]], np.ndarray], names: list[str],
                 background: list[Row]) -> None:  # fmt: skip
        """`score` gives (n, k) scores of n rows; `background` rows stand for what is not known."""
        self._score = score
        self._names = names
        self._background = background

    def __call__(self, row: Row) -> dict[str, Any]:
        """Scores, base value and contributions; see `mainline.serve.explain.document`.

        shap sees switches, not values: 1 takes a column from the row, 0 from the background. So
        categories, texts and missing values need no numbers, and stay together with their types.
        """
        from shap import PermutationExplainer

        width = len(self._names)

        def masked(switches: np.ndarray) -> np.ndarray:
            return self._masked(row, np.asarray(switches) > 0.5)

        explainer = PermutationExplainer(masked, np.zeros((1, width)), seed=SEED)
        rounds = max(1, min(10, EVALUATIONS // (2 * width + 1)))
        found = explainer(np.ones((1, width)), max_evals=rounds * (2 * width + 1), silent=True)
        scores = self._score([row])[0]
        values = np.asarray(found.values[0]).reshape(width, len(scores))
        base = self._masked(row, np.zeros((1, width), dtype=bool))[0]
        return document(self._names, scores.tolist(), base.tolist(), values.tolist())

    def _masked(self, row: Row, keep: np.ndarray) -> np.ndarray:
        """Mean scores (n, k) over the background of `row` with the columns of `keep` (n, m)."""
        rows = [
            {n: (row if on else other).get(n) for n, on in zip(self._names, switches, strict=True)}
            for switches in keep
            for other in self._background
        ]
        scores = self._score(rows)
        return np.asarray(scores.reshape(len(keep), len(self._background), -1).mean(axis=1))


def load(folder: Path, root: Path, digest: str) -> Explainer:
    """The explainer of a bundle; ValueError when it is not the one that is served."""
    import shap  # noqa: F401  # takes seconds, which no row should wait for

    from mainline.serve.scoring import Scorer
    from mainline.train.bundle import load as load_bundle

    bundle = load_bundle(folder, root)
    if bundle.digest != digest:
        raise ValueError("another model than the one that is served")
    scorer = Scorer(bundle)

    def score(rows: list[Row]) -> np.ndarray:
        return np.array([scores for scores, _ in scorer.score(rows)], dtype=float)

    names = [column["name"] for column in bundle.meta["raw"]]
    explainer = Explainer(score, names, [golden["row"] for golden in scorer.golden])
    explainer(scorer.golden[0]["row"])  # compiles what shap compiles at its first use
    return explainer


class _Watch:
    """Reads lines in a thread, so that the end of the input ends the process in mid-work."""

    def __init__(self, stream: BinaryIO, idle: float) -> None:
        self._stream = stream
        self._idle = idle
        self._lines: list[bytes] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while line := self._stream.readline():
            with self._changed:
                self._lines.append(line)
                self._changed.notify()
        os._exit(0)

    def next(self) -> bytes | None:
        """The next line; None after `idle` seconds without one."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._lines), self._idle)
            return self._lines.pop(0) if self._lines else None


def main(arguments: list[str]) -> None:
    """Answer until the input ends or nothing comes."""
    folder, root, digest, idle = arguments
    # What the forker's code prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    watch = _Watch(sys.stdin.buffer, float(idle))

    def tell(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()

    def told(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:  # its name alone: what it says may be personal
            tell({"error": type(error).__name__})
            return None

    explain = told(lambda: load(Path(folder), Path(root), digest))
    if explain is not None:
        if hasattr(os, "nice"):
            os.nice(10)  # /predict goes first
        tell({"ready": True})
        while (line := watch.next()) is not None:
            answer = told(functools.partial(_explained, explain, line))
            if answer is not None:
                tell(answer)
    os._exit(0)


def _explained(explain: Explainer, line: bytes) -> dict[str, Any]:
    return explain(json.loads(line))


if __name__ == "__main__":
    main(sys.argv[1:])
