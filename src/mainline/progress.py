"""Running an installer in sight: one line that moves on a terminal, few lines elsewhere.

Standard library only, since it runs before anything is installed.
"""

from __future__ import annotations

import collections
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from mainline.environment import DEFAULTS, SetUpError

SIGNS = ("Downloading", "Downloaded", "Building", "Collecting", "Prepared", "Installing")
WIDTH = 79
MARKS = " |\u2502\u00d7\u2570\u2500\u25b6\u251c"  # what uv draws around its errors


def say(sentence: str) -> None:
    """One line on stderr."""
    print(f"mainline: {sentence}", file=sys.stderr, flush=True)


def watched(command: Sequence[str], what: str) -> None:
    """Run `command`, telling on stderr that it does `what` and how far it is.

    Raises SetUpError with the last thing that it said when it fails. Control-C ends it.
    """
    said: collections.deque[str] = collections.deque(maxlen=20)
    shown = _Shown(what)
    try:
        # `close_fds=False`: the child inherits the lock of the environment that it works on.
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, encoding="utf-8", errors="replace", close_fds=False,
            env={**DEFAULTS, **os.environ},
        )  # fmt: skip
    except OSError as error:
        raise SetUpError(f"{command[0]} could not be started ({error.strerror})") from error
    with child, shown:
        try:
            assert child.stdout is not None
            for line in child.stdout:
                said.append(line.strip())
                shown.heard(line.strip())
        except BaseException:
            child.terminate()
            raise
    if child.returncode != 0:
        raise SetUpError(
            f"{what} failed: {_telling(said).rstrip('.')}",
            "Check that the package index can be reached, then run the same command again",
        )


def _telling(said: collections.deque[str]) -> str:
    """The line of an installer's last words that tells most, without its marks."""
    lines = [line.strip(MARKS) for line in said if line.strip(MARKS)]
    errors = [line for line in lines if line.lower().startswith(("error", "failed", "caused"))]
    return (errors or lines or ["it said nothing"])[-1]


class _Shown:
    """The moving line: what is being done, the last sign of progress, the seconds so far."""

    def __init__(self, what: str) -> None:
        self.what, self.sign, self.begun = what, "", time.monotonic()
        self.live = sys.stderr.isatty()
        self.ended = threading.Event()
        self.ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> _Shown:
        if self.live:
            self.ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        if self.live:
            self.ticker.join()
            print("\r" + " " * WIDTH, end="\r", file=sys.stderr, flush=True)

    def heard(self, line: str) -> None:
        """Take note of a line of the installer's."""
        if line.startswith(SIGNS):
            self.sign = line

    def _tick(self) -> None:
        while not self.ended.wait(0.2):
            line = f"mainline: {self.what}, {time.monotonic() - self.begun:.0f} s  {self.sign}"
            print("\r" + line[:WIDTH].ljust(WIDTH), end="", file=sys.stderr, flush=True)
