"""The timeline: every command of the story as a bar, in the lane of its act."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from mainline.loop import page_svg as svg

LEFT, RIGHT, TOP = 196.0, 14.0, 12.0
BAR, TRACK = 14.0, 32.0  # a bar, and the bar with its name
LETTER = 5.7
Placed = tuple[float, float, Mapping[str, Any]]  # seconds since the start, its seconds, the step


def timeline(acts: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]) -> str:
    """A lane for each act, a bar for each step that says when it ran; "" without any step."""
    placed = [s for s in map(_placed, steps) if s]
    if not placed:
        return ""
    end = max(start + seconds for start, seconds, _ in placed)
    across = svg.Scale(0, max(end, 1e-3), LEFT, svg.WIDTH - RIGHT)
    lanes, bars, y = [], [], TOP
    for i, act in enumerate(acts):
        mine = sorted((p for p in placed if p[2].get("act") == act.get("id")), key=lambda p: p[0])
        # Steps that follow each other may share a pixel and are still one after the other.
        tracks = svg.rows_of([_reach(across, p) for p in mine], gap=-2.5)
        height = 12 + TRACK * (max(tracks, default=0) + 1)
        lanes.append(svg.rect(0, y, svg.WIDTH, height, f"lane lane-{i % 2}", r=6))
        lanes += _name(i + 1, act.get("title"), y + height / 2 + 4)
        for track in range(max(tracks, default=-1) + 1):
            there = [p for p, t in zip(mine, tracks, strict=True) if t == track]
            bars += _track(across, there, y + 10 + TRACK * track)
        y += height + 4
    return svg.figure(
        "timeline", "Every command, when it ran and how it ended", _summary(placed, end), y + 22,
        [*lanes, *_axis(across, end, y), *bars],
        svg.legend([("v-pass", "PASS"), ("v-inconclusive", "INCONCLUSIVE"), ("v-fail", "FAIL"),
                    ("v-error", "ERROR"), ("v-none", "no verdict to give")]),
    )  # fmt: skip


def _placed(step: Mapping[str, Any]) -> Placed | None:
    at = svg.number(step.get("at"))
    return None if at is None else (at, svg.number(step.get("seconds")) or 0.0, step)


def _reach(across: svg.Scale, step: Placed) -> tuple[float, float]:
    start = across(step[0])
    return start, max(start + 3, across(step[0] + step[1]))


def _name(place: int, title: Any, middle: float) -> list[str]:
    lines = textwrap.wrap(str(title or ""), 25)[:2] or [""]
    first = middle - 7.5 * (len(lines) - 1)
    return [svg.text(12, middle, place, "strong"),
            *(svg.text(30, first + 15 * i, line) for i, line in enumerate(lines))]  # fmt: skip


def _track(across: svg.Scale, steps: Sequence[Placed], y: float) -> list[str]:
    """Bars one after the other, and below them the names that have room, long steps first."""
    out: list[str] = []
    taken: list[tuple[float, float]] = []
    for step in sorted(steps, key=lambda s: -s[1]):
        left, right = _reach(across, step)
        out += _bar(left, right, step, y)
        name = word(step[2].get("command"))
        start = min(left, svg.WIDTH - RIGHT - len(name) * LETTER)
        end = start + len(name) * LETTER + 4
        if name and all(end <= s or e <= start for s, e in taken):
            out.append(svg.text(start, y + BAR + 11, name, "tiny"))
            taken.append((start, end))
    return out


def _bar(left: float, right: float, step: Placed, y: float) -> list[str]:
    _, seconds, entry = step
    verdict = entry.get("verdict")
    told = (f"{entry.get('command', '')} · {entry.get('where') or 'main'} · "
            f"{verdict or 'no verdict'} · {seconds:.1f} s")  # fmt: skip
    css = svg.verdict_class(verdict)
    parts = [svg.rect(left, y, max(3.0, right - left - 1), BAR, f"bar {css}", told, r=2)]
    if verdict in ("FAIL", "ERROR", "INCONCLUSIVE"):
        parts.append(svg.text((left + right) / 2, y - 2, svg.MARKS[verdict], f"mark {css}",
                              "middle"))  # fmt: skip
    return parts


def word(command: Any) -> str:
    """The word that a command is known by: `./mainline data add x` is "data"."""
    words = str(command or "").split()
    if len(words) > 1 and words[0].endswith("mainline"):
        return words[1]
    return words[0] if words else ""


def _axis(across: svg.Scale, end: float, y: float) -> list[str]:
    out = []
    for tick in svg.ticks(0, end, 9):
        x = across(tick)
        out.append(svg.line(x, TOP - 6, x, y, "grid"))
        out.append(svg.text(x, y + 16, f"{svg.short(tick)} s", "tick", "middle"))
    return out


def _summary(placed: Sequence[Placed], end: float) -> str:
    counts = {v: sum(p[2].get("verdict") == v for p in placed) for v in svg.VERDICTS}
    found = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    return f"{len(placed)} commands within {end:.0f} seconds; verdicts: {found or 'none'}."
