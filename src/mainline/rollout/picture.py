"""One rollout's record as a picture: who got the traffic, what went wrong, what it was judged by.

Arms differ in colour and also in how they are drawn (plain and solid, hatched and dashed), so that
nothing is lost without colour.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mainline.eprocess import FIRES
from mainline.errors import NotMeasured, UsageError
from mainline.files import replacing
from mainline.report.numbers import number
from mainline.rollout.course import ENDS, Course, any_bad, count, course, kind

# The colours of the loop's page.
STABLE, CANARY, GOOD, BAD = "#4f74a8", "#cf6a08", "#1b7846", "#c0312b"
INK, SOFT = "#1f2430", "#5b616c"
COPIES = "#d9a06c"
BINS = 90
LETTER = 0.0092  # the width of a letter over a panel, as a share of the panel's width
LOW, HIGH = 0.05, 1e4  # the e-values that are drawn; what lies outside is drawn at the edge
BACK = ("rolled-back", "aborted")
KINDS = {"errors": "-", "latency": ":"}
SETTINGS: Any = {"svg.hashsalt": "mainline", "font.size": 9, "hatch.linewidth": 0.8}


def draw(history: Sequence[Mapping[str, Any]], path: Path, version: str = "") -> Path:
    """Draw the last rollout of `version` (or of all) in `history` into `path`; returns `path`.

    The form is that of its suffix (.svg, .png, .pdf); the same record is the same bytes. Raises
    NotMeasured (12) where nothing was rolled out, UsageError (2) for another suffix.
    """
    if path.suffix not in (".svg", ".png", ".pdf"):
        raise UsageError(f"{path.name} is no picture", "Name a file that ends in .svg or .png")
    found = course(list(history), version)
    if found is None or not found.weights:
        raise NotMeasured(
            f"There is no rollout of {version or 'any version'} in the record",
            "Start one with `./mainline rollout start VERSION`",
        )
    metadata = {".svg": {"Date": None}, ".png": {"Software": None}, ".pdf": {"CreationDate": None}}
    with mpl.rc_context(SETTINGS), replacing(path) as temporary:
        drawn(found).savefig(temporary, metadata=metadata[path.suffix])
    return path


def drawn(found: Course) -> Figure:
    """The figure of one rollout: shares, requests, errors and evidence over the same time."""
    figure = Figure(figsize=(10, 6.2), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    share, requests, errors, evidence = figure.subplots(
        4, 1, sharex=True, height_ratios=(3.2, 1.9, 1.5, 2)
    )
    figure.subplots_adjust(left=0.075, right=0.985, top=0.83, bottom=0.105, hspace=0.42)
    last = _last(found)
    unit, size = _unit(last)
    for axes in (share, requests, errors, evidence):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=SOFT, labelsize=8)
        axes.set_xlim(0, last / size)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _share(share, found, last, size)
    _requests(requests, found, size)
    _errors(errors, found, size)
    _evidence(evidence, found, size)
    _marks((share, requests, errors, evidence), found, size, last)
    evidence.set_xlabel(f"{unit} since the start", fontsize=8, color=SOFT, loc="right")
    _words(figure, found)
    _labels(share, found, size)
    _legend(figure, share, requests)
    return figure


def _last(found: Course) -> float:
    times = [at for at, _ in (*found.changes, *found.looks)]
    return max(1.0, *times) * 1.03


def _unit(seconds: float) -> tuple[str, float]:
    for name, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds > 3 * size:
            return name, size
    return "seconds", 1.0


def _title(axes: Axes, words: str) -> None:
    axes.set_title(words, loc="left", fontsize=8.5, color=INK, pad=4)


def _share(axes: Axes, found: Course, last: float, size: float) -> None:
    """The new version's share as steps, the rest being stable's; dots are what was really seen."""
    at = np.array([t for t, _ in found.weights] + [last]) / size
    weight = np.array([w for _, w in found.weights])
    weight = np.append(weight, weight[-1])
    axes.fill_between([0, last / size], 100, color=STABLE, alpha=0.22, lw=0)
    axes.fill_between(at, weight, step="post", facecolor="#f6d3ae", edgecolor=CANARY, hatch="////",
                      lw=0, label="share of the new version")  # fmt: skip
    axes.step(at, weight, where="post", color=CANARY, lw=1.6)
    for i, stretch in enumerate(s for s in found.stretches if not s.weight):
        axes.axvspan(stretch.start / size, stretch.end / size, facecolor="none", edgecolor=COPIES,
                     hatch="\\\\\\\\", lw=0, label="" if i else "copies only")  # fmt: skip
    looks = [(t, count(look, "n", "canary"), count(look, "n", "stable"))
             for t, look in found.looks
             if look.get("weight") and look.get("stage") != "promoted"]  # fmt: skip
    seen = [(t / size, 100 * c / (c + s)) for t, c, s in looks if c + s >= 20]
    if seen:
        axes.plot(*zip(*seen, strict=True), ls="", marker="o", ms=2.6, color=INK, mew=0,
                  label="share seen")  # fmt: skip
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 25, 50, 75, 100], labels=["0%", "", "50%", "", "100%"])


def _new(found: Course, name: str, arm: str) -> tuple[np.ndarray, np.ndarray]:
    """(seconds of each look, what it found new) of one arm; copies are counted in the totals."""
    new, before = [], 0.0
    for _, look in found.looks:
        total = count(look, "total", arm)
        copies = name == "n" and arm == "canary" and not look.get("weight")
        new.append(max(0.0, total - before) if copies else count(look, name, arm))
        before = total
    return np.array([t for t, _ in found.looks]), np.array(new)


def _edges(found: Course) -> np.ndarray:
    """The bins of the counts: half a second at least, up to the last look."""
    start = found.stretches[0].start if found.stretches else 0.0
    end = max([t for t, _ in found.looks] + [start + 0.5])
    return np.linspace(start, end, min(BINS, max(1, int((end - start) * 2))) + 1)


def _spread(edges: np.ndarray, at: np.ndarray, new: np.ndarray, least: float) -> np.ndarray:
    """Counts per bin: what a look found came in since the look before.

    It is spread over that time where it is longer than `least` seconds, else it is in one bin.
    """
    before = np.r_[edges[0], at[:-1]]
    long = at - before > least
    parts = np.clip((edges[:, None] - before) / np.where(long, at - before, 1.0), 0, 1)
    so_far = np.where(long, parts, edges[:, None] >= at) @ new
    return np.diff(so_far)


def _requests(axes: Axes, found: Course, size: float) -> None:
    _title(axes, "requests a second")
    if not found.looks:
        _nothing(axes, "nothing was counted")
        return
    edges = _edges(found)
    for arm, colour, line in (("stable", STABLE, "-"), ("canary", CANARY, "--")):
        whose = "old version's" if arm == "stable" else "new version's"
        at, new = _new(found, "n", arm)
        rate = _spread(edges, at, new, 0.0) / np.diff(edges)
        axes.stairs(rate, edges / size, color=colour, ls=line, lw=1.5, baseline=None,
                    label=f"{whose} requests")  # fmt: skip
    axes.set_ylim(bottom=0)


def _errors(axes: Axes, found: Course, size: float) -> None:
    edges = _edges(found)
    width = float(np.diff(edges)[0])
    _title(axes, f"failed or slow requests in {_spoken(width)}")
    if not any_bad(found):
        _nothing(axes, "none" if found.looks else "nothing was counted")
        return
    for i, (arm, colour) in enumerate((("stable", STABLE), ("canary", CANARY))):
        # A request may be both failed and slow: the larger count is at least how many were bad.
        (at, failed), (_, slow) = _new(found, "errors", arm), _new(found, "slow", arm)
        bins = _spread(edges, at, np.maximum(failed, slow), width)
        half = width / 2 / size
        axes.bar(edges[:-1] / size + i * half, bins, half, align="edge", lw=0.6, edgecolor=colour,
                 facecolor="#f6d3ae" if i else colour, hatch="//////" if i else "")  # fmt: skip
    axes.set_ylim(bottom=0)


def _nothing(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.45, words, transform=axes.transAxes, ha="center", color=SOFT, fontsize=9)
    axes.set_yticks([0])


def _evidence(axes: Axes, found: Course, size: float) -> None:
    _title(axes, f"evidence against the new version (e-value): at {FIRES:g} it is rolled back")
    axes.set_yscale("log")
    axes.set_ylim(LOW, HIGH)
    axes.set_yticks([0.1, 1, FIRES, 1000], labels=["0.1", "1", f"{FIRES:g}", "1,000"])
    axes.minorticks_off()
    axes.axhspan(FIRES, HIGH, color=BAD, alpha=0.07, lw=0)
    axes.axhline(FIRES, color=BAD, ls=(0, (5, 3)), lw=1)
    for name, line in KINDS.items():
        points = [(t / size, min(HIGH, max(LOW, e))) for t, look in found.looks
                  if (e := _e(look, name)) is not None]  # fmt: skip
        if points:
            axes.plot(*zip(*points, strict=True), color=CANARY, ls=line, lw=1.6, label=name)
    if axes.lines[1:]:
        axes.legend(loc="lower right", bbox_to_anchor=(1.005, 0.97), ncols=2, frameon=False,
                    fontsize=8, handlelength=2.6, borderpad=0)  # fmt: skip


def _e(look: Mapping[str, Any], name: str) -> float | None:
    found = look.get("e")
    return number(found.get(name)) if isinstance(found, Mapping) else None


def _marks(every: Sequence[Axes], found: Course, size: float, last: float) -> None:
    """Lines at changes of stage and at endings, a tick at each PASS, and bands while paused."""
    paused = None
    for at, event in found.changes:
        name = kind(event)
        if name == "stage":
            _line(every, at / size, SOFT, (0, (1, 2)))
        elif name in ENDS or name == "settled":
            bad = name in BACK
            _line(every, at / size, BAD if bad else GOOD, (0, (4, 2)) if bad else "-")
        elif name == "verdict" and event.get("verdict") == "PASS":
            every[0].plot([at / size], [100], marker="v", ls="", color=GOOD, ms=7, clip_on=False,
                          zorder=5, label="a stage passed")  # fmt: skip
        elif name == "paused" and paused is None:
            paused = at
        elif name == "resumed" and paused is not None:
            _pause(every, paused / size, at / size)
            paused = None
    if paused is not None:
        _pause(every, paused / size, last / size)


def _line(every: Sequence[Axes], at: float, colour: str, style: Any) -> None:
    for axes in every:
        axes.axvline(at, color=colour, ls=style, lw=1.2)


def _pause(every: Sequence[Axes], start: float, end: float) -> None:
    for axes in every:
        axes.axvspan(start, end, facecolor="#7b818c", alpha=0.22, lw=0)
    every[0].text((start + end) / 2, 50, "paused", ha="center", va="center", rotation=90,
                  fontsize=8.5, color=INK)  # fmt: skip


def _words(figure: Figure, found: Course) -> None:
    """What it was and how it ended, above all."""
    first = next((e for _, e in found.changes), {})
    endings = _endings(found)
    ended = ", ".join(_ended(e) + (f" after {_spoken(at)}" if at else "") for at, e in endings)
    title = f"{first.get('version') or 'A rollout'}: {ended or 'not ended'}"
    last, why = next(((e, str(e["reason"])) for _, e in reversed(endings) if e.get("reason")),
                     ({}, ""))  # fmt: skip
    figure.text(0.015, 0.972, textwrap.shorten(title, 110), fontsize=11.5, weight="bold",
                color=INK, va="center", parse_math=False)  # fmt: skip
    said = [(str(first.get("plan") or ""), SOFT), (why, BAD if kind(last) in BACK else SOFT)]
    for i, (words, colour) in enumerate((w, c) for w, c in said if w):
        figure.text(0.015, 0.938 - 0.026 * i, textwrap.shorten(words, 160), fontsize=8.5,
                    color=colour, va="center", parse_math=False)  # fmt: skip


def _endings(found: Course) -> list[tuple[float, Mapping[str, Any]]]:
    return [(at, e) for at, e in found.changes if kind(e) in ENDS or kind(e) == "settled"]


def _ended(event: Mapping[str, Any]) -> str:
    return ENDS.get(kind(event), "settled")


def _labels(axes: Axes, found: Course, size: float) -> None:
    """Each stage and each ending, named over its line; in rows where they would overlap."""
    named = [(s.start / size, s.name, INK) for s in found.stretches]
    for at, event in _endings(found):
        colour = BAD if kind(event) in BACK else GOOD
        named.append((at / size, _ended(event), colour))
    width = axes.get_xlim()[1]
    rows: list[float] = []
    for at, words, colour in sorted(named):
        long = (len(words) + 1) * LETTER * width
        start = min(at, width * (1 + LETTER) - long)
        row = next((i for i, end in enumerate(rows) if end <= start), len(rows))
        rows[row : row + 1] = [start + long]
        axes.annotate(words, (start, 1), (0, 9 + 11 * row), xycoords=("data", "axes fraction"),
                      textcoords="offset points", fontsize=8.5, color=colour, weight="bold",
                      annotation_clip=False, parse_math=False)  # fmt: skip


def _legend(figure: Figure, *every: Axes) -> None:
    """One key for all panels, below them."""
    entries: dict[str, Any] = {}
    for axes in every:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(list(entries.values()), list(entries), loc="lower left", ncols=len(entries),
                  frameon=False, fontsize=8, columnspacing=1.4,
                  bbox_to_anchor=(0.06, 0.0))  # fmt: skip


def _spoken(seconds: float) -> str:
    unit, size = _unit(seconds)
    return f"{seconds / size:.1f} {unit}"
