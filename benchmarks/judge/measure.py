"""How often the judge promotes, rolls back and holds, beside a z-test that peeks.

python benchmarks/judge/measure.py --rollouts 1000
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from simulate import Case, Outcome, bake, peeking, rollout

CASES = (
    Case("1% to 1%", 0.01, 0.01),
    Case("1% to 1.5%", 0.01, 0.015),
    Case("1% to 2%", 0.01, 0.02),
    Case("1% to 5%", 0.01, 0.05),
    Case("0 to 0", 0.0, 0.0),
    Case("1% to half", 0.01, 0.5),
    Case("skewed users, equal", 0.002, 0.002, users=True),
    Case("skewed users, 1% to 3%", 0.01, 0.03, users=True),
    Case("no data", 0.01, 0.01, traffic=False),
    Case("torn log", 0.01, 0.01, log="torn"),
    Case("late log", 0.01, 0.01, log="late"),
)
BAKED = (*CASES[:4], Case("1% to 3%", 0.01, 0.03), Case("1% to half", 0.01, 0.5))


def percent(outcomes: list[Outcome], result: str) -> str:
    """The share that ended so."""
    return f"{100 * sum(o.result == result for o in outcomes) / len(outcomes):.1f}%"


def needed(outcomes: list[Outcome], result: str) -> str:
    """Requests of those that ended so: all (canary's), median and 90%."""
    found = [o for o in outcomes if o.result == result]
    if not found:
        return "-"
    total = np.quantile([o.requests for o in found], [0.5, 0.9])
    canary = np.quantile([o.canary for o in found], [0.5, 0.9])
    return f"{total[0]:,.0f} / {total[1]:,.0f} ({canary[0]:,.0f} / {canary[1]:,.0f})"


def staged(pool: ProcessPoolExecutor, rollouts: int, only: str) -> None:
    """Print the table of the canary's plan, and of the z-test."""
    print("| errors | promoted | rolled back | held | requests, promoted | rolled back | "
          "z-test: promoted | rolled back |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for case in CASES:
        if only not in case.name:
            continue
        seeds = range(rollouts)
        found = list(pool.map(partial(rollout, case), seeds, chunksize=20))
        other = list(pool.map(partial(peeking, case), seeds, chunksize=20))
        row = [case.name, *(percent(found, r) for r in ("promoted", "rolled back", "held")),
               needed(found, "promoted"), needed(found, "rolled back"),
               *(percent(other, r) for r in ("promoted", "rolled back"))]  # fmt: skip
        print("| " + " | ".join(row) + " |", flush=True)


def baked(pool: ProcessPoolExecutor, rollouts: int, only: str) -> None:
    """Print the table of the watch after 100%."""
    print("\n| bake, errors | taken back | after requests |\n|---|---|---|")
    for case in BAKED:
        if only not in case.name:
            continue
        found = list(pool.map(partial(bake, case), range(rollouts), chunksize=20))
        print(f"| {case.name} | {percent(found, 'taken back')} | "
              f"{needed(found, 'taken back')} |", flush=True)  # fmt: skip


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rollouts", type=int, default=1000)
    parser.add_argument("--only", default="", help="cases whose name has this")
    parser.add_argument("--plan", choices=("canary", "bake"))
    asked = parser.parse_args()
    began = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        if asked.plan != "bake":
            staged(pool, asked.rollouts, asked.only)
        if asked.plan != "canary":
            baked(pool, asked.rollouts, asked.only)
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
