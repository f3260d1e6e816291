"""The Bento's service: the ASGI application of `mainline.serve.app` inside BentoML's server.

`bentoml serve` runs it by BentoML's own processes, `mainline serve` and the image by those of
`mainline.serve.arbiter`. What is heavy is imported in `mainline.serve.loading`, since BentoML
imports this module to build and to start, too.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import bentoml
from bentoml._internal.context import server_context


def create() -> Any:
    """The application around the model of this Bento (or of this checkout)."""
    from mainline.serve import loading

    return loading.application(loading.load())


class Front:
    """Answers each request by the application, and leaves the life cycle to BentoML.

    At the start it steps before BentoML's own stack: that would hide /healthz, /readyz and
    /metrics of a mounted application, and its tracing and timers cost half as much again as
    everything else.
    """

    service: Any = None

    def __init__(self, app: Any) -> None:
        self.app = app

    @classmethod
    def refresh(cls) -> None:
        """Bring the metrics of this worker up to date."""
        cls.service.refresh(cls.service.metrics)

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
        if Front.service is not None:  # made by `mainline.serve.worker` from what was loaded once
            return
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
