"""How long the comparison takes, beside a loop over scikit-learn in the same run.

    python benchmarks/compare/measure.py --rows 100000
    python benchmarks/compare/measure.py --rows 1000000 --peer 0

Both draw paired bootstraps and measure average precision and the area under the ROC curve of two
models. The loop takes too long for all replicates: `--peer` of them are timed and multiplied up.
"""

from __future__ import annotations

import argparse
import platform
import resource
import sys
import time

import numpy as np

from mainline.compare.difference import CHUNK_CELLS, Pair, delong, differences, weights
from mainline.compare.weighted import metrics

POSITIVE = 0.02


def pair(rows: int, seed: int = 0) -> Pair:
    """Two correlated scores of one truth, one positive in fifty."""
    rng = np.random.default_rng(seed)
    y = (rng.random(rows) < POSITIVE).astype(int)
    shared = 1.5 * y + rng.normal(0, 1, rows)
    base, new = (shared + rng.normal(0, 0.3, rows) for _ in range(2))
    return Pair("binary", y, base[:, None], (base > 2).astype(int), new[:, None],
                (new > 2).astype(int))  # fmt: skip


def ours(two: Pair, replicates: int) -> float:
    """Seconds of all replicates of both metrics of both models, drawing included."""
    names = ["average_precision", "roc_auc"]
    began = time.perf_counter()
    sides = [metrics(names, "binary", two.y, s, d) for s, d in
             ((two.base_scores, two.base_decisions), (two.scores, two.decisions))]  # fmt: skip
    rng = np.random.default_rng(0)
    size = max(1, CHUNK_CELLS // len(two.y))
    for start in range(0, replicates, size):
        w = weights(two, min(size, replicates - start), rng)
        for name in names:
            sides[1][name](w) - sides[0][name](w)
    return time.perf_counter() - began


def loop(two: Pair, replicates: int) -> float:
    """Seconds of a loop: draw rows of each class, call scikit-learn twice for each model."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(0)
    strata = [np.flatnonzero(two.y == c) for c in (0, 1)]
    began = time.perf_counter()
    for _ in range(replicates):
        drawn = np.concatenate([rng.choice(own, len(own)) for own in strata])
        y = two.y[drawn]
        for scores in (two.base_scores[drawn, 0], two.scores[drawn, 0]):
            average_precision_score(y, scores)
            roc_auc_score(y, scores)
    return time.perf_counter() - began


def peak_mb() -> float:
    """The most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main() -> None:
    """Measure and print one table."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--rows", type=int, default=100_000)
    asked.add_argument("--replicates", type=int, default=1000)
    asked.add_argument("--peer", type=int, default=20, help="replicates of the loop; 0: none")
    given = asked.parse_args()
    two = pair(given.rows)
    lines = []
    own = ours(two, given.replicates)
    what = f"{given.replicates:,} paired bootstraps"
    lines.append((f"{what}, AP and AUC", f"{own:.2f} s", ""))
    began = time.perf_counter()
    delong(two.y, two.base_scores[:, 0], two.scores[:, 0])
    lines.append(("DeLong", f"{time.perf_counter() - began:.3f} s",
                  "0.1 s" if given.rows <= 100_000 else ""))  # fmt: skip
    began = time.perf_counter()
    differences(two, ["average_precision", "roc_auc"], given.replicates)
    lines.append(("`differences` as compare calls it: bootstrap and DeLong",
                  f"{time.perf_counter() - began:.2f} s", ""))  # fmt: skip
    lines.append(("most memory", f"{peak_mb():.0f} MB", "1,000 MB"))
    if given.peer:
        peer = loop(two, given.peer) * given.replicates / given.peer
        lines.append((f"the same by a loop over scikit-learn ({given.peer} timed, multiplied up)",
                      f"{peer:.1f} s", ""))  # fmt: skip
        least = "at least 15" if given.rows <= 100_000 else ""
        lines.append(("times faster", f"{peer / own:.0f}", least))
    print(f"{given.rows:,} rows, {int(two.y.sum()):,} positives; "
          f"Python {platform.python_version()}, {platform.system()}\n")  # fmt: skip
    print("| what | measured | limit |\n|---|---|---|")
    for line in lines:
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
