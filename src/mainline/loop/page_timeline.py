"""The timeline: every command of the story as a bar, in the lane of its act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mainline.loop import page_svg as svg

LEFT, RIGHT, TOP = 196.0, 14.0, 12.0
BAR, TRACK = 13.0, 31.0  # a bar, and the bar with its label
LETTER = 5.7


def timeline(acts: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]) -> str:
    """A lane for each act, a bar for each step that says when it ran; "" without any step."""
    placed = [s for s in map(_placed, steps) if s]
    if not placed:
        return ""
    end = max(start + seconds for start, seconds, _ in placed)
    across = svg.Scale(0, max(end, 1e-3), LEFT, svg.WIDTH - RIGHT)
    body, y = [], TOP
    for i, act in enumerate(acts):
        mine = sorted((p for p in placed if p[2].get("act") == act.get("id")), key=lambda p: p[0])
        tracks = svg.rows_of([_reach(across, p) for p in mine], gap=2)
        height = 12 + TRACK * (max(tracks, default=0) + 1)
        body.append(svg.rect(0, y, svg.WIDTH, height, f"lane lane-{i % 2}", r=6))
        body.append(svg.text(12, y + height / 2 + 4, i + 1, "strong"))
        body.append(svg.text(30, y + height / 2 + 4, _cut(act.get("title"), 27)))
        following = [_next_start(across, mine, tracks, k) for k in range(len(mine))]
        for step, track, limit in zip(mine, tracks, following, strict=True):
            body += _bar(across, step, y + 10 + TRACK * track, limit)
        y += height + 4
    return svg.figure(
        "timeline", "Every command, when it ran and how it ended", _summary(placed, end), y + 22,
        [*_axis(across, end, y), *body],
        svg.legend([("v-pass", "PASS"), ("v-inconclusive", "INCONCLUSIVE"), ("v-fail", "FAIL"),
                    ("v-error", "ERROR"), ("v-none", "no verdict to give")]),
    )  # fmt: skip


def _placed(step: Mapping[str, Any]) -> tuple[float, float, Mapping[str, Any]] | None:
    at = svg.number(step.get("at"))
    return None if at is None else (at, svg.number(step.get("seconds")) or 0.0, step)


def _reach(
    across: svg.Scale, step: tuple[float, float, Mapping[str, Any]]
) -> tuple[float, float]:
    start = across(step[0])
    return start, max(start + 3, across(step[0] + step[1]))


def _next_start(
    across: svg.Scale, mine: Sequence[tuple[float, float, Mapping[str, Any]]],
    tracks: Sequence[int], k: int,
) -> float:  # fmt: skip
    """Where the next bar of the same track begins: as far as a label may go."""
    later = [across(mine[j][0]) for j in range(k + 1, len(mine)) if tracks[j] == tracks[k]]
    return min(later, default=svg.WIDTH - RIGHT)


def _bar(
    across: svg.Scale, step: tuple[float, float, Mapping[str, Any]], y: float, limit: float
) -> list[str]:
    at, seconds, entry = step
    left, right = _reach(across, step)
    verdict = entry.get("verdict")
    told = (f"{entry.get('command', '')} · {entry.get('where') or 'main'} · "
            f"{verdict or 'no verdict'} · {seconds:.1f} s")  # fmt: skip
    parts = [svg.rect(left, y, right - left, BAR, f"bar {svg.verdict_class(verdict)}", told, r=2)]
    name = word(entry.get("command"))
    if left + len(name) * LETTER <= limit - 3:
        parts.append(svg.text(left, y + BAR + 10, name, "tiny"))
    if verdict in ("FAIL", "ERROR", "INCONCLUSIVE"):
        middle = (left + right) / 2
        parts.append(svg.text(middle, y + BAR - 2.5, svg.MARKS[verdict], "mark", "middle"))
    return parts


def word(command: Any) -> str:
    """The word that a command is known by: `./mainline data add x` is "data"."""
    words = str(command or "").split()
    if len(words) > 1 and words[0].endswith("mainline"):
        return words[1]
    return words[0] if words else ""


def _cut(title: Any, most: int) -> str:
    words = str(title or "")
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"


def _axis(across: svg.Scale, end: float, y: float) -> list[str]:
    out = []
    for tick in svg.ticks(0, end, 9):
        x = across(tick)
        out.append(svg.line(x, TOP - 6, x, y, "grid"))
        out.append(svg.text(x, y + 16, f"{svg.short(tick)} s", "tick", "middle"))
    return out


def _summary(placed: Sequence[tuple[float, float, Mapping[str, Any]]], end: float) -> str:
    counts = {v: sum(p[2].get("verdict") == v for p in placed) for v in svg.VERDICTS}
    found = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    return f"{len(placed)} commands within {end:.0f} seconds; verdicts: {found or 'none'}."
