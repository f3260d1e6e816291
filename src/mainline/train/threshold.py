"""The decision threshold of a binary model, chosen on the tune part and never on the test part."""

from __future__ import annotations

import numpy as np

from mainline.errors import DataError
from mainline.settings import Threshold


def choose(y: np.ndarray, scores: np.ndarray, rule: Threshold) -> float:
    """The threshold by `rule`; `y` (n,) of 0/1, `scores` (n,).

    A row is positive at or above it. Raises DataError when one class is missing.
    """
    positives, negatives = int(y.sum()), int((1 - y).sum())
    if rule.rule == "fixed":
        return float(rule.value or 0.0)
    if not positives or not negatives:
        raise DataError(
            "The tune part holds one class only, so no threshold can be chosen",
            "Add rows, or make split.tune larger",
        )
    # Candidates from high to low; at candidate i everything up to it is called positive.
    order = np.argsort(-scores, kind="stable")
    hits, ranked = np.cumsum(y[order]), scores[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    called = np.arange(1, len(y) + 1)[last]
    hits, levels = hits[last], ranked[last]
    recall, precision, fpr = hits / positives, hits / called, (called - hits) / negatives
    value = rule.value or 0.0
    if rule.rule == "max_fpr":
        fine = np.flatnonzero(fpr <= value)
        return float(levels[fine[-1]]) if len(fine) else float(np.nextafter(levels[0], np.inf))
    if rule.rule == "min_recall":
        return float(levels[np.flatnonzero(recall >= value)[0]])
    if rule.rule == "min_precision":
        fine = np.flatnonzero(precision >= value)
        return float(levels[fine[-1]]) if len(fine) else float(levels[precision.argmax()])
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(levels[f1.argmax()])
