"""POST /explain: what each column contributed to one row's score, worked out in a process apart.

Contributions are Shapley values of the columns that the caller sends, by shap's permutation
explainer: the score without a column is its mean over the model's golden rows, five made-up rows
at the quantiles of the training data (no row of a person, the same on each machine). Base value
and contributions sum to the score. Working them out takes a thousand scores, so a child process
does it at a lower priority: started at the first use, ended when idle, killed with the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mainline.serve.batching import Overloaded
from mainline.serve.inputs import Inputs, Refused, Row

WAITING = 8  # explanations at once, the one that is worked out included
IDLE = 60.0  # seconds after which the child ends
START = 120.0  # seconds that it may take to load shap and the model
WORK = 30.0  # seconds for one row, whatever its caller waits for: a child that is killed must start
logger = logging.getLogger("mainline.serve")


class Broken(RuntimeError):
    """The child could not explain, or ended; its message is the name of an error and no more."""


class Child:
    """One process that explains rows of the bundle in `folder`. Not for several threads at once.

    It is started when first asked, and again after it ended. `root` holds the forker's `src/`;
    `digest` is that of the model that is served: the child refuses another.
    """

    def __init__(self, folder: Path, root: Path, digest: str, *, idle: float = IDLE) -> None:
        self._arguments = [
            sys.executable, "-m", "mainline.serve.explaining", str(folder), str(root), digest,
            str(idle),
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id; None while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def ask(self, row: Row, seconds: float) -> dict[str, Any]:
        """Its answer, or TimeoutError after `seconds`, or Broken.

        A start takes seconds and is not counted: whoever waited is told to come back, and it is
        there for the next one.
        """
        answer = None
        for _ in range(2):  # it may have ended, idle, while it was being asked
            if self.pid is None:
                self._process = self._start()
                answer = self._within(START, None)
                if answer is None or "error" in answer:
                    break
            answer = self._within(seconds, row)
            if answer is not None:
                break
        if answer is None:
            raise Broken("the process that explains ended")
        if "error" in answer:
            raise Broken(str(answer["error"])[:100])
        return answer

    def _within(self, seconds: float, row: Row | None) -> dict[str, Any] | None:
        """`_exchange`, with a child that is killed after `seconds`: TimeoutError."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            answer = self._exchange(row)
        finally:
            timer.cancel()
        if answer is None and late.is_set():
            raise TimeoutError
        return answer

    def kill(self) -> None:
        """End it at once."""
        process = self._process
        if process is not None:
            with contextlib.suppress(OSError):
                process.kill()

    def close(self) -> None:
        """End it and wait until it is gone."""
        self.kill()
        if self._process is not None:
            self._process.wait(10)

    def _exchange(self, row: Row | None) -> dict[str, Any] | None:
        """A row and its answer, or that it is ready without one; None when the child ended."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            if row is not None:
                process.stdin.write(json.dumps(row).encode() + b"\n")
                process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            process.kill()
            process.wait()
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        secret = ("MAINLINE_ENTITY_KEY", "MAINLINE_KEYS", "MAINLINE_SIGNING_KEY")
        environment = {k: v for k, v in os.environ.items() if k not in secret}
        places = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, places))
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        return subprocess.Popen(
            self._arguments, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )


class Explain:
    """The handler of POST /explain.

    Raises Refused: 501 where shap is not installed, 400 for more than one row; Overloaded when too
    much waits, TimeoutError after `seconds` (the time that it waited included).
    """

    def __init__(
        self, inputs: Inputs, child: Child, about: Mapping[str, Any], *, seconds: float = 30.0
    ) -> None:
        self._inputs = inputs
        self.child = child
        self._about = dict(about)
        self._seconds = seconds
        self._waiting = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="explain")

    async def __call__(self, content: bytes, call: object) -> bytes:
        """The body of a 200."""
        if not installed():
            raise Refused(
                501, "not-installed", "This service cannot explain",
                "Install shap beside it: `pip install shap`, at the version of requirements.txt",
            )  # fmt: skip
        rows = self._inputs.parse(content)
        if len(rows) != 1:
            raise Refused(400, "one-row", "One row is explained at a time", "Send a single row")
        if self._waiting >= WAITING:
            raise Overloaded
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                loop = asyncio.get_running_loop()
                answer = await loop.run_in_executor(self._pool, self._ask, rows[0])
        except Broken as error:
            # Its name alone: what an error of the forker's code says may be personal.
            logger.error("a row could not be explained: %s", error)
            raise Refused(
                500, "not-explained", "The row could not be explained", "The service's log says why"
            ) from None
        finally:
            self._waiting -= 1
        return json.dumps({"explanation": answer, **self._about}).encode()

    def _ask(self, row: Row) -> dict[str, Any]:
        return self.child.ask(row, max(self._seconds, WORK))

    def close(self) -> None:
        """End the child."""
        self.child.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.child.close()


def installed() -> bool:
    """Whether shap is there; it is not loaded, for it is large."""
    return importlib.util.find_spec("shap") is not None


def document(
    names: Sequence[str], scores: Sequence[float], base: Sequence[float], values: Any
) -> dict[str, Any]:
    """The explanation as the caller sees it, the largest contribution first.

    `values` (columns, k) are contributions to each of the k scores. Raises ArithmeticError where
    base and contributions do not sum to the scores: the model then answers differently each time.
    """
    totals = [b + sum(column[i] for column in values) for i, b in enumerate(base)]
    if any(abs(t - s) > 1e-6 * max(1.0, abs(s)) for t, s in zip(totals, scores, strict=True)):
        raise ArithmeticError("base and contributions are not the score")
    by = {name: [float(v) for v in column] for name, column in zip(names, values, strict=True)}
    largest = sorted(by, key=lambda name: -max(map(abs, by[name])))
    return {
        "scores": list(scores),
        "base": list(base),
        "contributions": {name: by[name] for name in largest},
    }
