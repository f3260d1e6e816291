"""Holds the port, and keeps alive the process that loaded the model. Standard library only.

Three kinds of process serve: this one, which is small and has nothing to break; the loader
(`mainline.serve.loader`), which loads the model once; and the workers that the loader forks, which
answer. The listening socket belongs to all of them, so a connection made while one of them is
gone waits for the next instead of being refused. Nobody listens for commands: BentoML's own
arbiter opens two ports for anybody on the machine who wants to give it some.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from mainline.errors import MainlineError, UsageError

BACKLOG = 2048
STARTS = 5  # failed ones in a row, after which the service ends
KILLED = 128  # and above: by a signal
PAUSE = 0.5  # seconds between two starts of a loader that ends at once
WAITED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}) if os.name == "posix" else set()
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; UsageError when something else does, or the address is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"Port {port} of {host} cannot be used ({error.strerror or error})",
            "Choose another with `--port`",
        ) from error
    return listener


class Arbiter:
    """Starts the loader, starts it again when it was killed, and ends everything in order."""

    def __init__(self, listener: socket.socket, workers: int, keep_alive: int, drain: int) -> None:
        self.listener = listener
        self.options = [
            "--workers", str(workers), "--keep-alive", str(keep_alive), "--drain", str(drain),
        ]  # fmt: skip
        self.drain = drain
        # Whoever holds the reading end sees its end when this process is gone, however it went.
        self.lifeline, self._alive = os.pipe()
        self.loader: subprocess.Popen[bytes] | None = None
        self._ready = -1
        self.failed = 0

    def run(self) -> int:
        """Serve until told to end; the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)
        _adopt_orphans()
        self._start()
        while True:
            if signal.sigwait(WAITED) != signal.SIGCHLD:
                return self._end()
            status = self._reap()
            if status is None:
                continue
            # What ends by itself before it ever served would do so again; what was killed may not.
            refused = self.failed and not self._served and status < KILLED
            if self.failed >= STARTS or refused:
                return self._give_up(status)
            if self.failed:
                time.sleep(PAUSE)
            self._start()

    _served = False  # whether a loader was ever ready

    def _start(self) -> None:
        self._ready, told = os.pipe()
        os.set_blocking(self._ready, False)
        fds = [self.listener.fileno(), self.lifeline, told]
        # A session of its own: what a terminal or a supervisor sends to the group of this process
        # must reach the workers once and in order.
        self.loader = subprocess.Popen(
            [sys.executable, "-m", "mainline.serve.loader", *map(str, fds), *self.options],
            pass_fds=fds, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(told)

    def _reap(self) -> int | None:
        """Bury every child that ended; the loader's exit status, None while it lives."""
        ended = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if pid == 0:
                return ended
            if self.loader is not None and pid == self.loader.pid:
                code = os.waitstatus_to_exitcode(status)
                self.loader.returncode = code
                ended = code if code >= 0 else KILLED - code
                ready = self._was_ready()
                self.failed = 0 if ready else self.failed + 1
                self._served = self._served or ready

    def _was_ready(self) -> bool:
        try:
            return bool(os.read(self._ready, 1))
        except BlockingIOError:
            return False
        finally:
            os.close(self._ready)

    def _end(self) -> int:
        """Close the port for new connections and let the workers answer what they accepted."""
        self.listener.close()
        os.close(self._alive)
        assert self.loader is not None
        if self.loader.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.loader.send_signal(signal.SIGTERM)
        end = time.monotonic() + self.drain + 5
        while (left := end - time.monotonic()) > 0:
            self._bury()
            if not _children():
                break
            signal.sigtimedwait({signal.SIGCHLD}, min(left, 1.0))
        else:
            print("mainline: a process did not end in time and was killed", file=sys.stderr)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.loader.pid, signal.SIGKILL)
            return 1
        return 0

    def _bury(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def _give_up(self, status: int) -> int:
        self.listener.close()
        os.close(self._alive)
        return status


def _children() -> bool:
    """Whether this process has a child, ended or not (it stays to be waited for)."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _adopt_orphans() -> None:
    """Become the parent of workers whose loader was killed, so that they can be waited for."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the model beside this code; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mainline.serve.arbiter")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=int(os.environ.get("MAINLINE_WORKERS", 1)))
    parser.add_argument("--keep-alive", type=int, default=75, help="seconds")
    parser.add_argument("--drain", type=int, default=20, help="seconds")
    asked = parser.parse_args(arguments)
    counters = tempfile.mkdtemp(prefix="mainline-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = counters
    try:
        listener = listen(asked.host, asked.port)
        # The port may have been 0; a person wants to know where to ask.
        host, port = listener.getsockname()[:2]
        print(f"mainline: http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        return Arbiter(listener, max(1, asked.workers), asked.keep_alive, asked.drain).run()
    except MainlineError as error:
        print(f"mainline: {error}", file=sys.stderr)
        return error.status
    finally:
        shutil.rmtree(counters, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
