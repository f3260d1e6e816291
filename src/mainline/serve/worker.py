"""One process that answers: BentoML's application in uvicorn, forked from the loader."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import uvicorn

from mainline.errors import MainlineError
from mainline.serve.protocol import Protocol

if TYPE_CHECKING:
    from mainline.serve.loader import Loader, Slot

LINGER = 1.0  # seconds in which an idle connection may bring one more request at the end
ORPHAN = 10.0  # seconds in which an orphan goes on, until a new loader has loaded
BEAT = 1.0


class Server(uvicorn.Server):
    """uvicorn, which at its end loses no connection that a client thinks it has.

    Left alone it closes idle connections while a request may be under way on them, and forgets
    those that the kernel has taken but nobody has accepted yet.
    """

    def __init__(
        self, config: uvicorn.Config, slot: Slot, spare: socket.socket,
        refresh: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        super().__init__(config)
        self._slot = slot
        self._refresh = refresh
        self._spare = spare  # the listening socket once more: uvicorn closes its own first

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell the loader when this worker listens."""
        await super().startup(sockets)
        self._slot.tell("ready")

    async def on_tick(self, counter: int) -> bool:
        """Tell the loader, now and then, that the event loop turns."""
        if counter % 10 == 0:
            self._slot.tell("beat")
            # Whichever worker is asked for /metrics tells of all of them.
            self._refresh()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept what already waits, answer it, ask each client to close, then end."""
        beats = asyncio.create_task(self._beat())
        for server in self.servers:
            server.close()
        await self._accept_waiting()
        state = self.server_state
        state.default_headers = [*state.default_headers, (b"connection", b"close")]
        for connection in list(state.connections):
            cycle = connection.cycle  # type: ignore[union-attr]
            if cycle is not None and not cycle.response_complete:
                cycle.keep_alive = False
        end = asyncio.get_running_loop().time() + LINGER
        while state.connections and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)
        beats.cancel()

    async def _accept_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        self._spare.setblocking(False)
        with contextlib.suppress(OSError), self._spare:
            while True:
                connection, _ = self._spare.accept()
                await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> Any:
        kind: Any = self.config.http_protocol_class
        return kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def _beat(self) -> None:
        while True:
            self._slot.tell("beat")
            await asyncio.sleep(BEAT)


def run(loader: Loader, index: int) -> int:
    """Answer until told to end; the exit status."""
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    for name in signals:
        signal.signal(name, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    threading.Thread(target=_follow, args=(loader.parent, loader.lifeline), daemon=True).start()
    from mainline.serve import service

    slot = loader.slots[index]
    try:
        app = application(loader.loaded, slot, index)
    except MainlineError as error:
        print(f"mainline: {error}", file=sys.stderr, flush=True)
        return error.status
    config = uvicorn.Config(
        app, loop="uvloop", http=Protocol, ws="none", lifespan="on", log_config=None,
        access_log=False, server_header=False, backlog=2048, timeout_keep_alive=loader.keep_alive,
        timeout_graceful_shutdown=loader.drain,
    )  # fmt: skip
    listener = socket.socket(fileno=loader.listener)
    server = Server(config, slot, listener.dup(), service.Front.refresh)
    # uvicorn sends itself the signal again when it has done what it asked for.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)
    server.run(sockets=[listener])
    return 0


def application(loaded: Any, slot: Slot, index: int) -> Any:
    """BentoML's application around the loaded model."""
    from bentoml._internal.context import server_context

    from mainline.serve import loading, service

    server_context.worker_index = index + 1
    server_context.service_name = service.Mainline.name  # type: ignore[attr-defined]
    server_context.service_type = "entry_service"
    loaded.build.tell = functools.partial(slot.tell, "busy")
    service.Front.service = loading.application(loaded)
    return service.Mainline.to_asgi(is_main=True)  # type: ignore[attr-defined]


def _follow(parent: int, lifeline: int) -> None:
    """End, in order, some time after the loader was killed, and soon after the arbiter was.

    An orphan goes on while a new loader loads; without an arbiter it would keep the port.
    """
    os.read(parent, 1)
    select.select([lifeline], [], [], ORPHAN)
    os.kill(os.getpid(), signal.SIGTERM)
