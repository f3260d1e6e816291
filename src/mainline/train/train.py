"""`mainline train`: one estimator from the train part, its threshold from the tune part."""

from __future__ import annotations

import contextlib
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mainline import inputs, settings
from mainline.data import schema, table
from mainline.data.split import assign, split_digest
from mainline.errors import DataError, SettingsError
from mainline.files import digest_file, digest_json, write_bytes, write_json
from mainline.train import profile, skops_file
from mainline.train.bundle import (
    build_features,
    class_names,
    decide,
    encode_target,
    raw_columns,
    raw_inputs,
    scores_of,
)
from mainline.train.origin import origin
from mainline.train.threshold import choose
from mainline.verdict import Check, StepVerdict, Verdict, recorded


@dataclass(frozen=True)
class Rows:
    """The usable rows with their parts and encoded target (`y`, shape (n,))."""

    frame: pd.DataFrame
    part: pd.Series
    y: np.ndarray
    classes: list[str] | None


def run(root: Path) -> StepVerdict:
    """Train on `data/`, write `models/` and `reports/verdicts/train.json`.

    The same commit and data give the same bytes, on any number of threads. Raises DataError for
    rows that cannot be trained on and SettingsError for an entry point that cannot be called.
    """
    with recorded(root, "train"):
        began = time.perf_counter()
        options, rules = settings.load(root), schema.load(root)
        schema.check_agreement(options, rules)
        rows = usable_rows(root, options, rules)
        with one_thread(root, options):
            digest = write_bundle(root, rows, options, rules)
        counts = rows.part.value_counts()
        done = StepVerdict(
            "train",
            (Check("trained", Verdict.PASS,
                   f"Trained on {counts['train']} rows, {counts['tune']} kept for tuning",
                   value=int(counts["train"]), n=len(rows.part), unit="rows"),),
            {"code": inputs.code_digest(root), "data": table.data_digest(root),
             "split": split_digest(options, rules), "model": digest},
        )  # fmt: skip
        done.write(root)
        _write_cost(root, time.perf_counter() - began)
        return done


def one_thread(root: Path, options: settings.Settings) -> AbstractContextManager[Any]:
    """All numerical libraries on one thread: a parallel sum rounds differently each time."""
    import scipy.linalg  # noqa: F401
    import sklearn.utils  # noqa: F401
    from threadpoolctl import threadpool_limits

    # A limit reaches the libraries that are loaded already, so the forker's come first.
    for name in (options.features.build, options.train.estimator):
        settings.entry_point(root, name)
    return threadpool_limits(1)


def usable_rows(root: Path, options: settings.Settings, rules: schema.Schema) -> Rows:
    """Labelled, matured rows in the window, with part and target; DataError for one class."""
    frame = table.load_table(root, rules)
    frame = frame[table.usable(frame, options, rules)].reset_index(drop=True)
    if frame.empty:
        raise DataError(f"No row has a label in {rules.target!r}", "Add labels, or mend the target")
    ids = table.row_ids(frame, rules)
    if ids.duplicated().any():
        raise DataError(
            f"The row id {ids[ids.duplicated()].iloc[0]!r} stands twice",
            "Run `./mainline validate` to see them all, and drop the repeats",
        )
    classes = class_list(frame[rules.target], options.model)
    y = encode_target(frame[rules.target], options.model.task, classes)
    part = assign(frame, options, rules)
    if classes is not None:
        for name in ("train", "tune"):
            seen = np.unique(y[(part == name).to_numpy()])
            if len(seen) < 2:
                raise DataError(
                    f"The part {name!r} holds only the class {classes[seen[0]]!r}",
                    "Add rows of the other class, or change the split in params.yaml",
                )
    return Rows(frame, part, y, classes)


def class_list(target: pd.Series, model: settings.Model) -> list[str] | None:
    """Class names in order: negative then positive, or sorted; None for a regression."""
    if model.task == "regression":
        return None
    names = sorted(class_names(target.dropna()).unique())
    if len(names) < 2:
        raise DataError(
            f"The target {model.target!r} is constant ({names[0]!r} in every row)",
            "A model needs at least two classes",
        )
    if model.task == "multiclass":
        return names
    positive = (
        str(model.positive).lower() if isinstance(model.positive, bool) else str(model.positive)
    )
    if positive not in names:
        raise SettingsError(
            f"params.yaml: model.positive is {positive!r}; the target holds {', '.join(names[:5])}",
            "Name one of these classes",
        )
    if len(names) != 2:
        raise DataError(
            f"The target {model.target!r} has {len(names)} classes and the task is binary",
            "Set model.task to multiclass, or mend the target",
        )
    return [n for n in names if n != positive] + [positive]


def fit(
    x: pd.DataFrame, y: np.ndarray, root: Path, options: settings.Settings, stir: int = 0
) -> Any:
    """The forker's estimator, fitted; SettingsError or DataError where it cannot be.

    `stir` is added to the seed of numpy's global random numbers only: an estimator that takes its
    seed to heart comes out the same.
    """
    make = settings.entry_point(root, options.train.estimator)
    try:
        estimator = make(seed=options.train.seed, **options.train.args)
    except TypeError as error:
        raise SettingsError(
            f"{options.train.estimator} could not be called: {error}",
            "Mend train.args in params.yaml",
        ) from error
    np.random.seed((options.train.seed + stir) % 2**32)
    try:
        return estimator.fit(x, y)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"The estimator could not be fitted: {str(error).splitlines()[0]}",
            "Handle these columns in features.build or choose an estimator that can",
        ) from error


def write_bundle(root: Path, rows: Rows, options: settings.Settings, rules: schema.Schema) -> str:
    """Fit and write `models/` whole or not at all; returns the digest of the bundle."""
    build = settings.entry_point(root, options.features.build)
    train = (rows.part == "train").to_numpy()
    raw = raw_columns(rules.features, rows.frame[train])
    typed = raw_inputs(rows.frame, raw)
    x = build_features(build, typed)
    estimator = fit(x[train], rows.y[train], root, options)
    content = skops_file.dump(estimator)
    # What is saved is what is used from here on: a file that cannot be loaded is noticed now.
    estimator = skops_file.load(content, options.train.trusted)
    held = ~train
    scores = scores_of(estimator, x[held], options.model.task)
    tune = (rows.part[held] == "tune").to_numpy()
    threshold = None
    if options.model.task == "binary":
        threshold = choose(rows.y[held][tune], scores[tune, 0], options.evaluate.threshold)
    decisions = decide(scores, options.model.task, threshold)
    # Of all rows, held out or not: the profile tells what inputs look like, and more weeks tell it
    # better. Scores and quality come from held-out rows only.
    reference = profile.build_reference(
        typed, rows.frame[rules.time] if rules.time else None, scores, decisions, rows.y[held],
        rows.frame[held][rules.time] if rules.time else None, options.model.task,
    )  # fmt: skip
    meta = {
        "schema": "model/1",
        "name": options.model.name,
        "task": options.model.task,
        "target": options.model.target,
        "classes": rows.classes,
        "threshold": threshold,
        "raw": raw,
        "features": [{"name": str(c), "dtype": str(x[c].dtype)} for c in x.columns],
        "build": options.features.build,
        "estimator": options.train.estimator,
        "args": options.train.args,
        "seed": options.train.seed,
        "trained_until": newest(rows.frame[train], rules),
        "rows": {k: int(v) for k, v in sorted(rows.part.value_counts().items())},
        "digests": {"data": table.data_digest(root), "split": split_digest(options, rules),
                    "interface": digest_json([raw, rows.classes])},
        "lock": inputs.lock_digest(root),
        "platform": platform_name(),
        **origin(root),
    }  # fmt: skip
    meta["golden"] = golden_rows(typed[train], estimator, build, options.model.task)
    return _write_folder(root / "models", content, meta, reference)


def platform_name() -> str:
    """The system, processor and Python on which a model is the same to the last byte."""
    python = sys.version_info
    return f"{sys.platform}-{platform.machine()}-python{python[0]}.{python[1]}"


def newest(frame: pd.DataFrame, rules: schema.Schema) -> str | None:
    """The time of the newest row, ISO 8601; None without a time column."""
    return None if rules.time is None else frame[rules.time].max().isoformat()


def golden_rows(typed: pd.DataFrame, estimator: Any, build: Any, task: str) -> list[dict[str, Any]]:
    """Five made-up rows at the quantiles of each column, with their scores: no row of a person."""
    levels = (0.1, 0.3, 0.5, 0.7, 0.9)
    columns: dict[str, Any] = {}
    for name in typed.columns:
        series = typed[name]
        if isinstance(series.dtype, pd.CategoricalDtype):
            top = series.value_counts().index[: len(levels)]
            columns[name] = pd.Categorical(
                [top[i % len(top)] for i in range(len(levels))], categories=series.cat.categories
            )
        elif series.dtype == float:
            columns[name] = series.quantile(levels, interpolation="lower").to_numpy()
        else:
            columns[name] = pd.Series([""] * len(levels), dtype=object)
    rows = pd.DataFrame(columns)
    scores = scores_of(estimator, build_features(build, rows), task)
    plain = rows.astype(object).where(rows.notna(), None).to_dict("records")
    return [
        {"row": row, "scores": list(map(float, s))} for row, s in zip(plain, scores, strict=True)
    ]


def _write_folder(folder: Path, content: bytes, meta: dict[str, Any], reference: Any) -> str:
    from mainline.files import digest_tree

    folder.parent.mkdir(parents=True, exist_ok=True)
    with _sibling(folder) as fresh:
        write_bytes(fresh / "model.skops", content)
        write_json(fresh / "profile.json", reference)
        meta["files"] = {n: digest_file(fresh / n) for n in ("model.skops", "profile.json")}
        write_json(fresh / "model.json", meta)
        digest = digest_tree(fresh)
        if folder.exists():
            old = fresh.with_name(fresh.name + "-old")
            folder.rename(old)
            fresh.rename(folder)
            shutil.rmtree(old)
        else:
            fresh.rename(folder)
    return digest


@contextlib.contextmanager
def _sibling(folder: Path) -> Iterator[Path]:
    try:
        fresh = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
    except OSError as error:
        raise DataError(f"{folder.name}/ could not be written ({error.strerror})") from error
    try:
        # mkdtemp makes it private; a cache shared by a team must be readable.
        fresh.chmod(0o755)
        yield fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write_cost(root: Path, seconds: float) -> None:
    try:
        import resource
    except ImportError:  # Windows has none
        write_json(root / "build" / "cost.json", {"seconds": round(seconds, 2), "peak_mb": None})
        return
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    megabytes = peak / (1024 if sys.platform != "darwin" else 1024 * 1024)
    write_json(root / "build" / "cost.json",
               {"seconds": round(seconds, 2), "peak_mb": round(megabytes)})  # fmt: skip
