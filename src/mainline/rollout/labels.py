"""A promotion is provisional until its labels have matured: was the new version right as often?

Of requests that were mirrored both models' answers are known: pairs. Of those that the canary
stages gave to the arms at random, the canary's errors stand against stable's of the same
generation; generations are never mixed, since later ones have other users and another split.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mainline import settings
from mainline.data import schema
from mainline.errors import NotMeasured
from mainline.evaluate.evaluate import MOST_SLICES
from mainline.rollout import host
from mainline.rollout.ending import MATURITY
from mainline.rollout.labelled import Counts, Mean, Measured, judge_labels
from mainline.rollout.plan import spoken
from mainline.rollout.state import Arm, State
from mainline.serve import known_labels
from mainline.serve.reading import read_log
from mainline.train.bundle import class_names
from mainline.verdict import Check, StepVerdict, Verdict

if TYPE_CHECKING:
    from mainline.serve.records import Record

__all__ = ["STEP", "Counts", "Mean", "Measured", "judge_labels", "look"]
STEP = "rollout-labels"
UNSET = "No place for labels is set (MAINLINE_LABELS or monitor.labels)"
LEAST_LOSS = 1e-15  # as in evaluate.metrics
Losses = dict[str, np.ndarray]


def look(
    root: Path,
    state: State,
    *,
    log: str | None = None,
    labels: str | None = None,
    now: datetime | None = None,
) -> StepVerdict:
    """What the labels that have matured by `now` say of the promotion (or canary) of `state`.

    `log` and `labels` are addresses (MAINLINE_LOG, MAINLINE_LABELS, else the settings under
    `root`). Without a place for labels the verdict is skipped. Raises DataError where a place
    cannot be read, NotMeasured where the models' own metadata is gone.
    """
    options, rules = settings.load(root), schema.load(root)
    beside = _place(root, labels or os.environ.get("MAINLINE_LABELS") or options.monitor.labels)
    where = _place(root, log or os.environ.get("MAINLINE_LOG") or options.monitor.log)
    new, old = _sides(state)
    if beside is None:
        return StepVerdict(STEP, (), skipped=UNSET)
    if new is None or old is None or where is None:
        return StepVerdict(STEP, (), skipped="There is no earlier version to be compared with")
    as_of = pd.Timestamp(now or datetime.now(UTC)).tz_convert("UTC").tz_localize(None)
    rows = _rows(state, new, old, where)
    known = known_labels.known_by(known_labels.all_labels(root, rules, beside), as_of)
    metas = {arm.digest: _meta(root, arm) for arm in (new, old)}
    counts = count(rows, known, as_of, options, metas, (new.digest, old.digest))
    checks = judge_labels(counts).checks
    if state.provisional:
        due = timedelta(days=options.monitor.maturity_days)
        checks = (_maturity(state, (now or datetime.now(UTC)) - due), *checks)
    return StepVerdict(STEP, checks, {"model": new.digest, "base": old.digest})


def _maturity(state: State, before: datetime) -> Check:
    """Whether all requests of the rollout, which ended with its promotion, are older than that."""
    left = (state.entered or 0.0) - before.timestamp()
    if left > 0:
        said = f"The last labels of the rollout are due in {spoken(left)}"
        return Check(MATURITY, Verdict.INCONCLUSIVE, said, value=left, unit="s")
    return Check(MATURITY, Verdict.PASS, "All labels of the rollout are due")


def at(folder: Path, state: State) -> StepVerdict:
    """`look` on the machine that serves from `folder`, by the settings in the promoted Bento."""
    new, _ = _sides(state)
    root = Path(new.artifact) / "src" if new else folder
    if not (root / "params.yaml").is_file():
        return StepVerdict(STEP, (), skipped="The settings of this version are not here")
    named = host.labels_address().get("MAINLINE_LABELS") or settings.load(root).monitor.labels
    if named is None:
        return StepVerdict(STEP, (), skipped=UNSET)
    # A path in the settings is meant from where the service was started, which wrote it.
    checkout = (folder.parent / "params.yaml").is_file()
    beside = _place(folder.parent if checkout else folder, named)
    return look(root, state, log=host.log_address(folder), labels=beside)


def _place(root: Path, value: str | None) -> str | None:
    return value if value is None or "://" in value else str(root / value)


def _sides(state: State) -> tuple[Arm | None, Arm | None]:
    """The new version and the old one: of a rollout that runs, or of the promotion after it."""
    return (state.canary, state.stable) if state.running else (state.stable, state.previous)


def _meta(root: Path, arm: Arm) -> dict[str, Any]:
    for folder in (Path(arm.artifact) / "src" / "models", root / "models"):
        try:
            return dict(json.loads((folder / "model.json").read_text("utf-8")))
        except (OSError, ValueError):
            continue
    raise NotMeasured(f"The classes of {arm.version} are not known here", "Pull its model")


def _rows(state: State, new: Arm, old: Arm, where: str) -> pd.DataFrame:
    """What both models answered in the generations of this rollout that had both."""
    since = None
    if state.entered is not None:
        # The promotion began when the last stage ended, and no stage is held for longer.
        held = timedelta(seconds=state.hold_seconds) * (len(state.plan) + 1)
        since = datetime.fromtimestamp(state.entered, UTC) - held
    sides = {("canary", new.digest), ("shadow", new.digest), ("stable", old.digest)}

    def keep(record: Record) -> bool:
        return (record.get("arm"), record.get("digest")) in sides and (
            _generation(record.get("generation")) >= state.started
        )

    rows = read_log(where, since=since, arms=("canary", "shadow", "stable"), keep=keep)
    if rows.empty:
        return rows
    both = rows.groupby("generation")["arm"].transform("nunique") == 2
    return rows.loc[both].reset_index(drop=True)


def _generation(name: object) -> int:
    text = str(name).removeprefix("gen-")
    return int(text) if text.isdecimal() else -1


def count(
    rows: pd.DataFrame,
    known: pd.DataFrame,
    as_of: pd.Timestamp,
    options: settings.Settings,
    metas: Mapping[str, Mapping[str, Any]],
    sides: tuple[str, str],
) -> Counts:
    """The losses of both models on matured rows, paired and by generation, overall and by slice.

    `rows` are of the log, `known` labels (`known_labels.known_by`), `sides` the digests of the new
    and the old model. A shadow's answer has the label of the answer that the client got.
    """
    new, old = sides
    task, days = options.model.task, options.monitor.maturity_days
    rows = rows.assign(ts=rows["ts"].dt.tz_convert("UTC").dt.tz_localize(None))
    rows["nth"] = rows.groupby(["request_id", "arm", "row"], dropna=False).cumcount()
    users = rows[rows["arm"] != "shadow"].reset_index(drop=True)
    users = users.join(known_labels.join(users, known)) if len(users) else users
    due = int((users["ts"] + pd.Timedelta(days=days) <= as_of).sum())
    if not due or "label" not in users:
        return Counts(due, 0, ())
    ripe = known_labels.matured(users, as_of, days)
    keys = ["request_id", "row", "nth", "generation"]
    shadows = rows.loc[rows["arm"] == "shadow", [*keys, "scores", "decision"]]
    pairs = ripe[ripe["arm"] == "stable"].merge(shadows, on=keys, suffixes=("", "_new"))
    measures = [
        _Paired(losses(pairs, metas[new], task, "_new"), losses(pairs, metas[old], task), pairs)
    ]
    arms: list[_Split] = []
    for _, group in ripe[~ripe["generation"].isin(shadows["generation"])].groupby("generation"):
        ours, theirs = group[group["arm"] == "canary"], group[group["arm"] == "stable"]
        arms.append(_Split(losses(ours, metas[new], task), losses(theirs, metas[old], task),
                           ours, theirs))  # fmt: skip
    found = [_measured(name, "all", measures[0], arms, None, options) for name in _names(task)]
    for column, value in _slices(ripe, options.evaluate.slices):
        found += [_measured(name, f"{column} = {value}", measures[0], arms, (column, value),
                            options) for name in _names(task)]  # fmt: skip
    return Counts(due, len(ripe), tuple(found))


class _Paired:
    """Losses of both models on the same rows."""

    def __init__(self, new: Losses, old: Losses, rows: pd.DataFrame) -> None:
        self.new, self.old, self.rows = new, old, rows


class _Split:
    """Losses of each model on its own rows of one generation."""

    def __init__(
        self, new: Losses, old: Losses, new_rows: pd.DataFrame, old_rows: pd.DataFrame
    ) -> None:
        self.new, self.old, self.new_rows, self.old_rows = new, old, new_rows, old_rows


def _measured(
    name: str, scope: str, paired: _Paired, arms: Sequence[_Split],
    only: tuple[str, str] | None, options: settings.Settings,
) -> Measured:  # fmt: skip
    inside = _inside(paired.rows, only)
    new, old = paired.new[name], paired.old[name]
    return Measured(
        name, scope, options.gate.delta, _relative(name, options),
        Mean.of((new - old)[inside], _units(paired.rows)[inside]),
        Mean.of(old[inside], _units(paired.rows)[inside]),
        tuple(
            (Mean.of(a.new[name][n], _units(a.new_rows)[n]),
             Mean.of(a.old[name][m], _units(a.old_rows)[m]))
            for a in arms
            for n, m in [(_inside(a.new_rows, only), _inside(a.old_rows, only))]
        ),
    )  # fmt: skip


def _names(task: str) -> tuple[str, ...]:
    return ("absolute_error",) if task == "regression" else ("wrong", "log_loss")


def _relative(name: str, options: settings.Settings) -> bool:
    """Whether `gate.delta` is in another unit than this loss: then it is a share of the loss."""
    own = {"absolute_error": ("mae", "rmse", "median_absolute_error", "bias")}.get(name, ())
    return name == "absolute_error" and options.gate.metric not in own


def losses(rows: pd.DataFrame, meta: Mapping[str, Any], task: str, suffix: str = "") -> Losses:
    """Each loss (n,) of the answers in `rows`; NaN where the label is of no class known to it.

    `wrong` is 1 for a wrong decision, `log_loss` as in evaluate.metrics, `absolute_error` in the
    target's unit.
    """
    scores = [np.asarray(s, dtype=float) for s in rows[f"scores{suffix}"]]
    if task == "regression":
        y = pd.to_numeric(rows["label"], errors="coerce").to_numpy(dtype=float)
        return {"absolute_error": np.abs(y - np.array([s[0] for s in scores], dtype=float))}
    codes = {name: i for i, name in enumerate(meta["classes"])}
    y = class_names(rows["label"]).map(codes).to_numpy(dtype=float)
    decided = pd.to_numeric(rows[f"decision{suffix}"], errors="coerce").to_numpy(dtype=float)
    own = np.array([_own(s, c) for s, c in zip(scores, y, strict=True)], dtype=float)
    wrong = np.where(np.isnan(y), np.nan, (decided != y).astype(float))
    return {"wrong": wrong, "log_loss": -np.log(np.clip(own, LEAST_LOSS, 1))}


def _own(scores: np.ndarray, label: float) -> float:
    """The probability that was given to the class that it was."""
    if np.isnan(label) or (len(scores) > 1 and label >= len(scores)):
        return float("nan")
    if len(scores) > 1:
        return float(scores[int(label)])
    return float(scores[0] if label == 1 else 1 - scores[0])


def _units(rows: pd.DataFrame) -> np.ndarray:
    """What is drawn at random: an entity where the log names it, else a request."""
    named = rows["entity"].where(rows["entity"].notna(), rows["request_id"])
    return named.astype(str).to_numpy(dtype=object)


def _slices(rows: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, str]]:
    """The most frequent values of each column that the log has."""
    found = []
    for column in columns:
        if column in rows:
            values = _values(rows, column)
            found += [(column, str(v)) for v in values.value_counts().index[:MOST_SLICES]]
    return found


def _inside(rows: pd.DataFrame, only: tuple[str, str] | None) -> np.ndarray:
    if only is None or only[0] not in rows:
        return np.full(len(rows), only is None)
    return (_values(rows, only[0]) == only[1]).to_numpy(dtype=bool)


def _values(rows: pd.DataFrame, column: str) -> pd.Series:
    return class_names(rows[column]).fillna("(missing)")
