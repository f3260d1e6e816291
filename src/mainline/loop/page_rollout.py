"""One rollout as a picture: who got the traffic, what went wrong, and the evidence of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mainline.eprocess import FIRES
from mainline.loop import page_svg as svg
from mainline.report.escape import html
from mainline.rollout.course import (
    ENDS,
    Course,
    any_bad,
    client,
    count,
    course,
    e_values,
    total,
)

LEFT, RIGHT = 52.0, 16.0
SHARE, BAD, EVIDENCE = 132.0, 62.0, 76.0  # heights of the three panels
GAP, LABEL = 32.0, 15.0
BINS = 90
LEAST_E, MOST_E = 0.05, 1000.0


def rollout(entry: Mapping[str, Any], name: str) -> str:
    """The figure of one rollout, or a sentence where there is nothing to be drawn."""
    version = str(entry.get("version") or "this version")
    if entry.get("outcome") == "first":
        return (f"<p><code>{html(version)}</code> is the first version: there is nothing to "
                "compare it with in production. Ready and right on the rows it was asked, it "
                f"took all traffic.{_client_words(entry)}</p>")  # fmt: skip
    found = course(entry.get("history"), version)
    if found is None or not found.stretches:
        return (f"<p class=\"absent\">No record of live traffic for <code>{html(version)}</code>: "
                "it did not come as far as a first stage here.</p>")  # fmt: skip
    return _figure(found, version, name) + f"<p>{_told(found)}{_client_words(entry)}</p>"


def _figure(found: Course, version: str, name: str) -> str:
    tail = max(found.end * 0.04, 0.3)
    across = svg.Scale(0, found.end + tail, LEFT, svg.WIDTH - RIGHT)
    labels = _label_rows(found, across)
    top = 8 + LABEL * (max(labels, default=0) + 1)
    body = _share(found, across, top, labels)
    y = top + SHARE + GAP
    if any_bad(found):
        body += _bad(found, across, y)
        y += BAD + GAP
    if found.looks:
        body += _evidence(found, across, y)
        y += EVIDENCE + GAP
    bottom = y - GAP
    body += _ending(found, across, top, bottom, max(labels) - labels[-1])
    for tick in svg.ticks(0, found.end, 9):
        body.append(svg.text(across(tick), bottom + 16, f"{svg.short(tick)} s", "tick", "middle"))
    key = svg.legend([("canary", f"canary ({version})"), ("stable", "stable"),
                      ("mirror", "copies only, answers thrown away")])  # fmt: skip
    title = f"The share of the traffic that {version} got"
    return svg.figure(name, title, _summary(found), bottom + 24, body, key)


def _label_rows(found: Course, across: svg.Scale) -> list[int]:
    """The row above the panel in which each stage is named, and at the end how it ended."""
    spans = [(across(s.start), across(s.start) + len(s.label) * svg.LETTER)
             for s in found.stretches]  # fmt: skip
    if found.ended:
        spans.append((across(found.end) - len(_how(found)) * svg.LETTER, across(found.end)))
    return svg.rows_of(spans)


def _how(found: Course) -> str:
    return f"{ENDS[found.ended]} after {found.end:.1f} s" if found.ended else ""


def _share(found: Course, across: svg.Scale, top: float, labels: Sequence[int]) -> list[str]:
    up = svg.Scale(0, 100, top + SHARE, top)
    out = [svg.rect(LEFT, top, svg.WIDTH - RIGHT - LEFT, SHARE, "area-stable")]
    corners = [(across(found.stretches[0].start), up(0))]
    for stretch, row in zip(found.stretches, labels, strict=False):
        x, end = across(stretch.start), across(stretch.end)
        if stretch.weight == 0:
            out.append(svg.rect(x, top, end - x, SHARE, "mirror"))
        corners += [(x, up(stretch.weight)), (end, up(stretch.weight))]
        height = top - 5 - LABEL * (max(labels) - row)
        out.append(svg.line(x, height - 9, x, top + SHARE, "stage"))
        out.append(svg.text(x + 3, height, stretch.label, "label"))
    if found.ended == "promoted":
        corners += [(across(found.end), up(100)), (svg.WIDTH - RIGHT, up(100))]
    corners.append((corners[-1][0], up(0)))
    out.append(svg.path(corners, "area-canary", close=True))
    out += _observed(found, across, up)
    for value in (0, 50, 100):
        out.append(svg.text(LEFT - 8, up(value) + 4, f"{value}%", "tick", "end"))
    return out


def _observed(found: Course, across: svg.Scale, up: svg.Scale) -> list[str]:
    """The share that was really seen in each look, as dots."""
    out = []
    for at, look in found.looks:
        stable, canary = (count(look, "n", arm) for arm in ("stable", "canary"))
        if stable + canary >= 20 and svg.number(look.get("weight")):
            share = 100 * canary / (stable + canary)
            told = f"{canary:.0f} of {stable + canary:.0f} requests went to the canary"
            out.append(svg.dot(across(at), up(share), 2, "seen", told))
    return out


def _bad(found: Course, across: svg.Scale, top: float) -> list[str]:
    """Failed or slow requests of each arm, in bins of time."""
    width = (svg.WIDTH - RIGHT - LEFT) / BINS
    bins: dict[str, list[float]] = {"stable": [0.0] * BINS, "canary": [0.0] * BINS}
    for at, look in found.looks:
        k = min(BINS - 1, int((across(at) - LEFT) / width))
        for arm in bins:
            # A request may be both slow and failed: the larger count is at least how many were bad.
            bins[arm][k] += max(count(look, "errors", arm), count(look, "slow", arm))
    most = max(5.0, *map(max, bins.values()))
    up = svg.Scale(0, most, top + BAD, top + 4)
    out = [svg.line(LEFT, top + BAD, svg.WIDTH - RIGHT, top + BAD, "axis"),
           svg.text(LEFT, top - 8, "failed or slow requests", "tick"),
           svg.text(LEFT - 8, top + 8, f"{most:.0f}", "tick", "end"),
           svg.text(LEFT - 8, top + BAD + 4, "0", "tick", "end")]  # fmt: skip
    for i, (arm, values) in enumerate(bins.items()):
        for k, value in enumerate(values):
            if value:
                x = LEFT + k * width + 1 + i * (width - 2) / 2
                out.append(svg.rect(x, up(value), (width - 2) / 2, top + BAD - up(value),
                                    f"fill-{arm}", f"{value:.0f} of {arm}"))  # fmt: skip
    return out


def _evidence(found: Course, across: svg.Scale, top: float) -> list[str]:
    up = svg.Scale(math.log(LEAST_E), math.log(MOST_E), top + EVIDENCE, top)
    limit = up(math.log(FIRES))
    values = e_values(found)
    shown = [(across(at), up(math.log(max(value, LEAST_E)))) for at, value in values]
    out = [svg.rect(LEFT, top, svg.WIDTH - RIGHT - LEFT, limit - top, "danger"),
           svg.line(LEFT, limit, svg.WIDTH - RIGHT, limit, "limit"),
           svg.text(LEFT - 8, limit + 4, f"{FIRES:g}", "tick", "end"),
           svg.text(LEFT - 8, up(0.0) + 4, "1", "tick", "end"),
           svg.line(LEFT, up(0.0), svg.WIDTH - RIGHT, up(0.0), "grid"),
           svg.text(LEFT, top - 8,
                    "evidence of errors or slowness (e-value): at 20 the guard rolls back", "tick"),
           svg.path(shown, "line-canary")]  # fmt: skip
    if values and values[-1][1] >= FIRES:
        out.append(svg.dot(*shown[-1], 4, "fill-fail", f"e = {values[-1][1]:.3g}"))
    return out


def _ending(found: Course, across: svg.Scale, top: float, bottom: float, row: int) -> list[str]:
    """The line at which it ended; `row` rows of labels stand between its words and the panel."""
    if found.ended is None:
        return []
    x, words = across(found.end), _how(found)
    css = "good" if found.ended == "promoted" else "bad"
    height = top - 5 - LABEL * row
    right = x - LEFT > len(words) * svg.LETTER
    return [
        svg.line(x, height - 9, x, bottom, f"end-{css}"),
        svg.text(x - 5 if right else x + 5, height, words, f"label halo label-{css}",
                 "end" if right else "start"),
    ]  # fmt: skip


def _summary(found: Course) -> str:
    stages = ", ".join(f"{s.name} at {s.weight:g}% for {s.end - s.start:.1f} s"
                       for s in found.stretches)  # fmt: skip
    ended = ENDS.get(found.ended or "", "not ended")
    return f"Stages: {stages}. It was {ended} after {found.end:.1f} s. {found.reason}"


def _told(found: Course) -> str:
    last = found.stretches[-1]
    canary, stable = total(found, "canary"), total(found, "stable")
    counted = f"{canary:,} requests of the canary and {stable:,} of stable were counted"
    if found.ended == "promoted":
        return f"All stages passed within {found.end:.1f} seconds; {counted}."
    if found.ended is None:
        return f"The record ends in the stage {html(last.name)}; {counted}."
    why = f": <q>{html(found.reason)}</q>" if found.reason else ""
    return (f"In the stage <b>{html(last.name)}</b>, {found.end - last.start:.1f} seconds after it "
            f"began, all traffic was sent back to stable{why}. {counted}.")  # fmt: skip


def _client_words(entry: Mapping[str, Any]) -> str:
    found = client(entry.get("client"))
    if "sent" not in found:
        return ""
    parts = [f"{found['sent']:,} sent", f"{found.get('lost', 0):,} lost"]
    if "wrong" in found:
        parts.append(f"{found['wrong']:,} answered wrongly")
    return " What the client saw: " + ", ".join(parts) + "."
