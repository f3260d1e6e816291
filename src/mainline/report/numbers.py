"""Numbers for people, from documents that may hold anything."""

from __future__ import annotations

import math
from typing import Any

from mainline.report.blocks import Badge, Code, Inline, Interval, Line
from mainline.verdict import Verdict

NONE = "\u2013"
MINUS = "\u2212"


def number(value: Any) -> float | None:
    """`value` as a finite float; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def show(value: Any, signed: bool = False) -> str:
    """Four places below 10, thousands apart above; a dash for what is no number."""
    found = number(value)
    if found is None:
        return NONE
    if found == 0:
        return "0"
    size = abs(found)
    text = f"{size:,.0f}" if float(size).is_integer() and size >= 1 else f"{size:.4f}"
    if 10 <= size < 1000 and not float(size).is_integer():
        text = f"{size:.2f}"
    elif size >= 1000:
        text = f"{size:,.0f}"
    if not text.strip("0."):
        return text
    return (MINUS if found < 0 else "+" if signed else "") + text


def limit(value: Any) -> str:
    """A limit as it was written in the settings."""
    found = number(value)
    return NONE if found is None else f"{found:g}"


def count(value: Any) -> str:
    """A whole number with its thousands apart; a dash for what is none."""
    found = number(value)
    return NONE if found is None else f"{found:,.0f}"


def digest(value: Any) -> Inline:
    """Twelve digits of a digest or a commit, as code."""
    text = str(value or "").removeprefix("sha256:")[:12]
    return Code(text) if text else NONE


def badge(value: Any) -> Line:
    """A verdict as a badge; a dash where nothing was decided."""
    try:
        return (Badge(Verdict(value)),)
    except ValueError:
        return (NONE,)


def interval(entry: dict[str, Any], reach: float | None = None) -> Line:
    """The bounds of a difference, as numbers and as a picture where it can be drawn."""
    value, low, high = (number(entry.get(k)) for k in ("gain", "low", "high"))
    if value is None or low is None or high is None:
        return (NONE,)
    return (Interval(value, low, high, number(entry.get("limit")), reach),)


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; none where it is no list."""
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def inner(document: dict[str, Any] | None, key: str) -> dict[str, Any]:
    """The object under `key`, or an empty one."""
    found = (document or {}).get(key)
    return found if isinstance(found, dict) else {}
