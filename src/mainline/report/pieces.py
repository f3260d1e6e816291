"""Pieces that several sections are made of: a table that ends, and any document as bullets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mainline.report.blocks import Block, Bullets, Line, Paragraph, Strong, Table
from mainline.report.numbers import NONE, number, show

MOST_ROWS = 40


def table(
    head: tuple[str, ...], rows: Sequence[tuple[Line, ...]], numbers: set[int]
) -> list[Block]:
    """A table of at most MOST_ROWS rows, and how many more there are."""
    out: list[Block] = [Table(head, tuple(rows[:MOST_ROWS]), frozenset(numbers))]
    if len(rows) > MOST_ROWS:
        out.append(Paragraph((f"… and {len(rows) - MOST_ROWS:,} more.",)))
    return out


def bounds(entry: dict[str, Any]) -> str:
    """The bounds of an estimate; a dash where there are none."""
    low, high = number(entry.get("low")), number(entry.get("high"))
    return NONE if low is None or high is None else f"{show(low)} to {show(high)}"


def told(document: dict[str, Any]) -> list[Block]:
    """Any document as bullets: numbers with their bounds, lists by their first entries."""
    items: list[Line] = []
    for key, value in document.items():
        if value in (None, {}, []):
            continue
        items.append((Strong(str(key).replace("_", " ")), f": {value_text(value)}"))
    return [Bullets(tuple(items))] if items else []


def value_text(value: Any, depth: int = 0) -> str:
    """Any value as text; at most three deep."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if number(value) is not None:
        return show(value)
    if isinstance(value, dict) and depth < 3:
        own = {k: v for k, v in value.items() if k not in ("low", "high")}
        said = bounds(value)
        text = ", ".join(f"{str(k).replace('_', ' ')} {value_text(v, depth + 1)}"
                         for k, v in list(own.items())[:8])  # fmt: skip
        return text if said == NONE else f"{text} ({said})"
    if isinstance(value, list) and depth < 3:
        more = f" and {len(value) - 5} more" if len(value) > 5 else ""
        return "; ".join(value_text(v, depth + 1) for v in value[:5]) + more
    return NONE if value is None else str(value)
