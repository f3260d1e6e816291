"""An HTML page by Evidently for a window that alarmed: it shows, and decides nothing."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mainline.data import schema, table
from mainline.files import replacing
from mainline.monitor.drift import Window

SAMPLE = 20_000


def draw(root: Path, watched: pd.DataFrame, window: Window, meta: Mapping[str, Any]) -> str:
    """Write reports/drift-<start>.html; returns one line that says where, or why not."""
    path = root / "reports" / f"drift-{window.start:%Y-%m-%d}.html"
    try:
        rules = schema.load(root)
        names = [c["name"] for c in meta["raw"] if c["type"] != "text"]
        before = _sample(table.load_table(root, rules))
        now = _sample(watched.iloc[window.rows])
        # Evidently fails on a column that is gone, all missing or of another type on one side.
        usable = [n for n in names if n in before and n in now
                  and before[n].notna().any() and now[n].notna().any()]  # fmt: skip
        kinds = {c["name"]: c["type"] for c in meta["raw"]}
        numbers = [n for n in usable if kinds[n] in ("number", "integer")]
        _write(before[usable], now[usable], numbers, path)
    except Exception as error:  # a picture is never worth a verdict
        reason = str(error).strip().splitlines()
        return f"Evidently drew nothing ({type(error).__name__}: {reason[0] if reason else ''})"
    return f"reports/{path.name} shows the window of {window.start:%Y-%m-%d} by Evidently"


def _sample(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sample(SAMPLE, random_state=0) if len(frame) > SAMPLE else frame


def _write(before: pd.DataFrame, now: pd.DataFrame, numbers: list[str], path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        kinds = DataDefinition(
            numerical_columns=numbers,
            categorical_columns=[c for c in before.columns if c not in numbers],
        )
        sides = [Dataset.from_pandas(f.reset_index(drop=True), data_definition=kinds)
                 for f in (now, before)]  # fmt: skip
        snapshot = Report([DataDriftPreset()]).run(*sides)
        with replacing(path) as temporary:
            snapshot.save_html(str(temporary))
