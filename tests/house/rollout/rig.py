"""A rollout to be drilled: real Envoy and guard before services that fail on request."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import multiprocessing
import multiprocessing.process
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollout.fake_service import score

from mainline.errors import MainlineError
from mainline.rollout import envoy, host, rehearse, rollout, state
from mainline.rollout.local import LocalTarget
from mainline.rollout.target import Ask
from mainline.rollout.traffic import Replay
from mainline.settings import Rollout
from mainline.verdict import StepVerdict, Verdict

SERVICE = Path(__file__).with_name("fake_service.py")
ROWS = [{"x": i / 200} for i in range(200)]
STAGES = [
    {"name": "shadow", "weight": 0, "requests": 100},
    {"name": "canary-5", "weight": 5, "requests": 300},
    {"name": "canary-50", "weight": 50, "requests": 1000},
    {"name": "promote", "weight": 100, "requests": 0},
]
# More requests than a drill sends, so that the stage goes on until something happens.
ENDLESS = [
    {"name": "canary-50", "weight": 50, "requests": 10_000_000},
    {"name": "promote", "weight": 100, "requests": 0},
]


def digest(name: str) -> str:
    """A digest for the version `name`."""
    return "sha256:" + (f"{ord(name):02x}" * 32)


def policy(**changes: Any) -> Rollout:
    """The plan of the drills: shadow, 5, 50, 100."""
    values = {"plan": "canary", "stages": STAGES, "error_budget": 0.02, "latency_ms": 250,
              "hold_seconds": 600}  # fmt: skip
    return Rollout.model_validate({**values, **changes})


def expected(*names: str) -> dict[str, list[list[float]]]:
    """The offline answers of the versions `names` to ROWS."""
    return {digest(n): [[score(r, digest(n))] for r in ROWS] for n in names}


def argv(name: str, mode: str) -> list[str]:
    """The command of a service of version `name` with the fault `mode`."""
    return [sys.executable, str(SERVICE), "{port}", digest(name), mode]


@dataclass
class Rig:
    """One target folder, its stable version `a` and its canary `b`."""

    root: Path
    verdicts: list[StepVerdict] = field(default_factory=list)

    @property
    def target(self) -> Path:
        """The folder of the rollout."""
        return self.root / "serving"

    @property
    def artifact(self) -> Path:
        """What the services are said to be made from; there is nothing in it."""
        return self.root / "artifact"

    @property
    def url(self) -> str:
        """Where clients ask."""
        return host.url(self.target)

    def state(self) -> state.State:
        """rollout.json now."""
        return state.read(self.target)

    def start(self, name: str, mode: str = "good", **more: Any) -> StepVerdict:
        """Start version `name`; golden rows are left out, so that faults get as far as traffic."""
        more.setdefault("policy", policy())
        known = expected("a", name)
        return rollout.start(self.root, name, self.artifact, digest(name), command=argv(name, mode),
                             expected=known, **more)  # fmt: skip

    def begin(self, stages: Sequence[dict[str, Any]] = ENDLESS, **more: Any) -> None:
        """Give version b half of the traffic; `more` goes to the policy."""
        assert self.start("b", policy=policy(stages=stages, **more)).verdict is Verdict.PASS
        assert self.stage("canary-50", 0.0).verdict is Verdict.INCONCLUSIVE

    def put_in_order(self) -> None:
        """End what goes on: version a is live again, alone, and good."""
        if self.state().running:
            rollout.abort(self.root)
        if self.state().stable.version != "a":  # type: ignore[union-attr]
            with contextlib.suppress(MainlineError):  # the guard may go back by itself meanwhile
                rollout.rollback(self.root)
        assert self.state().stable.version == "a"  # type: ignore[union-attr]
        rollout.tidy(self.root)
        self.turn("a", "good")
        assert self.until(lambda: rollout.status(self.root)["envoy"])

    def rehearse(self, name: str, mode: str = "good", **more: Any) -> list[StepVerdict]:
        """Take version `name` through all stages under replayed traffic."""
        more.setdefault("policy", policy())
        return rehearse.rehearse(
            self.root, name, self.artifact, digest(name), rows=ROWS, expected=expected("a", name),
            command=argv(name, mode), golden=0, **more,
        )  # fmt: skip

    def traffic(self, **more: Any) -> Replay:
        """A client of its own, which counts what it loses."""
        return Replay(self.url, ROWS, expected("a", "b"), **{"connections": 4, **more})

    def stage(self, name: str, timeout: float = 30.0) -> StepVerdict:
        """Move to a stage and wait for its verdict."""
        return rollout.stage(self.root, name, timeout)

    def arm(self, name: str) -> state.Arm:
        """The live version `name`."""
        now = self.state()
        return next(a for a in (now.canary, now.stable, now.previous) if a and a.version == name)

    def job(self, name: str, last: str | None = None, die: str | None = None) -> Job:
        """A process that takes version `name` through the plan, as the jobs of a workflow do.

        It ends after the stage `last`, and dies where `die` says (see `_take_through`).
        """
        args = (str(self.root), name, last, die)
        process = _processes().Process(target=_take_through, args=args, daemon=True)
        process.start()
        return process

    def answers(self, name: str) -> bool:
        """Whether the service of version `name` itself is ready."""
        return LocalTarget(self.target).ask(self.arm(name), [Ask("/readyz")])[0][0] == 200

    def turn(self, name: str, mode: str) -> None:
        """Give the running service of version `name` another fault."""
        port = self.arm(name).port
        assert envoy.until(lambda: bool(envoy.ask(port, f"/mode/{mode}")), 20)

    def most(self, name: str) -> int:
        """How many requests the service of version `name` had at once at most."""
        return int(json.loads(envoy.ask(self.arm(name).port, "/load")[1])["most"])

    def answering(self, requests: int = 60) -> set[str]:
        """The versions that answer clients at the public port now."""
        with self.traffic() as client:
            assert self.until(lambda: client.totals.ok >= requests)
        return {_named(m) for m in client.totals.models}

    def events(self) -> list[str]:
        """The record's events but for looks."""
        return [e["event"] for e in state.history(self.target) if e["event"] != "look"]

    def pid(self, program: str) -> int:
        """The process id of a supervised program."""
        return int(host.programs(self.target)[program]["pid"])

    def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> bool:
        """Wait for `condition`; whether it came true in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.05)
        return False

    def is_back(self) -> bool:
        """Whether the canary was rolled back, and Envoy shows it."""
        return self.state().status == "rolled-back" and rollout.status(self.root)["envoy"]

    def waiting(self, name: str, timeout: float = 60.0) -> threading.Thread:
        """A thread that waits in a stage, as a job would."""

        def wait() -> None:
            self.verdicts.append(rollout.stage(self.root, name, timeout))

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        assert self.until(lambda: self.state().stage == name)
        return thread

    def looks(self) -> list[dict[str, Any]]:
        """The looks in the record."""
        return [e for e in state.history(self.target) if e["event"] == "look"]


Job = multiprocessing.process.BaseProcess
BRIEF = [
    {"name": "shadow", "weight": 0, "requests": 100},
    {"name": "canary-50", "weight": 50, "requests": 200},
    {"name": "promote", "weight": 100, "requests": 0},
]


def brief(**changes: Any) -> Rollout:
    """A plan that a good version is through in about two seconds."""
    return policy(stages=BRIEF, error_budget=0.05, **changes)


@functools.cache
def _processes() -> multiprocessing.context.ForkServerContext:
    """Processes that have imported what a job needs, so that a killed one costs little."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rollout.rig"])
    return context


def _take_through(root: str, name: str, last: str | None, die: str | None) -> None:
    """Start version `name` and ask for each stage; abort where one fails.

    `die` is `module.function:n`: the process kills itself right after the n-th call of that
    function of `mainline.rollout`.
    """
    live = Rig(Path(root))
    if die:
        _doom(*die.split(":"))
    with contextlib.suppress(MainlineError):
        if live.start(name, policy=brief(), supersede=True).verdict is not Verdict.PASS:
            return
        for stage in BRIEF:
            if live.stage(str(stage["name"]), 20.0).verdict is not Verdict.PASS:
                rollout.abort(live.root, "A stage did not pass")
                return
            if stage["name"] == last:
                return


def _doom(where: str, count: str) -> None:
    module, _, name = where.partition(".")
    place = importlib.import_module(f"mainline.rollout.{module}")
    real, calls = getattr(place, name), [0]

    def deadly(*args: Any, **more: Any) -> Any:
        found = real(*args, **more)
        calls[0] += 1
        if calls[0] == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(place, name, deadly)


def _named(model: str) -> str:
    """The version whose digest begins with `model`."""
    return bytes.fromhex(model[:2]).decode("ascii")


@contextmanager
def rig(root: Path) -> Iterator[Rig]:
    """A rig with version `a` live; afterwards nothing of it may be left running."""
    found = Rig(root)
    found.artifact.mkdir(parents=True)
    try:
        started = found.start("a")
        assert started.verdict.value == "PASS", json.dumps(started.to_dict())
        yield found
    finally:
        rollout.down(root)
        left = host.marked(found.target)
    assert not left, f"processes are left: {left}"
