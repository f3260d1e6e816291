"""The nearest flip: how little has to change in one column for another decision."""

from __future__ import annotations

from typing import Any

import numpy as np

from mainline.evaluate.subject import Subject

ROWS = 20
STEPS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
OTHERS = 3


def nearest(subject: Subject) -> dict[str, Any] | None:
    """For the test rows next to the threshold, the smallest change of one column that flips them.

    Numbers move by steps in units of their column's spread; a category becomes one of the three
    most frequent others. Returns `{"rows", "flipped", "columns": [{"column", "rows", "smallest"}]}`
    with `rows` the number that the column flips, the most first, and `smallest` null for
    categories; None for a regression. It is shown and decides nothing.
    """
    if subject.task == "regression":
        return None
    rows = np.argsort(_margin(subject), kind="stable")[:ROWS]
    probes = [*_numbers(subject, rows), *_categories(subject, rows)]
    try:
        answers = subject.ask([frame for _, _, frame in probes])
    except Exception:
        return {"rows": len(rows), "flipped": 0, "columns": [], "raised": True}
    least: dict[str, np.ndarray] = {}
    for (column, size, _), scores in zip(probes, answers, strict=True):
        changed = subject.changed(subject.scores[rows], scores)
        sizes = np.where(changed, size, np.inf)
        least[column] = np.minimum(least.get(column, sizes), sizes)
    every = np.array(list(least.values())).reshape(len(least), len(rows))
    columns = [_told(subject, c, sizes) for c, sizes in least.items() if np.isfinite(sizes).any()]
    columns.sort(key=lambda c: (-c["rows"], c["column"]))
    return {"rows": len(rows), "flipped": int(np.isfinite(every).any(axis=0).sum()),
            "columns": columns}  # fmt: skip


def _margin(subject: Subject) -> np.ndarray:
    """How far each test row is from another decision, shape (n,)."""
    if subject.task == "binary":
        threshold = 0.5 if subject.model.threshold is None else subject.model.threshold
        return np.abs(subject.scores[:, 0] - threshold)
    ranked = np.sort(subject.scores, axis=1)
    return ranked[:, -1] - ranked[:, -2]


def _numbers(subject: Subject, rows: np.ndarray) -> list[tuple[str, float, Any]]:
    probes = []
    for column, number in subject.numbers.items():
        values = subject.test[column].to_numpy()[rows]
        for size in STEPS:
            for sign in (-1, 1):
                moved = number.fit(values + sign * size * number.spread)
                probes.append((column, size, subject.at(rows, {column: moved})))
    return probes


def _categories(subject: Subject, rows: np.ndarray) -> list[tuple[str, float, Any]]:
    probes = []
    for column in subject.features:
        if column not in subject.numbers and subject.test[column].dtype == object:
            top = subject.test[column].value_counts().index[: OTHERS + 1]
            probes += [(column, 0.0, subject.at(rows, {column: value})) for value in top]
    return probes


def _told(subject: Subject, column: str, sizes: np.ndarray) -> dict[str, Any]:
    flipped = sizes[np.isfinite(sizes)]
    smallest = float(flipped.min()) if column in subject.numbers else None
    return {"column": column, "rows": len(flipped), "smallest": smallest}
