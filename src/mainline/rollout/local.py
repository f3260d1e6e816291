"""A folder of this machine as a target: Envoy, guard, watcher and services under supervisor."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from mainline.errors import MainlineError, RaceError
from mainline.files import short
from mainline.rollout import actions, envoy, host, state
from mainline.rollout.state import Arm, State
from mainline.rollout.target import Ask

KEPT = "bentos"  # artifacts of the versions that run, where the folder outlives the checkout


class LocalTarget:
    """The target in `folder`; see `target.Target` for what each call does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.address = f"{self.folder.name}/"

    def ensure(self) -> None:
        """See Envoy, guard and watcher running; what ran before a reboot comes back."""
        host.ensure(self.folder)

    def read(self) -> State:
        """The state that this target is to be in."""
        return state.read(self.folder)

    def apply(
        self, old: State, wanted: State, event: str, notes: Mapping[str, Any]
    ) -> tuple[State, bool]:
        """Make `wanted` the state if it is still `old`, and bring it about."""

        def decide(now: State) -> State:
            if now.generation != old.generation:
                raise RaceError("The rollout was changed by somebody else", "Try again")
            return state.anchored(wanted, now)

        return actions.change(self.folder, event, decide, **notes)

    def observe(self) -> dict[str, Any]:
        """What is really there."""
        now = self.read()
        found: dict[str, Any] = {
            **state.to_dict(now), "target": self.address, "up": False, "url": None, "envoy": False,
            "guarded": False, "processes": {}, "rate": None, "waiting": self._busy(),
            "warm_left": state.warm_left(now),
        }  # fmt: skip
        if not (self.folder / "host.json").exists() or os.name == "nt":
            return found
        if not host.is_up(self.folder):
            return found
        progress = actions.read_progress(self.folder)
        with contextlib.suppress(OSError, ValueError, MainlineError):
            found["envoy"] = envoy.shows(host.ports(self.folder), now.route)
        left = actions.lease_left(progress, state.boot_id())
        return {**found, "up": True, "url": host.url(self.folder), "guarded": left > 0,
                "processes": host.programs(self.folder), "rate": progress.get("rate")}  # fmt: skip

    def confirm(self, state: State, wait: float) -> bool:
        """Whether traffic is seen to follow `state` within `wait` seconds."""
        return envoy.until(partial(envoy.shows, host.ports(self.folder), state.route), wait)

    def launch(
        self, version: str, digest: str, artifact: Path, command: Sequence[str] | None = None
    ) -> Arm:
        """Start the service of the artifact beside what runs, without traffic."""
        program = "model-" + short(digest)
        now = self.read()
        known = next((a for a in (now.stable, now.canary, now.previous)
                      if a and a.port and a.digest == digest), None)  # fmt: skip
        kept = artifact if command else self._kept(artifact, digest)
        # One that was stopped is started again; one that runs is left alone.
        if host.programs(self.folder).get(program, {}).get("state") in ("STOPPED", "FATAL"):
            host.remove_program(self.folder, program)
        # A command that was cut off after its service was started knows no port of it.
        port = host.port_of(self.folder, program) or host.free_port()
        arm = known or Arm(version, digest, port, program, str(kept))
        argv = [a.replace("{port}", str(arm.port)) for a in command or serve_command(kept)]
        host.add_program(self.folder, program, argv, self._checkout() or self.folder, arm.port)
        return arm

    def _checkout(self) -> Path | None:
        """The checkout that this folder is in, whose settings its services follow."""
        parent = self.folder.parent
        return parent if (parent / "params.yaml").is_file() else None

    def _kept(self, artifact: Path, digest: str) -> Path:
        """The artifact, copied into the folder where that outlives the checkout."""
        if self._checkout() or artifact.resolve().is_relative_to(self.folder):
            return artifact
        place = self.folder / KEPT / short(digest)
        if not place.is_dir():
            half = place.with_name(f".tmp-{os.getpid()}-{place.name}")
            shutil.rmtree(half, ignore_errors=True)
            shutil.copytree(artifact, half)
            half.rename(place)
        return place

    def ask(self, arm: Arm, questions: Sequence[Ask]) -> list[tuple[int, str]]:
        """Status and body of each answer of `arm`'s own service; status 0 where none came."""
        return [_request(arm.port, q) for q in questions]

    def ended(self, arm: Arm) -> str | None:
        """Why the service of `arm` does not run, by its last words; None while it runs."""
        found = host.programs(self.folder).get(arm.program)
        if found is not None and found["state"] not in ("FATAL", "BACKOFF", "EXITED"):
            return None
        return host.last_line(self.folder / "log" / f"{arm.program}.log")

    def retire(self, *keep: Arm) -> None:
        """Stop the service of every version that is neither in `keep` nor in the state."""
        now = self.read()
        live = {a.program for a in (now.stable, now.canary, now.previous, *keep) if a}
        for name in host.programs(self.folder):
            # After a handover that was cut off its successor may be the Envoy that serves.
            if name not in live and name not in (*host.OWN, host.NEXT):
                host.remove_program(self.folder, name)
        names = {p.removeprefix("model-") for p in live}
        for place in (self.folder / KEPT).glob("*"):
            if place.name not in names:
                shutil.rmtree(place, ignore_errors=True)

    def expect(self, answers: Mapping[str, Sequence[Sequence[float]]] | None) -> None:
        """Keep offline answers by model digest."""
        actions.keep_expected(self.folder, answers)

    def replay(self, arm: Arm, stable: Arm, rows: int) -> dict[str, Any]:
        """Ask the service of `arm` the last `rows` logged rows of `stable`, past the split."""
        from mainline.rollout import replay

        return replay.run(self.folder, self.ask, arm, stable, rows)

    def labels(self) -> dict[str, Any]:
        """What matured labels say of the promotion, by the settings that came with it."""
        from mainline.rollout import labels

        return labels.at(self.folder, self.read()).to_dict()

    def alone(self) -> AbstractContextManager[None]:
        """One command at a time; the lock is gone with its owner."""
        return state.locked(self.folder, "command.lock", wait=0.0)

    def _busy(self) -> bool:
        if os.name == "nt" or not (self.folder / "command.lock").exists():
            return False
        try:
            with self.alone():
                return False
        except RaceError:
            return True

    def record(self, event: str, **notes: Any) -> None:
        """Append one line to the record."""
        state.record(self.folder, event, **notes)

    def history(self) -> list[dict[str, Any]]:
        """The record in order."""
        return state.history(self.folder)

    def down(self) -> None:
        """End every process here."""
        if self.folder.exists() and os.name != "nt":
            host.down(self.folder)


def serve_command(artifact: Path) -> list[str]:
    """How one version is started; `{port}` stands for its port."""
    return [sys.executable, "-m", "mainline", "serve", "--bento", str(artifact.resolve()),
            "--port", "{port}", "--host", "127.0.0.1"]  # fmt: skip


class Trial:
    """A service that is asked a few questions and stopped: no target, and nothing beside it."""

    def __init__(self, process: subprocess.Popen[bytes], said: BinaryIO) -> None:
        self.process, self.said = process, said

    def ask(self, arm: Arm, questions: Sequence[Ask]) -> list[tuple[int, str]]:
        """Status and body of each answer; status 0 where none came."""
        return [_request(arm.port, q) for q in questions]

    def ended(self, arm: Arm) -> str | None:
        """Its last words where it ended, None while it runs."""
        if self.process.poll() is None:
            return None
        self.said.seek(0)
        lines = self.said.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "no message"


@contextlib.contextmanager
def trial(
    version: str, digest: str, artifact: Path, command: Sequence[str] | None = None
) -> Iterator[tuple[Trial, Arm]]:
    """The service of the artifact on a port of its own, with nothing around it; ended at the end.

    Its predictions are logged nowhere that lasts: nobody's request is among them.
    """
    arm = Arm(version, digest, host.free_port(), "trial", str(artifact))
    argv = [a.replace("{port}", str(arm.port)) for a in command or serve_command(artifact)]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        env = {**os.environ, "MAINLINE_LOG": folder}
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, env=env,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield Trial(process, said), arm
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started, in its own session."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)


def _request(port: int, question: Ask) -> tuple[int, str]:
    # Takes longer to import than all else here, at each start of an agent.
    from mainline.serve import keys

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    # Readiness is asked of the service itself; its log must not count it as live traffic.
    headers = {"content-type": "application/json", "x-mainline-arm": "shadow", **keys.header()}
    method = "GET" if question.body is None else "POST"
    try:
        connection.request(method, question.path, question.body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()
