"""Loads the model once and forks the workers that answer, so that a killed one is back at once.

Importing and loading take seconds, a fork takes a hundredth of one. It is done before any thread
is started, and workers share what was loaded. The loader also looks after them: a worker whose
features hang is replaced.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import mmap
import os
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mainline.errors import MainlineError

TICK = 0.2  # seconds between two looks at the workers
DEAF = 10.0  # a worker whose event loop has not turned for this long is replaced
# What a worker imports besides.
USED = (
    "_bentoml_impl.server.app", "mainline.serve.service", "mainline.serve.worker", "uvloop",
    "uvicorn.lifespan.on", "uvicorn.protocols.http.httptools_impl",
)  # fmt: skip
WAITED = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD} if os.name == "posix" else set()


class Slot:
    """What a worker tells the loader, in memory that both see: times of `time.monotonic()`.

    `ready` when it first listened, `busy` since when the features work on one batch (0: they do
    not), `beat` when its event loop last turned.
    """

    NAMES = ("ready", "busy", "beat")
    SIZE = 8 * len(NAMES)

    def __init__(self, memory: mmap.mmap, index: int) -> None:
        self._memory, self._at = memory, index * self.SIZE
        self.clear()

    def clear(self) -> None:
        """Nothing was told yet."""
        for name in self.NAMES:
            self.tell(name, 0.0)

    def tell(self, name: str, value: float | None = None) -> None:
        """Write down `value`, or now."""
        at = self._at + 8 * self.NAMES.index(name)
        struct.pack_into("d", self._memory, at, time.monotonic() if value is None else value)

    def told(self, name: str) -> float:
        """What was written down last."""
        at = self._at + 8 * self.NAMES.index(name)
        return float(struct.unpack_from("d", self._memory, at)[0])


def stuck(slot: Slot, now: float, timeout: float) -> str | None:
    """Why a worker has to be replaced, None when it has not.

    `timeout` is the time limit of a request: who waits for a batch that takes longer has had an
    answer already, and what comes after it would wait for ever.
    """
    busy, beat = slot.told("busy"), slot.told("beat")
    if busy and now - busy > timeout + 1:
        return f"the features have worked on one batch for {now - busy:.0f} s"
    if beat and now - beat > max(DEAF, timeout + 1):
        return f"it has not turned its event loop for {now - beat:.0f} s"
    return None


@dataclass
class Loader:
    """The workers of one loaded model."""

    listener: int  # file descriptors
    lifeline: int
    told: int
    workers: int
    keep_alive: int
    drain: int
    loaded: Any = None
    timeout: float = 30.0
    slots: list[Slot] = field(default_factory=list)
    running: dict[int, int] = field(default_factory=dict)  # process -> slot
    ending: dict[int, float] = field(default_factory=dict)  # process -> when it is killed
    stopping: bool = False
    answering: bool = False  # whether a worker was ever ready

    def run(self) -> int:
        """Fork, look after, and end; the exit status."""
        memory = mmap.mmap(-1, Slot.SIZE * self.workers)
        self.slots = [Slot(memory, i) for i in range(self.workers)]
        # Workers read from the first end and hold none of the second.
        self.parent, self._alive = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)
        for index in range(self.workers):
            self._fork(index)
        while self.running or self.ending:
            got = signal.sigtimedwait(WAITED, TICK)
            if (got is not None and got.si_signo != signal.SIGCHLD) or self._orphaned():
                self._stop()
            status = self._reap()
            if status is not None:
                return self._give_up(status)
            self._look()
        return 0

    def _fork(self, index: int) -> None:
        self.slots[index].clear()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self.running[pid] = index
            return
        status = 1
        try:
            os.close(self._alive)
            os.close(self.told)
            from mainline.serve import worker

            status = worker.run(self, index)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            # Not sys.exit: what the loader registered for its own end is not the worker's to do.
            os._exit(status)

    def _orphaned(self) -> bool:
        return bool(select.select([self.lifeline], [], [], 0)[0])

    def _stop(self) -> None:
        """No new connections; each worker answers what it has accepted."""
        if not self.stopping:
            self.stopping = True
            os.close(self.listener)
        for pid in [*self.running]:
            self._end(pid, self.drain + 3)

    def _end(self, pid: int, patience: float) -> None:
        self.running.pop(pid, None)
        self.ending.setdefault(pid, time.monotonic() + patience)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    def _reap(self) -> int | None:
        """Bury who ended and fork a successor; a status when there is no use in one."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            self.ending.pop(pid, None)
            _forget(pid)
            index = self.running.pop(pid, None)
            if index is None:  # one that was told to end, or a process that a worker left behind
                continue
            code = os.waitstatus_to_exitcode(status)
            if not self.slots[index].told("ready") and code > 0:
                return code
            _say(f"a worker ended ({_how(code)}); the next one takes over")
            if not self.slots[index].told("ready"):
                time.sleep(TICK)
            self._fork(index)

    def _look(self) -> None:
        """Tell the arbiter once that a worker answers; replace those that hang."""
        if not self.answering and any(slot.told("ready") for slot in self.slots):
            self.answering = True
            os.write(self.told, b"1")
        now = time.monotonic()
        for pid, index in list(self.running.items()):
            reason = stuck(self.slots[index], now, self.timeout)
            if reason is not None:
                _say(f"a worker is replaced: {reason}")
                # Its other callers get their answers, if only that it took too long.
                self._end(pid, self.timeout + 1)
                self._fork(index)
        for pid, until in list(self.ending.items()):
            if now > until:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _give_up(self, status: int) -> int:
        for pid in [*self.running]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        return status


def _how(code: int) -> str:
    return f"status {code}" if code >= 0 else f"signal {-code}"


def _say(text: str) -> None:
    print(f"mainline: {text}", file=sys.stderr, flush=True)


def _forget(pid: int) -> None:
    """Take the gauges of a process that ended out of /metrics; its counters stay."""
    for path in Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", os.devnull)).glob(
        f"gauge_live*_{pid}.db"
    ):
        path.unlink(missing_ok=True)


def load() -> Any:
    """Import and load everything that a worker needs, without starting a thread."""
    from bentoml._internal.log import configure_server_logging

    # First: it silences each logger that is there already.
    configure_server_logging()
    from mainline.serve import loading

    loaded = loading.load()
    for name in USED:
        importlib.import_module(name)
    # What is loaded by now stays: looking through it for garbage would copy each page of it.
    gc.collect()
    gc.freeze()
    return loaded


def main(arguments: Sequence[str] | None = None) -> int:
    """Run by the arbiter; the exit status."""
    # The arbiter blocks them; until the workers are there a signal just ends this process.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITED)
    parser = argparse.ArgumentParser(prog="python -m mainline.serve.loader")
    for name in ("listener", "lifeline", "told"):
        parser.add_argument(name, type=int)
    for name in ("--workers", "--keep-alive", "--drain"):
        parser.add_argument(name, type=int, required=True)
    loader = Loader(**vars(parser.parse_args(arguments)))
    try:
        loader.loaded = load()
        loader.timeout = loader.loaded.options.serve.timeout_seconds
    except MainlineError as error:
        _say(str(error))
        return error.status
    return loader.run()


if __name__ == "__main__":
    sys.exit(main())
