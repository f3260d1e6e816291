"""How often the rule says PASS, FAIL and INCONCLUSIVE, beside "the metric went up".

    python benchmarks/verdicts/measure.py --pairs 1000

Scores are binormal: AUC .85 for the base, correlation .9 between the two models within a class,
one positive in ten. Each delta is tried on the same draws: .005, and what a table of that size can
carry, which is the smallest loss that it shows four times in five. "Went up" is the habit of
comparing two stored numbers, on the same rows and on two samples.
"""

from __future__ import annotations

import argparse
from collections import Counter
from statistics import NormalDist

import numpy as np

from mainline.compare.difference import Z95, Difference, decide, delong

AUC, CORRELATION, POSITIVE = 0.85, 0.9, 0.1
TRUE = (0.0, -0.005, -0.01, -0.02, 0.01)


def shift(auc: float) -> float:
    """How far the positives' normal scores stand above the negatives' for this AUC."""
    return NormalDist().inv_cdf(auc) * np.sqrt(2)


def draw(rng: np.random.Generator, rows: int, true: float) -> tuple[np.ndarray, ...]:
    """y (n,), the base's scores and the candidate's."""
    y = np.zeros(rows, dtype=int)
    y[: int(rows * POSITIVE)] = 1
    shared = rng.normal(0, np.sqrt(CORRELATION), rows)
    own = np.sqrt(1 - CORRELATION)
    base, new = (shared + rng.normal(0, own, rows) + shift(a) * y for a in (AUC, AUC + true))
    return y, base, new


def count(
    rows: int, true: float, deltas: list[float], pairs: int, seed: int = 0
) -> Counter[tuple[float, str]]:
    """How many pairs get each verdict by each delta, and how many have a higher metric."""
    rng = np.random.default_rng([seed, rows, round(1e4 * (true + 1))])
    seen: Counter[tuple[float, str]] = Counter()
    for _ in range(pairs):
        y, base, new = draw(rng, rows, true)
        a, b, se = delong(y, base, new)
        found = Difference("roc_auc", a, b, b - a, b - a - Z95 * se, b - a + Z95 * se, se, rows)
        elsewhere = delong(*draw(rng, rows, true))[1]
        for delta in deltas:
            seen[delta, decide(found, delta).value] += 1
            seen[delta, "same rows"] += b > a
            seen[delta, "other rows"] += elsewhere > a
    return seen


def carried(rows: int) -> float:
    """The smallest loss that these rows show four times in five, rounded up to a thousandth."""
    errors = [delong(*draw(np.random.default_rng(seed), rows, 0.0))[2] for seed in range(20)]
    return float(np.ceil(1000 * 2.486 * np.mean(errors)) / 1000)


def main() -> None:
    """Measure and print one table."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--pairs", type=int, default=1000)
    asked.add_argument("--rows", type=int, nargs="*", default=[2000, 20000])
    given = asked.parse_args()
    names = ("PASS", "INCONCLUSIVE", "FAIL", "same rows", "other rows")
    head = ("rows", "true difference", "delta", *names[:3], "went up, same rows",
            "went up, other rows")  # fmt: skip
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for rows in given.rows:
        deltas = [0.005, carried(rows)]
        for true in TRUE:
            found = count(rows, true, deltas, given.pairs)
            for delta in deltas:
                cells = [f"{found[delta, name] / given.pairs:.1%}" for name in names]
                print(f"| {rows:,} | {true:+g} | {delta:g} | " + " | ".join(cells) + " |",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
