"""Production, watched: drift by window, recall by month, and what the monitor asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from mainline.loop import page_svg as svg
from mainline.report import html as house
from mainline.report.escape import html

LEFT, RIGHT = 52.0, 16.0
DRIFT, RECALL = 210.0, 230.0
MOST = 10.0  # times the threshold; a larger ratio is written at its bar
LEVELS = ("quiet", "watch", "alert", "incident")
Row = Mapping[str, Any]


def drift(windows: Sequence[Row], retrained: Any = None) -> str:
    """A bar a window: its most drifted column's PSI as a multiple of its threshold.

    `retrained` is the month at whose end a new model, with a new reference, took over.
    """
    dated = [w for w in ((_day(r.get("start")), _day(r.get("end")), r) for r in windows)
             if w[0] and w[1]]  # fmt: skip
    if not dated:
        return '<p class="absent">No window of production was looked at for drift.</p>'
    days = [d.toordinal() for w in dated for d in w[:2] if d]
    across = svg.Scale(min(days), max(days), LEFT, svg.WIDTH - RIGHT)
    ratios = [r for r in (svg.number(w[2].get("ratio")) for w in dated) if r is not None]
    high = min(MOST, max([1.6, *ratios]) * 1.12)
    top = 26.0
    up = svg.Scale(0, high, top + DRIFT, top)
    body = _months(min(days), max(days), across, top, top + DRIFT)
    for tick in svg.ticks(0, high, 5):
        body.append(svg.text(LEFT - 8, up(tick) + 4, f"{svg.short(tick)}×", "tick", "end"))
        body.append(svg.line(LEFT, up(tick), svg.WIDTH - RIGHT, up(tick), "grid"))
    named: set[str] = set()
    for start, end, row in dated:
        if start and end:
            body += _window(across(start.toordinal()), across(end.toordinal()), row, up, named)
    body.append(svg.line(LEFT, up(1), svg.WIDTH - RIGHT, up(1), "limit"))
    body.append(svg.text(LEFT + 4, up(1) - 5, "threshold", "label halo label-bad"))
    body += _new_model(dated, retrained, across, top)
    key = svg.legend([(f"l-{level}", level) for level in LEVELS] + [("l-none", "no verdict")])
    title = "Drift by week: the most drifted column, in multiples of its threshold"
    return svg.figure("drift", title, _drift_summary(windows), top + DRIFT + 26, body, key)


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


def _months(first: int, last: int, across: svg.Scale, top: float, bottom: float) -> list[str]:
    """A band for each month, every other one shaded, with its name below."""
    out = []
    begin = date.fromordinal(first).replace(day=1)
    k = 0
    while begin.toordinal() < last:
        following = (begin + timedelta(days=32)).replace(day=1)
        x, end = across(begin.toordinal()), across(following.toordinal())
        if k % 2 == 0:
            out.append(svg.rect(x, top, end - x, bottom - top, "band"))
        if end - x > 30:
            out.append(svg.text((x + end) / 2, bottom + 18, f"{begin:%B}", "tick", "middle"))
        begin, k = following, k + 1
    return out


def _window(x: float, end: float, row: Row, up: svg.Scale, named: set[str]) -> list[str]:
    level = str(row.get("level"))
    css = f"l-{level}" if level in LEVELS else "l-none"
    ratio, column = svg.number(row.get("ratio")), str(row.get("column") or "?")
    told = f"{row.get('start')} to {row.get('end')}, {row.get('n', '?')} rows: {level}"
    if ratio is None:
        return [svg.rect(x + 1.5, up(0) - 6, end - x - 3, 6, "l-none", told)]
    told += f"; {column} at {ratio:.2f} times its threshold"
    out = [svg.rect(x + 1.5, up(ratio), end - x - 3, up(0) - up(ratio), css, told, r=1.5)]
    if ratio > up.high:
        out.append(svg.text((x + end) / 2, up(up.high) - 4, f"{ratio:.0f}×", "label", "middle"))
    # Named at the first alarm only: names of neighbouring bars would stand on each other.
    if level in LEVELS[2:] and not named:
        named.add(column)
        room = x - LEFT > len(column) * svg.LETTER
        place = (x - 2, up(ratio) + 12) if room else (x + 2, up(ratio) - 5)
        out.append(svg.text(*place, column, "label halo", "end" if room else "start"))
    return out


def _new_model(
    dated: Sequence[tuple[date | None, date | None, Row]], month: Any, across: svg.Scale,
    top: float,
) -> list[str]:  # fmt: skip
    inside = next((s for s, _, _ in reversed(dated) if s and s.month == month), None)
    if inside is None:
        return []
    x = across((inside.replace(day=1) + timedelta(days=32)).replace(day=1).toordinal())
    return [svg.line(x, top - 12, x, top + DRIFT, "end-good"),
            svg.text(x - 7, top - 6, "new model", "label label-good", "end")]  # fmt: skip


def _drift_summary(windows: Sequence[Row]) -> str:
    counts = {level: sum(w.get("level") == level for w in windows) for level in LEVELS}
    alarm = next((w for w in windows if w.get("level") in LEVELS[2:]), None)
    first = (f" The first alarm is in the window of {alarm.get('start')}, in {alarm.get('column')}."
             if alarm else " There is no alarm.")  # fmt: skip
    return (f"{len(windows)} windows: "
            + ", ".join(f"{c} {level}" for level, c in counts.items()) + "." + first)  # fmt: skip


def value(row: Row, name: str, side: str) -> float | None:
    """`row[name][side]` (recall or precision; production or without_retraining), if known."""
    found = row.get(name)
    return svg.number(found.get(side)) if isinstance(found, Mapping) else None


def recall(months: Sequence[Row], retrained: Any = None, version: Any = None) -> str:
    """Recall by month: in production, and as it would have been without the new model."""
    if not any(value(m, "recall", "production") is not None for m in months):
        return '<p class="absent">Recall by month is not known: no month was measured.</p>'
    top, gutter = 34.0, 130.0
    across = svg.Scale(-0.4, len(months) - 0.6, LEFT, svg.WIDTH - RIGHT - gutter)
    up = svg.Scale(0, 1, top + RECALL, top)
    body = []
    for tick in svg.ticks(0, 1, 5):
        body.append(svg.text(LEFT - 8, up(tick) + 4, f"{tick:.0%}", "tick", "end"))
        body.append(svg.line(LEFT, up(tick), svg.WIDTH - RIGHT - gutter, up(tick), "grid"))
    for i, month in enumerate(months):
        name = month.get("name") or month.get("month") or "?"
        body.append(svg.text(across(i), up(0) + 20, name, "tick", "middle"))
    body += _retrained(months, retrained, version, across, up)
    ends = []
    for side, css in (("without_retraining", "without"), ("production", "production")):
        points = [(i, v) for i, m in enumerate(months)
                  if (v := value(m, "recall", side)) is not None]  # fmt: skip
        body += _series(points, side, months, across, up, css)
        ends += [(points[-1], side, css)] if points else []
    body += _end_labels(ends, across, up)
    key = svg.legend([("line production", "in production"),
                      ("line without", "the old model, had it stayed")])  # fmt: skip
    return svg.figure("recall", "Recall by month: the share of frauds that was caught",
                      _recall_summary(months), top + RECALL + 32, body, key)  # fmt: skip


def _series(
    points: Sequence[tuple[int, float]], side: str, months: Sequence[Row],
    across: svg.Scale, up: svg.Scale, css: str,
) -> list[str]:  # fmt: skip
    out = [svg.path([(across(i), up(v)) for i, v in points], f"line-{css}")]
    words = "in production" if side == "production" else "without retraining"
    for i, v in points:
        other = value(months[i], "recall", "production")
        if side == "production" or other is None or abs(other - v) > 1e-9:
            told = f"{months[i].get('name')}: {v:.0%} {words}"
            out.append(svg.dot(across(i), up(v), 4.5, f"point-{css}", told))
            below = side != "production"
            out.append(svg.text(across(i), up(v) + (20 if below else -11), f"{v:.0%}",
                                "label halo", "middle"))  # fmt: skip
    return out


def _end_labels(
    ends: Sequence[tuple[tuple[int, float], str, str]], across: svg.Scale, up: svg.Scale
) -> list[str]:
    words = {"production": "in production", "without_retraining": "without retraining"}
    apart = len(ends) == 2 and abs(up(ends[0][0][1]) - up(ends[1][0][1])) > 16
    shown = ends if apart else ends[-1:]
    return [svg.text(across(i) + 14, up(v) + 4, words[side], f"label text-{css}")
            for (i, v), side, css in shown]  # fmt: skip


def _retrained(
    months: Sequence[Row], month: Any, version: Any, across: svg.Scale, up: svg.Scale
) -> list[str]:
    """Where the new model took over: at the end of `month`."""
    at = next((i for i, m in enumerate(months) if m.get("month") == month), None)
    if month is None or at is None:
        return []
    x = across(at + 0.5)
    told = f"retrained: {version}" if version else "retrained"
    return [svg.line(x, up(1) - 12, x, up(0), "end-good"),
            svg.text(x - 7, up(1) - 4, told, "label label-good", "end")]  # fmt: skip


def _recall_summary(months: Sequence[Row]) -> str:
    parts = []
    for month in months:
        now, old = (value(month, "recall", s) for s in ("production", "without_retraining"))
        if now is not None:
            without = f" ({old:.0%} without retraining)" if old is not None and old != now else ""
            parts.append(f"{month.get('name')} {now:.0%}{without}")
    return "Recall: " + ", ".join(parts) + "."


def table(months: Sequence[Row]) -> str:
    """The months as a table: drift, trigger, recall, precision and the evidence of lost quality."""
    if not months:
        return '<p class="absent">No month of production was watched.</p>'
    head = ("Month", "Drift", "The monitor asks for", "Recall", "without retraining", "Precision",
            "Evidence")  # fmt: skip
    return house.table(head, map(_month, months), range(3, 7))


def _month(month: Row) -> tuple[str, ...]:
    level, trigger = str(month.get("alerts") or "no verdict"), str(month.get("trigger") or "none")
    css = f"l-{level}" if level in LEVELS else "l-none"
    asks, why = ("nothing", "") if trigger == "none" else (trigger, month.get("trigger_reason"))
    return (
        f"<b>{html(month.get('name') or month.get('month') or '?')}</b>",
        f'<span class="nowrap"><i class="swatch {css}"></i>{html(level)}</span>',
        html(asks) + (f"<small>{html(why)}</small>" if why else ""),
        _percent(value(month, "recall", "production")),
        _percent(value(month, "recall", "without_retraining")),
        _percent(value(month, "precision", "production")),
        _evidence(month),
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _evidence(month: Row) -> str:
    found = svg.number(month.get("evalue"))
    if found is None:
        return "–"
    return "e over 1,000" if found >= 1000 else f"e = {found:.3g}"
