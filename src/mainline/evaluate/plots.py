"""Plots of one evaluation: PNG by matplotlib, and the points of the curves for `dvc plots`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mainline.files import replacing

BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#9ca3af"
MOST_POINTS = 500


def draw_all(
    folder: Path, task: str, y: np.ndarray, scores: np.ndarray, decisions: np.ndarray,
    classes: Sequence[str] | None, threshold: float | None,
) -> list[Path]:  # fmt: skip
    """Draw the plots of `task` into `folder`; returns their paths."""
    if task == "binary":
        return _binary(folder, y, scores[:, 0], decisions, classes or ("0", "1"), threshold)
    if task == "multiclass":
        return [
            _confusion(folder, y, decisions, classes or ()),
            _score_plot(folder, y, scores.max(axis=1), None),
        ]
    return [_predicted(folder, y, decisions)]


def _axes(title: str, x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(5, 4), dpi=100, layout=None)
    FigureCanvasAgg(figure)
    # A fixed frame: a layout that is computed draws everything twice.
    axes = figure.add_axes((0.14, 0.13, 0.82, 0.78))
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _save(figure: Figure, path: Path) -> Path:
    with replacing(path) as temporary:
        # Without the name and version of the program the bytes depend on the picture alone.
        figure.savefig(temporary, metadata={"Software": None})
    return path


def _thin(*columns: np.ndarray) -> list[np.ndarray]:
    keep = np.unique(np.linspace(0, len(columns[0]) - 1, MOST_POINTS).round().astype(int))
    return [c[keep] for c in columns]


def _points(path: Path, **columns: np.ndarray) -> Path:
    with replacing(path) as temporary:
        pd.DataFrame(columns).round(6).to_csv(temporary, index=False)
    return path


def _binary(
    folder: Path, y: np.ndarray, p: np.ndarray, d: np.ndarray, classes: Sequence[str],
    threshold: float | None,
) -> list[Path]:  # fmt: skip
    from sklearn.metrics import precision_recall_curve, roc_curve

    out = []
    if 0 < y.sum() < len(y):
        fpr, tpr = _thin(*roc_curve(y, p)[:2])
        figure, axes = _axes("ROC", "false positive rate", "true positive rate")
        axes.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1)
        axes.plot(fpr, tpr, color=BLUE)
        out += [_save(figure, folder / "roc.png"), _points(folder / "roc.csv", fpr=fpr, tpr=tpr)]
        precision, recall, _ = precision_recall_curve(y, p)
        precision, recall = _thin(precision[::-1], recall[::-1])
        figure, axes = _axes("Precision and recall", "recall", "precision")
        axes.axhline(y.mean(), color=GREY, ls="--", lw=1)
        axes.plot(recall, precision, color=BLUE)
        out.append(_save(figure, folder / "precision_recall.png"))
        out.append(_points(folder / "precision_recall.csv", recall=recall, precision=precision))
    out.append(_calibration(folder, y, p))
    out.append(_confusion(folder, y, d, classes))
    out.append(_score_plot(folder, y, p, threshold))
    return out


def _calibration(folder: Path, y: np.ndarray, p: np.ndarray) -> Path:
    chunks = [c for c in np.array_split(np.argsort(p, kind="stable"), 10) if len(c)]
    said, seen = [p[c].mean() for c in chunks], [y[c].mean() for c in chunks]
    figure, axes = _axes("Calibration (tenths of the rows)", "predicted share", "observed share")
    top = max(*said, *seen, 1e-6) * 1.05
    axes.plot([0, top], [0, top], color=GREY, ls="--", lw=1)
    axes.plot(said, seen, color=BLUE, marker="o")
    return _save(figure, folder / "calibration.png")


def _confusion(folder: Path, y: np.ndarray, d: np.ndarray, classes: Sequence[str]) -> Path:
    k = len(classes)
    counts = np.zeros((k, k), dtype=int)
    np.add.at(counts, (y.astype(int), d.astype(int)), 1)
    figure, axes = _axes("Confusion", "decided", "true")
    axes.grid(visible=False)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if k <= 12:
        for i in range(k):
            for j in range(k):
                ink = "white" if shares[i, j] > 0.5 else "black"
                axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=ink)
    names = [c if len(c) <= 16 else c[:15] + "…" for c in classes]
    # parse_math: a class called `$x$` is a name and no formula.
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(range(k), labels=names)
        for label in axis.get_ticklabels():
            label.set_parse_math(False)
    return _save(figure, folder / "confusion.png")


def _score_plot(folder: Path, y: np.ndarray, p: np.ndarray, threshold: float | None) -> Path:
    figure, axes = _axes("Scores", "score", "share of the class")
    bins = np.linspace(0, 1, 41)
    groups = (
        [("negative", y == 0, GREY), ("positive", y == 1, ORANGE)]
        if threshold is not None
        else [("all", np.ones(len(y), bool), BLUE)]
    )
    for name, mask, colour in groups:
        if mask.any():
            weights = np.full(int(mask.sum()), 1 / mask.sum())
            axes.hist(p[mask], bins=bins, weights=weights, alpha=0.65, color=colour, label=name)
    if threshold is not None:
        axes.axvline(threshold, color="black", ls="--", lw=1, label=f"threshold {threshold:.3f}")
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.legend(frameon=False)
    return _save(figure, folder / "scores.png")


def _predicted(folder: Path, y: np.ndarray, d: np.ndarray) -> Path:
    figure, axes = _axes("Predicted and true", "true", "predicted")
    low, high = float(min(y.min(), d.min())), float(max(y.max(), d.max()))
    axes.plot([low, high], [low, high], color=GREY, ls="--", lw=1)
    keep = np.linspace(0, len(y) - 1, min(len(y), 3000)).astype(int)
    axes.scatter(y[keep], d[keep], s=5, alpha=0.3, color=BLUE)
    return _save(figure, folder / "predicted.png")
