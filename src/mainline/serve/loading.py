"""What is loaded once (the model) and what each worker makes of it (the application)."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before numpy is imported: a thread a core for a handful of rows costs more than it brings.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# The forker's code can tell that it is in production.
os.environ["MAINLINE_SERVING"] = "1"

import pandas as pd

from mainline import settings
from mainline.data import schema as schemas
from mainline.errors import DataError
from mainline.files import digest_tree
from mainline.serve import beside, feedback
from mainline.serve.app import Service
from mainline.serve.log import PredictionLog
from mainline.serve.records import Shape
from mainline.serve.scoring import Scorer
from mainline.serve.web import Limits
from mainline.train import bundle as bundles

RECORD = "mainline.json"
HERE = Path(__file__).resolve().parents[2]


def place() -> tuple[Path, Path]:
    """The folder of `models/` and `schema.yaml`, and the one whose `src/` holds the features.

    In a Bento the content of `src/` stands beside `models/`; in a checkout below it.
    """
    return (HERE, HERE.parent) if (HERE / "params.yaml").is_file() else (HERE.parent, HERE.parent)


def check_digest(folder: Path, found: str) -> dict[str, Any]:
    """The Bento's record; DataError when the model in it is not the one that it was built with."""
    if not (folder / RECORD).is_file():
        return {}
    record: dict[str, Any] = json.loads((folder / RECORD).read_text("utf-8"))
    if record["digest"] != found:
        raise DataError(
            f"The model in this Bento is {found} and it was built with {record['digest']}",
            "Build it again from the registered version",
        )
    return record


class Watched:
    """The forker's features, which tell the loader since when they have worked on a batch."""

    def __init__(self, build: Callable[[Any], Any]) -> None:
        self.build = build
        self.tell: Callable[[float], None] | None = None
        self._since: dict[int, float] = {}  # by thread

    def __call__(self, frame: Any) -> Any:
        """What `build` makes of `frame`."""
        if self.tell is None:
            return self.build(frame)
        thread = threading.get_ident()
        self._since[thread] = time.monotonic()
        self.tell(min(self._since.values()))
        try:
            return self.build(frame)
        finally:
            del self._since[thread]
            self.tell(min(self._since.values(), default=0.0))


@dataclass(frozen=True)
class Loaded:
    """What is loaded before workers are forked: no thread, no open file, no metric."""

    scorer: Scorer
    schema: schemas.Schema
    options: settings.Settings
    version: str
    build: Watched


def load() -> Loaded:
    """The model of this Bento (or of this checkout), after its digest was compared."""
    folder, root = place()
    record = check_digest(folder, digest_tree(folder / "models"))
    options = settings.load(folder)
    # As in the image, which has no pyarrow: names of columns in Arrow's memory take longer to look
    # up than a row takes to score, and say the same.
    pd.set_option("mode.string_storage", "python")
    bundle = bundles.load(folder / "models", root)
    build = Watched(bundle.build)
    scorer = Scorer(dataclasses.replace(bundle, build=build), options.serve.engine)
    print(f"mainline: scores by {scorer.engine}: {scorer.why}", file=sys.stderr, flush=True)
    version = os.environ.get("MAINLINE_VERSION") or record.get("version") or "unversioned"
    return Loaded(scorer, schemas.load(folder), options, version, build)


def application(loaded: Loaded) -> Service:
    """The application around what was loaded; it may start threads and open files."""
    serve = loaded.options.serve
    service = Service(
        loaded.scorer,
        loaded.schema,
        version=loaded.version,
        limits=Limits(
            serve.max_rows, serve.max_body_bytes, serve.max_requests, serve.timeout_seconds
        ),
        log=_log(loaded),
    )
    folder, root = place()
    beside.add(service, folder / "models", root, loaded.scorer.bundle.meta, serve.keys)
    feedback.add(service, loaded.scorer.bundle.meta, loaded.options.monitor.maturity_days)
    return service


def _log(loaded: Loaded) -> PredictionLog:
    places = loaded.options.monitor
    scorer, rules = loaded.scorer, loaded.schema
    log = PredictionLog(
        os.environ.get("MAINLINE_LOG") or places.log,
        labels=os.environ.get("MAINLINE_LABELS") or places.labels,
        shape=Shape(
            scorer.name, scorer.digest, scorer.threshold,
            tuple(c.name for c in rules.features), rules.row_id, rules.entity,
            os.environ.get("MAINLINE_ENTITY_KEY"),
        ),
        file_bytes=int(loaded.options.serve.log_file_mb * 1e6),
    )  # fmt: skip
    log.start()
    return log
