"""The model card of a version: filled by the run but for what only a person can say.

It is made from what the steps left and from the rows; what is not there is said to be missing.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline import registry, settings
from mainline.data import schema
from mainline.errors import MainlineError
from mainline.evaluate import predictions
from mainline.evaluate.evaluate import metric_names
from mainline.evaluate.interval import jackknife, leave_out
from mainline.evaluate.metrics import measure
from mainline.files import digest_tree, short, write_text
from mainline.register import purpose, signature
from mainline.report import facts, html, markdown, sections
from mainline.report.behaviour import behaviour
from mainline.report.blocks import (
    Alert,
    Block,
    Bullets,
    Code,
    Inline,
    Line,
    Paragraph,
    Report,
    Section,
    Strong,
)
from mainline.report.facts import Facts
from mainline.report.numbers import NONE, count, digest, inner, number, show
from mainline.report.pieces import table
from mainline.train.train import Rows, usable_rows
from mainline.verdict import StepVerdict

MARKDOWN, PAGE = "reports/model_card.md", "reports/model_card.html"
FOLDS = 30  # groups left out in turn, for the bounds
MOST_FEATURES = 20
PARTS = {"train": "trained on", "tune": "threshold and calibration", "test": "measured on"}


def write(root: Path, version_name: str, commit: str, approved: StepVerdict) -> None:
    """Write the card of `version_name`, which is to stand on or above `commit` of main.

    `approved` is the verdict of the gate. Raises DataError where a file cannot be written; what
    cannot be measured any more is said in the card and stops no release.
    """
    report = compose(root, version_name, commit, approved)
    write_text(root / MARKDOWN, markdown.render(report))
    footer = f"Written by <code>mainline register</code>; the same as Markdown is {MARKDOWN}."
    body = f"{html.render(report)}\n<footer>{footer}</footer>"
    write_text(root / PAGE, html.page(f"Model card: {report.model}", body))


def compose(root: Path, version_name: str, commit: str, approved: StepVerdict) -> Report:
    """The card in its sections."""
    options, found = settings.load(root), replace(facts.read(root), gate=approved)
    rows = _rows(root, options)
    made = (
        purpose.section(root),
        _what(root, options, version_name, commit, approved),
        _data(options, rows, approved),
        _metrics(root, options),
        sections.slices(found),
        _renamed(behaviour(found)),
        _fairness(found),
        _importance(found),
        _cost(found),
        _caution(approved),
        _back(root, options, version_name),
    )
    lead: Line = (Strong("Model card"), f" of {options.model.name} {version_name}, a "
                  f"{options.model.task} model of {options.model.target!r}.")  # fmt: skip
    return Report(f"{options.model.name} {version_name}", approved.verdict, lead,
                  tuple(s for s in made if s is not None))  # fmt: skip


def _rows(root: Path, options: settings.Settings) -> Rows | str:
    """The rows with their parts, or why they are not here."""
    try:
        return usable_rows(root, options, schema.load(root))
    except MainlineError as error:
        return str(error)


def _what(
    root: Path, options: settings.Settings, name: str, commit: str, approved: StepVerdict
) -> Section:
    """What the version is, where it comes from and who vouches for it."""
    by = signature.planned(root, options, os.environ)
    blocks: list[Block] = []
    if by == signature.NONE:
        blocks.append(Alert("warning", (
            Strong("UNSIGNED"),
            ": nobody vouches for this version but who may push tags to this repository.",
        )))  # fmt: skip
    kind, _, who = by.partition(" ")
    signed: Line = ("nobody",) if by == signature.NONE else (f"the {kind} ", Code(who))
    items: list[Line] = [
        (Strong("Model"), ": ", Code(str(digest_tree(root / "models")))),
        (Strong("Made of"), ": the estimator ", Code(options.train.estimator), " on the features ",
         Code(options.features.build), ", seed ", Code(str(options.train.seed))),
        (Strong("Merged as"), ": ", Code(commit)),
        (Strong("Approved"), ": ", approved.verdict.value, *_accepted(approved)),
        (Strong("Signed by"), ": ", *signed),
        (Strong("To check all of this"), ": ", Code(f"./mainline verify {name}")),
    ]  # fmt: skip
    return Section("What it is", (*blocks, Bullets(tuple(items))))


def _accepted(approved: StepVerdict) -> Line:
    who = next((c for c in approved.checks if c.name == "accepted"), None)
    return (f". {who.reason}",) if who else ()


def _data(options: settings.Settings, rows: Rows | str, approved: StepVerdict) -> Section:
    """Rows, period and split."""
    lead: Line = ("Data ", digest(approved.inputs.get("data")), ", split ",
                  digest(approved.inputs.get("split")), f" by {options.split.kind}"
                  + (f" ({options.split.key})" if options.split.key else "") + ".")  # fmt: skip
    if isinstance(rows, str):
        return Section("Data", (Paragraph(lead), Alert("note", (f"Not here any more: {rows}",))))
    binary = options.model.task == "binary"
    cells: list[tuple[Line, ...]] = []
    for part, said in PARTS.items():
        mine = (rows.part == part).to_numpy()
        share = (count(int((rows.y[mine] == 1).sum())),) if binary else ()
        cells.append(((f"{part}: {said}",), (count(int(mine.sum())),),
                      *((s,) for s in share), (_period(rows, mine),)))  # fmt: skip
    head = ("part", "rows", *(("positive",) if binary else ()), "period")
    return Section("Data", (Paragraph(lead), *table(head, cells, {1, 2} if binary else {1})))


def _period(rows: Rows, mine: np.ndarray) -> str:
    """From which day to which, where the rows have a time."""
    times = [c for c in rows.frame.columns if pd.api.types.is_datetime64_any_dtype(rows.frame[c])]
    seen = rows.frame[times[0]][mine].dropna() if times else pd.Series(dtype="datetime64[ns]")
    return f"{seen.min():%Y-%m-%d} to {seen.max():%Y-%m-%d}" if len(seen) else NONE


def _metrics(root: Path, options: settings.Settings) -> Section:
    """Each metric on the test rows with 95% bounds, from the rows and scores themselves."""
    try:
        test = predictions.read(root / "reports" / "predictions.parquet").of("test")
    except MainlineError as error:
        return Section("Metrics", (Alert("warning", (str(error),)),))
    names = metric_names(options)
    y, scores, decisions = test.y, test.scores, test.decisions
    # Rows of one entity are left out together, because they are not independent.
    entity = test.frame["entity"]
    key = entity if entity.notna().all() else test.frame["row_id"]
    folds = pd.factorize(key)[0] % FOLDS

    def values(mask: np.ndarray) -> list[float]:
        found = measure(options.model.task, names, y[mask], scores[mask], decisions[mask])
        return [found[n] for n in names]

    each = leave_out(values, folds)  # type: ignore[arg-type]  # a row of metrics for each fold
    cells: list[tuple[Line, ...]] = []
    for name, column in zip(names, each.T, strict=True):
        found = jackknife(column)
        bounds = f"{show(found.low)} to {show(found.high)}" if np.isfinite(found.low) else NONE
        cells.append(((Code(name),), (show(found.value),), (bounds,)))
    said = f"On {count(len(y))} test rows, which the model has not seen; each bound holds with 95%."
    return Section("Metrics", (Paragraph((said,)), *table(("metric", "test", "bounds"), cells,
                                                          {1})))  # fmt: skip


def _renamed(found: Section | None) -> Section | None:
    return replace(found, title="Behaviour, fairness and calibration") if found else None


def _fairness(found: Facts) -> Section | None:
    """One sentence where no group was compared."""
    if (found.behaviour or {}).get("fairness"):
        return None
    said = ("No rate was compared between groups: name columns and rates under "
            "gate.model.fairness in params.yaml.")  # fmt: skip
    return Section("Fairness", (Alert("note", (said,)),))


def _importance(found: Facts) -> Section:
    title = "What it leans on"
    leaning = inner(found.behaviour, "importance")
    features = leaning.get("features")
    if not isinstance(features, list) or not features:
        said = "It was not measured; `./mainline evaluate` does where there are test rows."
        return Section(title, (Alert("note", (said,)),))
    cells: list[tuple[Line, ...]] = [
        ((Code(str(f["name"])),), (show(f["loss"], signed=True),), (show(f["sd"]),))
        for f in features[:MOST_FEATURES]
    ]
    metric = str(leaning.get("metric")).replace("_", " ")
    said = (f"How much {metric} is lost on {count(leaning.get('rows'))} test rows when one feature "
            f"is shuffled among them, {count(leaning.get('repeats'))} times; of two that say the "
            "same, neither seems to matter.")  # fmt: skip
    head = ("feature", "loss", "sd")
    return Section(title, (Paragraph((said,)), *table(head, cells, {1, 2})), spare=1)


def _cost(found: Facts) -> Section:
    cost: dict[str, Any] = found.cost or {}
    size = number(inner(found.behaviour, "size").get("megabytes"))
    parts = [
        f"{show(cost.get('seconds'))} seconds" if number(cost.get("seconds")) else None,
        f"{count(cost.get('peak_mb'))} MB of memory" if number(cost.get("peak_mb")) else None,
    ]
    said = " and ".join(filter(None, parts)) or "What training took was not kept"
    more = f" The model has {show(size)} MB." if size is not None else ""
    return Section("Cost of training", (Paragraph((f"{said}.{more}",)),))


def _caution(approved: StepVerdict) -> Section | None:
    """What was not sure when it was approved."""
    lifted = [c for c in approved.checks if "; inconclusive, and accepted" in c.reason]
    items: tuple[Line, ...] = tuple((f"{c.name}: {c.reason}.",) for c in lifted)
    return Section("Let through by a person", (Bullets(items),)) if items else None


def _back(root: Path, options: settings.Settings, name: str) -> Section:
    """The commands that take this version out of production."""
    earlier = [v for v in registry.versions(root, options.model.name) if v.name != name]
    lines: list[tuple[Inline, ...]] = []
    if earlier:
        before = earlier[-1]
        lines = [
            ("Back to what stood at prod before: ", Code("./mainline rollback --push")),
            (f"Back to {before.name} (model {short(before.digest)}): ",
             Code(f"./mainline rollback {before.name} --push")),
        ]  # fmt: skip
    else:
        lines.append((f"{name} is the first version: there is none to go back to.",))
    lines += [
        ("Never again: ", Code(f"./mainline archive {name} --push")),
        ("Before it is used again: ", Code(f"./mainline verify {name}")),
    ]
    return Section("How to roll back", (Bullets(tuple(lines)),))
