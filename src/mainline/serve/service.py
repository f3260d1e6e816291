"""The Bento's service: the ASGI application of `mainline.serve.app` inside BentoML's server."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import bentoml
from bentoml._internal.context import server_context

from mainline.errors import DataError

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


def create() -> Any:
    """The application around the model of this Bento (or of this checkout)."""
    # A thread a core for a handful of rows costs more than it brings.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # The forker's code can tell that it is in production.
    os.environ["MAINLINE_SERVING"] = "1"

    from mainline import settings
    from mainline.data import schema
    from mainline.files import digest_tree
    from mainline.serve.app import Service
    from mainline.serve.log import PredictionLog
    from mainline.serve.scoring import Scorer
    from mainline.serve.web import Limits
    from mainline.train.bundle import load

    folder, root = place()
    record = check_digest(folder, digest_tree(folder / "models"))
    options = settings.load(folder)
    version = os.environ.get("MAINLINE_VERSION") or record.get("version") or "unversioned"
    return Service(
        Scorer(load(folder / "models", root)),
        schema.load(folder),
        version=version,
        limits=Limits(
            options.serve.max_rows, options.serve.max_body_bytes,
            options.serve.max_requests, options.serve.timeout_seconds,
        ),
        log=PredictionLog(os.environ.get("MAINLINE_LOG") or options.monitor.log),
        entity_key=os.environ.get("MAINLINE_ENTITY_KEY"),
    )


class Front:
    """Answers each request by the application, and leaves the life cycle to BentoML.

    At the start it steps before BentoML's own stack: that would hide /healthz, /readyz and
    /metrics of a mounted application, and its tracing and timers cost half as much again as
    everything else.
    """

    service: Any = None

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand over one connection."""
        if scope["type"] == "http" and Front.service is not None:
            await Front.service(scope, receive, send)
            return
        if scope["type"] == "lifespan" and not isinstance(scope["app"].middleware_stack, Front):
            scope["app"].middleware_stack = Front(scope["app"].middleware_stack)
        await self.app(scope, receive, send)


def _follow(parent: int) -> None:
    """End, in order, soon after `parent` was killed: an orphan would keep its port."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


@bentoml.service(
    name="mainline",
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    workers=int(os.environ.get("MAINLINE_WORKERS", "1")),
)
class Mainline:
    """Loads the model once a worker, and refuses one that was not built into this Bento."""

    def __init__(self) -> None:
        worker = server_context.worker_index is not None and os.name == "posix"
        try:
            Front.service = create()
        except Exception:
            # BentoML would go on listening, and each request would wait for ever.
            if worker:
                os.kill(os.getppid(), signal.SIGTERM)
            raise
        if worker:
            threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()

    @bentoml.on_shutdown
    def drain(self) -> None:
        """Score what is queued and write the log to its end."""
        Front.service.close()


Mainline.add_asgi_middleware(Front)  # type: ignore[attr-defined]  # it is a Service now
