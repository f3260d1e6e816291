"""The agent: a thin server round this machine's folder, at the host's end of one ssh connection.

`python -m mainline.rollout.agent PATH` answers calls (see wire.py) from stdin on stdout, one at a
time. It holds the command lock for its caller, and ends when the connection does or nothing was
heard for 30 s: the kernel then drops the lock. With a further word it does one thing and ends:
`boot`, `down`, `receive NAME DIGEST TREE`.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mainline import environment
from mainline.errors import MainlineError
from mainline.rollout import machine, wire
from mainline.rollout.local import LocalTarget
from mainline.rollout.target import Target

# A call that is under way when the connection ends gets so long to end too.
GRACE_SECONDS = 2.0
# What a caller may lend the agent for the time of its connection.
LENT = ("MAINLINE_KEY",)


class Agent:
    """One caller's calls, performed on `target`."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target, self.folder = target, folder
        self.held = contextlib.ExitStack()

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one call, or its error."""
        try:
            return {"value": self.perform(str(asked.get("call")), asked.get("with") or {})}
        except Exception as error:  # of whatever kind: the caller is told, and may call again
            return {"error": wire.error_document(error)}

    def perform(self, call: str, given: Mapping[str, Any]) -> Any:
        """Do what `call` names; MainlineError where there is no such call."""
        if call == "lock":
            return self.held.enter_context(self.target.alone())
        if call == "unlock":
            return self.held.close()
        if call == "lend":
            return os.environ.update({k: v for k, v in given.items() if k in LENT})
        if call == "ensure":
            return machine.ensure(self.folder)
        if call in wire.CALLS:
            return wire.CALLS[call](self.target, given)
        if call in machine.CALLS:
            return machine.CALLS[call](self.folder, given)
        raise MainlineError(f"The agent knows no call {call!r}", "Run `./mainline host install`")


def serve(agent: Agent, stdin: int, stdout: BinaryIO) -> None:
    """Answer until the caller is gone."""
    stdout.write(wire.line({"mainline": wire.PROTOCOL, "house": machine.house_here()}))
    calls: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_listen, args=(stdin, calls), daemon=True).start()
    while (asked := calls.get()) is not None:
        stdout.write(wire.line(agent.answer(asked)))


def _listen(stdin: int, calls: queue.Queue[dict[str, Any] | None]) -> None:
    """Queue what is asked; at the end of the connection see this process ended, whatever it does.

    A dead peer may leave the connection open for hours: silence counts as its end.
    """
    rest = b""
    while select.select([stdin], [], [], wire.SILENCE_SECONDS)[0]:
        found = os.read(stdin, 1 << 16)
        if not found:
            break
        *lines, rest = (rest + found).split(b"\n")
        for line in lines:
            asked = wire.parse(line)
            if asked is not None and asked.get("call") != "ping":
                calls.put(asked)
    calls.put(None)
    time.sleep(GRACE_SECONDS)
    os._exit(0)


def main(words: Sequence[str]) -> int:
    """Do what the words say; returns the status."""
    folder = Path(words[0]).expanduser().resolve()
    os.environ.update(environment.surroundings(environment.ROOT, sys.executable))
    os.environ.update(machine.kept_environment(folder))
    # What a library prints must not stand among the answers.
    stdout = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    if len(words) == 1:
        with contextlib.suppress(BrokenPipeError):
            serve(Agent(LocalTarget(folder), folder), 0, stdout)
        return 0
    try:
        answer: dict[str, Any] = {"value": machine.once(folder, words[1], words[2:])}
    except MainlineError as error:
        answer = {"error": wire.error_document(error)}
    with contextlib.suppress(BrokenPipeError):
        stdout.write(wire.line(answer))
    return int(answer["error"]["status"]) if "error" in answer else 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    # Without the interpreter's way out, which waits for the listener.
    os._exit(status)
