"""One look at production: log and labels in, windows, streams and the trigger out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mainline import settings
from mainline.data import schema
from mainline.errors import DataError
from mainline.files import digest_tree
from mainline.monitor import drift, production, quality, trigger
from mainline.monitor.drift import Level, Window
from mainline.serve import known_labels
from mainline.serve.reading import read_log
from mainline.train import bundle, profile


@dataclass(frozen=True)
class Look:
    """Everything that one run saw."""

    as_of: pd.Timestamp
    meta: Mapping[str, Any]
    digest: str
    seen: production.Production
    windows: Sequence[Window]
    matured: pd.DataFrame
    watches: Sequence[quality.StreamWatch]
    due: int  # rows old enough for a final label
    trigger: trigger.Trigger
    skipped_lines: int
    feedback: Mapping[str, int]  # see `known_labels.feedback`


def look(
    root: Path,
    options: settings.Settings,
    rules: schema.Schema,
    as_of: pd.Timestamp,
    log: str,
    beside: str | None,
    accepted: Sequence[str] = (),
) -> Look:
    """Read log and labels, judge every window and stream, and decide what to do."""
    meta = bundle.read_meta(root / "models")
    digest, reference = digest_tree(root / "models"), read_profile(root / "models")
    logged = read_log(log, until=as_of.to_pydatetime())
    every = known_labels.all_labels(root, rules, beside)
    known = known_labels.known_by(every, as_of)
    seen = production.read(logged, meta, digest, known)
    cut = drift.cut(seen.outcomes["ts"], as_of, options.monitor.window)
    changes = [f"{name}: a feature that the model does not know" for name in seen.extra]
    names = production.categories(meta)
    windows = drift.judge(seen.watched, cut, reference, names, changes, accepted)
    days = options.monitor.maturity_days
    matured = known_labels.matured(seen.outcomes, as_of, days)
    watches = quality.watch(matured, reference["quality"])
    due = int((seen.outcomes["ts"] + pd.Timedelta(days=days) <= as_of).sum())
    now = _situation(as_of, meta, windows, matured, watches, days)
    wanted = trigger.decide(now, options.retrain)
    skipped = int(logged.attrs.get("skipped", 0))
    told = known_labels.feedback(logged, every)
    return Look(as_of, meta, digest, seen, windows, matured, watches, due, wanted, skipped, told)


def _situation(
    as_of: pd.Timestamp,
    meta: Mapping[str, Any],
    windows: Sequence[Window],
    matured: pd.DataFrame,
    watches: Sequence[quality.StreamWatch],
    maturity_days: float,
) -> trigger.Situation:
    judged = [w for w in windows if w.level is not Level.NONE]
    newest = judged[-1] if judged else None
    until = pd.Timestamp(meta["trained_until"]) if meta.get("trained_until") else None
    began = _began(windows)
    since = matured[matured["ts"] >= began] if began is not None else matured[:0]
    counted = since["y"] == 1 if meta["task"] == "binary" else since["y"].notna()
    fresh = matured if until is None else matured[matured["ts"] > until]
    age = None
    if until is not None:
        # Labels of its last rows matured this much later: before, no newer model could be made.
        age = (as_of - until) / pd.Timedelta(days=1) - maturity_days
    return trigger.Situation(
        newest.level if newest else Level.NONE,
        newest.reasons if newest else (),
        [quality.sentence(w) for w in quality.fired(watches)],
        int(counted.sum()),
        len(fresh),
        sum(meta["rows"].values()),
        age,
    )


def _began(windows: Sequence[Window]) -> pd.Timestamp | None:
    """When the present drift began: the first alert of this model that shares a column with it."""
    alerts = [w for w in windows if w.level is Level.ALERT]
    if not alerts:
        return None
    now = set(alerts[-1].alarmed())
    return next((w.start for w in alerts if now & set(w.alarmed())), alerts[-1].start)


def read_profile(folder: Path) -> dict[str, Any]:
    """profile.json; DataError when it is missing or damaged."""
    try:
        found = json.loads((folder / "profile.json").read_text("utf-8"))
        if found["schema"] != profile.SCHEMA:
            raise ValueError(found["schema"])
        return dict(found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder.name}/profile.json is missing or damaged", "Run `./mainline pipeline`"
        ) from error
