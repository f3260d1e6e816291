"""How long one row takes, and how large the model is."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd

from mainline.evaluate.interval import at_most, exactly
from mainline.evaluate.subject import Subject
from mainline.train.bundle import FILES, Bundle
from mainline.verdict import Check

WARM, TIMES = 3, 25


def measure(model: Bundle, row: dict[str, Any] | None = None) -> float:
    """Milliseconds that `model` takes for one row, the median of 25; by default a made-up row.

    It changes from run to run, so it is judged where two models are measured side by side and
    stands in no verdict of `evaluate`.
    """
    frame = pd.DataFrame([row or model.meta["golden"][2]["row"]])
    spent = []
    for number in range(WARM + TIMES):
        began = time.perf_counter()
        model.decide(model.predict(frame))
        if number >= WARM:
            spent.append(time.perf_counter() - began)
    return 1000 * sorted(spent)[len(spent) // 2]


def size(subject: Subject) -> tuple[list[Check], dict[str, Any]]:
    """The bytes of the bundle, which a service loads and a store keeps, against `size_mb`."""
    found = sum((subject.model.folder / name).stat().st_size for name in FILES) / 1e6
    what = f"The model's files are {found:.3g} MB"
    check = at_most("size of the model", exactly(found), subject.limits.size_mb, what, len(FILES))
    return [check], {"megabytes": found, "limit": subject.limits.size_mb}
