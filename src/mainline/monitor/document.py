"""`reports/monitor.json`: what one look at production found."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from mainline.monitor import quality
from mainline.monitor.drift import Level, Window
from mainline.monitor.look import Look

SCHEMA = "monitor/1"


def to_document(found: Look) -> dict[str, Any]:
    """`reports/monitor.json`."""
    alarmed = [w for w in found.windows if w.level in (Level.ALERT, Level.INCIDENT)]
    times = found.seen.outcomes["ts"]
    return {
        "schema": SCHEMA,
        "as_of": found.as_of.isoformat(),
        "model": {"name": found.meta["name"], "digest": found.digest,
                  "trained_until": found.meta.get("trained_until")},
        "log": {"rows": len(times), "skipped_lines": found.skipped_lines,
                "first": iso(times.min()), "last": iso(times.max())},
        "labels": {"matured": len(found.matured), "due": found.due, **found.feedback},
        "level": (found.windows[-1].level if found.windows else Level.NONE).value,
        "first_alert": iso(alarmed[0].start) if alarmed else None,
        "trigger": {"kind": found.trigger.kind, "reason": found.trigger.reason,
                    "opens": found.trigger.opens, "urgent": found.trigger.urgent},
        "windows": [_window(w, found) for w in found.windows],
        "quality": {w.name: _stream(w) for w in found.watches},
    }  # fmt: skip


def _window(window: Window, found: Look) -> dict[str, Any]:
    inside = found.matured["ts"].between(window.start, window.end, "left")
    rows = found.matured[inside]
    numbers = quality.figures(rows["y"].to_numpy(), rows["decision"].to_numpy(), found.meta["task"])
    columns = {
        c.name: {"psi": round(c.psi, 4),
                 "threshold": None if c.threshold is None else round(c.threshold, 4),
                 "over": c.over, "missing": round(c.missing, 4), "unseen": round(c.unseen, 4),
                 "broken": c.broken}
        for c in window.columns
    }  # fmt: skip
    days = (window.end - window.start) / pd.Timedelta(days=1)
    return {"start": iso(window.start), "end": iso(window.end), "n": window.n,
            "rows_per_day": round(window.n / days, 1), "level": window.level.value,
            "reasons": list(window.reasons), "columns": columns,
            "matured": len(rows), **numbers}  # fmt: skip


def _stream(watch: quality.StreamWatch) -> dict[str, Any]:
    return {"n": watch.n, "bad": watch.bad, "rate": watch.rate, "bound": watch.bound,
            "reference_rate": watch.reference_rate, "e": round(math.exp(watch.log_e), 2),
            "fired_at": iso(watch.fired_at)}  # fmt: skip


def iso(moment: Any) -> str | None:
    """`moment` as ISO 8601; None where there is none."""
    return None if moment is None or pd.isna(moment) else pd.Timestamp(moment).isoformat()
