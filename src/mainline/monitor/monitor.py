"""`mainline monitor`: has production drifted, has quality fallen, does a new model pay?

No state is kept: every run reads the whole log of the present model and recomputes its history.
What the verdict means: drift PASS is quiet, INCONCLUSIVE one window over its threshold (or none
that can be judged), FAIL an alert; a broken feed fails the check `data` and leaves drift unjudged;
quality FAILs when an e-process has fired. Nothing to watch is never a PASS.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mainline import inputs, settings
from mainline.data import schema
from mainline.errors import UsageError
from mainline.files import write_json, write_text
from mainline.monitor import quality
from mainline.monitor.accepted import accepted_columns
from mainline.monitor.document import SCHEMA, to_document
from mainline.monitor.drift import Level
from mainline.monitor.look import Look, look
from mainline.monitor.text import markdown
from mainline.verdict import Check, StepVerdict, Verdict, recorded

UNSET = "no prediction log is set (monitor.log in params.yaml, or MAINLINE_LOG)"


def run(
    root: Path,
    *,
    as_of: str | pd.Timestamp | None = None,
    log: str | None = None,
    labels: str | None = None,
    html: bool = True,
    accepted: Sequence[str] = (),
) -> StepVerdict:
    """Look at production as it was at `as_of` (UTC, default: now); write what was found.

    Writes reports/monitor.json, reports/monitor.md, the verdict, and with `html` a page by
    Evidently for the newest window if it alarmed. `log` and `labels` are fsspec addresses that
    override settings and environment; `accepted` names columns whose drift a person has accepted.
    Drift accepted on GitHub (`monitor.accepted`) counts too. Raises DataError when model, log or
    labels cannot be read, UsageError for a bad date.
    """
    with recorded(root, "monitor"):
        options, rules = settings.load(root), schema.load(root)
        moment = time_of(as_of)
        where = place_of(root, log or os.environ.get("MAINLINE_LOG") or options.monitor.log)
        if where is None:
            return _nothing(root, moment)
        beside = place_of(
            root, labels or os.environ.get("MAINLINE_LABELS") or options.monitor.labels
        )
        accepted = (*accepted, *accepted_columns(root, options.model.name, os.environ))
        found = look(root, options, rules, moment, where, place_of(root, beside), accepted)
        pages = []
        if html and found.windows and found.windows[-1].alarmed():
            from mainline.monitor.page import draw

            pages = [draw(root, found.seen.watched, found.windows[-1], found.meta)]
        document = {**to_document(found), "pages": pages}
        write_json(root / "reports" / "monitor.json", document)
        write_text(root / "reports" / "monitor.md", markdown(document))
        code = inputs.code_digest(root)
        verdict = StepVerdict("monitor", checks(found), {"code": code, "model": found.digest})
        verdict.write(root)
        return verdict


def checks(found: Look) -> tuple[Check, ...]:
    """The checks of the verdict: data, drift, labels, and each stream of quality."""
    newest = found.windows[-1] if found.windows else None
    level = newest.level if newest else Level.NONE
    why = "; ".join(newest.reasons) if newest and newest.reasons else ""
    n = newest.n if newest else 0
    span = f"{newest.start:%Y-%m-%d} to {newest.end:%Y-%m-%d}" if newest else "no whole window yet"
    ratios = [c.ratio for c in newest.columns if c.threshold] if newest else []
    broken = f"Drift is not judged while the feed is broken, {span}"
    verdict, reason = {
        Level.NONE: (Verdict.INCONCLUSIVE, f"Drift: no verdict on {span} ({why or 'no rows'})"),
        Level.QUIET: (Verdict.PASS, f"No drift in {n} rows, {span}"),
        Level.WATCH: (Verdict.INCONCLUSIVE, f"One window over its threshold, {span}: {why}"),
        Level.ALERT: (Verdict.FAIL, f"Drift in {n} rows, {span}: {why}"),
        Level.INCIDENT: (Verdict.INCONCLUSIVE, broken),
    }[level]
    highest = max(ratios, default=None)
    out = [Check("drift", verdict, reason, highest, limit=1.0, n=n, unit="times the threshold")]
    if level is Level.INCIDENT:
        out.append(Check("data", Verdict.FAIL, f"The feed looks broken, {span}: {why}", n=n))
    elif level is not Level.NONE:
        out.append(Check("data", Verdict.PASS, f"The feed is whole, {span}", n=n))
    if found.due and len(found.matured) < 0.5 * found.due:
        out.append(Check("labels", Verdict.INCONCLUSIVE,
                         f"{len(found.matured)} of {found.due} rows of that age have a label",
                         value=len(found.matured), n=found.due))  # fmt: skip
    return (*out, *map(_stream_check, found.watches))


def _stream_check(watch: quality.StreamWatch) -> Check:
    verdict = Verdict.PASS if watch.n else Verdict.INCONCLUSIVE
    if watch.fired_at is not None:
        verdict = Verdict.FAIL
    return Check(f"quality:{watch.name}", verdict, f"Quality, {quality.sentence(watch)}",
                 value=watch.rate, limit=watch.bound, n=watch.n)  # fmt: skip


def time_of(as_of: str | pd.Timestamp | None) -> pd.Timestamp:
    """A naive UTC time."""
    try:
        moment = pd.Timestamp.now("UTC") if as_of is None else pd.Timestamp(as_of)
    except ValueError as error:
        raise UsageError(f"{as_of!r} is not a date", "Write it as 2024-10-01") from error
    return moment.tz_convert("UTC").tz_localize(None) if moment.tzinfo else moment


def place_of(root: Path, value: str | None) -> str | None:
    """An fsspec address; a plain path is meant from the root of the repository."""
    if not value:
        return None
    return value if "://" in value else str(root / value)


def _nothing(root: Path, as_of: pd.Timestamp) -> StepVerdict:
    document = {"schema": SCHEMA, "as_of": as_of.isoformat(), "level": Level.NONE.value,
                "trigger": {"kind": "none", "reason": UNSET, "opens": None, "urgent": False},
                "windows": [], "quality": {}, "pages": []}  # fmt: skip
    write_json(root / "reports" / "monitor.json", document)
    verdict = StepVerdict("monitor", (), {}, skipped=UNSET)
    verdict.write(root)
    return verdict
