"""The operations of a rollout: start, stage by stage, promote, abort. Each may be called again.

    start(root, "card-fraud@v1.1.0", bento, digest, expected={digest: [[0.02], ...]})
    for name in ("shadow", "canary-5", "canary-25", "canary-50", "promote"):
        verdict = stage(root, name)

The judge and the rollback are the guard's: a command here that is killed changes nothing for it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mainline.errors import MainlineError, NotMeasured, RaceError, UsageError
from mainline.files import short
from mainline.rollout import actions, envoy, host, state
from mainline.rollout.envoy import EnvoyError
from mainline.rollout.predictions import same
from mainline.rollout.state import Arm, Stage, State
from mainline.serve import keys
from mainline.settings import Rollout, load
from mainline.verdict import Check, StepVerdict, Verdict

Answers = Mapping[str, Sequence[Sequence[float]]]
GOLDEN = 20


def target_folder(root: Path, target: Path | None = None) -> Path:
    """The folder of the rollout: `target`, or `serving/` under `root`."""
    return (target or root / "serving").resolve()


def serve_command(artifact: Path) -> list[str]:
    """How one version is started; `{port}` stands for its port."""
    return [sys.executable, "-m", "mainline", "serve", "--bento", str(artifact.resolve()),
            "--port", "{port}", "--host", "127.0.0.1"]  # fmt: skip


def plan_of(policy: Rollout) -> tuple[Stage, ...]:
    """The stages of params.yaml; the plan `bake` leaves out those with a part of the traffic."""
    stages = [Stage(s.name, s.weight, s.requests) for s in policy.stages]
    if not stages or stages[-1].weight != 100:
        raise UsageError("The plan has no last stage of weight 100", "Mend rollout.stages")
    if policy.plan == "bake":
        stages = [s for s in stages if s.weight in (0, 100)]
    return tuple(stages)


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One command at a time; the lock is gone with its owner."""
    with state.locked(target, "command.lock", wait=0.0):
        yield


def start(
    root: Path,
    version: str,
    artifact: Path,
    digest: str,
    *,
    target: Path | None = None,
    policy: Rollout | None = None,
    command: Sequence[str] | None = None,
    expected: Answers | None = None,
    golden: Sequence[Mapping[str, Any]] = (),
    recorded: tuple[float, float] | None = None,
    supersede: bool = False,
    ready_seconds: float = 90.0,
    by: str = "person",
) -> StepVerdict:
    """Start the service of `version` beside the stable one, and check it before it gets traffic.

    `artifact` is what the service loads (a Bento or a bundle), `digest` its model digest in full.
    `command` overrides serve_command (an argument list; `{port}` is filled in). `expected` are
    offline answers by model digest (of the canary, and of stable where known), one list of scores a
    replayed row; `golden` the first of those rows, asked directly before any traffic. `recorded` is
    the paired difference (mean, sd) that the comparison measured. `supersede` aborts a rollout of
    another version first.

    The first version of all has no stable to be compared with: ready and right, it takes all
    traffic. Returns the verdict of step `rollout-start`; a version that does not get ready FAILs
    and is stopped, traffic untouched. Raises PlatformError (23), RaceError (24), UsageError (2).
    """
    policy = policy or load(root).rollout
    plan = plan_of(policy)
    where = target_folder(root, target)
    host.require_platform()
    with _alone(where):
        host.ensure(where)
        now = state.read(where)
        if now.running and now.canary and now.canary.digest == digest:
            return _one("rollout-start", "started", Verdict.PASS, f"{version} was started before")
        if now.running:
            _supersede(where, now, supersede, version)
        _retire(where)
        now = state.read(where)
        if now.stable and now.stable.digest == digest:
            return _one("rollout-start", "started", Verdict.PASS, f"{version} is stable already")
        arm = Arm(version, digest, host.free_port(), _program(digest), str(artifact))
        argv = [a.replace("{port}", str(arm.port)) for a in command or serve_command(artifact)]
        host.add_program(where, arm.program, argv, root)
        checks = _ready(where, arm, expected, golden, ready_seconds)
        if any(c.verdict is not Verdict.PASS for c in checks):
            host.remove_program(where, arm.program)
            state.record(where, "refused", version=version, reason=checks[-1].reason, by=by)
            return StepVerdict("rollout-start", tuple(checks), {"model": digest})
        actions.keep_expected(where, expected)
        limits = {"error_budget": policy.error_budget, "latency_ms": policy.latency_ms,
                  "recorded": list(recorded) if recorded else None}  # fmt: skip
        new, shown = actions.change(
            where, "started" if now.stable else "first",
            lambda s: _begun(s, arm, plan, limits, policy.hold_seconds),
            by=by, version=version, digest=digest,
        )  # fmt: skip
        checks.append(_shown(shown, new))
        return StepVerdict("rollout-start", tuple(checks), {"model": digest})


def _begun(
    now: State, arm: Arm, plan: tuple[Stage, ...], limits: Mapping[str, Any], hold: float
) -> State:
    fresh = State(generation=now.generation, stable=now.stable, plan=plan, limits=limits,
                  hold_seconds=hold, started=now.generation + 1)  # fmt: skip
    if now.stable is None:
        return replace(fresh, status="promoted", stable=arm)
    return state.held(replace(fresh, status=state.RUNNING, canary=arm))


def _supersede(target: Path, now: State, supersede: bool, version: str) -> None:
    running = now.canary.version if now.canary else "?"
    if not supersede:
        raise RaceError(
            f"{running} is being rolled out", "Wait for it, or run `./mainline rollout abort`"
        )
    actions.roll_back(target, f"Superseded by {version}", "person", "aborted")


def _program(digest: str) -> str:
    return "model-" + short(digest)


def _ready(
    target: Path,
    arm: Arm,
    expected: Answers | None,
    golden: Sequence[Mapping[str, Any]],
    seconds: float,
) -> list[Check]:
    """Wait for /readyz, then see that the right model answers, and that it answers right."""
    began = time.monotonic()
    deadline = began + seconds
    while (status := _get(arm.port, "/readyz")[0]) != 200:
        process = host.programs(target).get(arm.program, {})
        if time.monotonic() >= deadline or process.get("state") in ("FATAL", "BACKOFF"):
            said = host.last_line(target / "log" / f"{arm.program}.log")
            return [Check("ready", Verdict.FAIL, f"{arm.version} did not get ready (/readyz "
                          f"answers {status or 'nothing'}; its log ends: {said})")]  # fmt: skip
        time.sleep(0.05)
    took = time.monotonic() - began
    checks = [Check("ready", Verdict.PASS, f"Ready after {took:.1f} s", value=took, unit="s")]
    found = _json(_get(arm.port, "/version")[1]).get("digest")
    if found != arm.digest:
        reason = f"The service answers for {short(str(found))}, not for {short(arm.digest)}"
        return [*checks, Check("digest", Verdict.FAIL, reason)]
    checks.append(Check("digest", Verdict.PASS, "The service has the model that was approved"))
    return checks + _golden(arm, (expected or {}).get(arm.digest), golden)


def _golden(
    arm: Arm,
    answers: Sequence[Sequence[float]] | None,
    rows: Sequence[Mapping[str, Any]],
) -> list[Check]:
    if not answers or not rows:
        return []
    asked = list(zip(rows, answers, strict=False))[:GOLDEN]
    wrong = 0
    for row, scores in asked:
        body = _json(_post(arm.port, json.dumps({"rows": [row]})))
        predictions = body.get("predictions") or [{}]
        wrong += not same(predictions[0].get("scores") or [], scores)
    verdict = Verdict.FAIL if wrong else Verdict.PASS
    return [Check("golden", verdict, f"{wrong} of {len(asked)} golden rows are answered otherwise "
                  "than offline", value=wrong, limit=0, n=len(asked))]  # fmt: skip


def _get(port: int, path: str) -> tuple[int, str]:
    return _request(port, "GET", path, None)


def _post(port: int, body: str) -> str:
    return _request(port, "POST", "/predict", body)[1]


def _request(port: int, method: str, path: str, body: str | None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    # Readiness is asked of the service itself; its log must not count it as live traffic.
    headers = {"content-type": "application/json", "x-mainline-arm": "shadow", **keys.header()}
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _one(step: str, name: str, verdict: Verdict, reason: str) -> StepVerdict:
    return StepVerdict(step, (Check(name, verdict, reason),))


def _shown(shown: bool, now: State) -> Check:
    name = f"generation {now.route}"
    if shown:
        return Check("route", Verdict.PASS, f"Envoy shows {name}", value=now.route)
    return Check("route", Verdict.INCONCLUSIVE, f"Envoy does not show {name} yet", value=now.route)


def stage(
    root: Path,
    name: str,
    timeout: float | None = None,
    *,
    target: Path | None = None,
    by: str = "person",
) -> StepVerdict:
    """Move traffic to the stage `name` and wait for the guard's verdict on it.

    Called again for the stage that traffic is in, it moves nothing and waits on. Without a verdict
    within `timeout` seconds (None: until the stage's hold is over) the answer is INCONCLUSIVE and
    traffic stays where it is. After a FAIL traffic is back at stable before this returns. The last
    stage promotes. Raises UsageError (2) for a stage that is unknown or out of order.
    """
    where = target_folder(root, target)
    with _alone(where):
        now = _running(where)
        if not now.running:
            return _after(where, now, name)
        names = [s.name for s in now.plan]
        if name not in names:
            raise UsageError(f"{name!r} is no stage of this plan", f"Use {', '.join(names)}")
        _in_order(now, name)
        if next(s for s in now.plan if s.name == name) == now.plan[-1]:
            return _promote(where, now, timeout, by)
        if now.stage != name:
            now, shown = actions.change(where, "stage", lambda s: _enter(s, now, name), by=by)
            if not shown:
                return StepVerdict(f"rollout-{name}", (_shown(shown, now),))
        return _wait(where, name, timeout)


def _running(target: Path) -> State:
    host.require_platform()
    now = state.read(target)
    if now.stable is None:
        raise UsageError("Nothing is rolled out", "Start with `./mainline rollout start VERSION`")
    if now.running:
        host.ensure(target)
    return now


def _enter(now: State, seen: State, name: str) -> State | None:
    """Enter the stage unless the guard rolled back since `seen`."""
    return actions.enter(now, name) if now.running and now.started == seen.started else None


def _in_order(now: State, name: str) -> None:
    names = [s.name for s in now.plan]
    at = names.index(now.stage) if now.stage in names else -1
    if names.index(name) == at:
        return
    passed = at < 0 or now.verdicts.get(names[at], {}).get("verdict") == "PASS"
    if names.index(name) != at + 1 or not passed:
        turn = names[at + 1] if passed else names[at]
        raise UsageError(f"The stage {name} is out of order", f"It is the turn of {turn}")


def _wait(target: Path, name: str, timeout: float | None) -> StepVerdict:
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        now = state.read(target)
        if not now.running:
            # The state is written before Envoy has taken it up.
            envoy.until(partial(envoy.shows, host.ports(target), now.route), 5.0)
            return _after(target, now, name)
        found = now.verdicts.get(name, {})
        if found.get("verdict") == Verdict.PASS.value:
            return _verdict(found, now)
        if deadline is not None and time.monotonic() >= deadline:
            return _held(target, name, timeout or 0.0)
        time.sleep(0.05)


def _verdict(document: Mapping[str, Any], now: State) -> StepVerdict:
    checks = tuple(Check(**{**c, "verdict": Verdict(c["verdict"])}) for c in document["checks"])
    model = now.canary or now.stable
    return StepVerdict(document["step"], checks, {"model": model.digest if model else None})


def _held(target: Path, name: str, timeout: float) -> StepVerdict:
    looks = [e for e in state.history(target) if e.get("event") == "look"]
    seen = looks[-1]["total"]["canary"] if looks else 0
    return _one(f"rollout-{name}", "verdict", Verdict.INCONCLUSIVE,
                f"No verdict within {timeout:g} s ({seen} canary requests in all)")  # fmt: skip


def _after(target: Path, now: State, name: str) -> StepVerdict:
    """The verdict on a stage of a rollout that is over."""
    found = now.verdicts.get(name, {})
    if now.status == "promoted" and found.get("verdict") == Verdict.PASS.value:
        return _verdict(found, now)
    if found.get("verdict") == Verdict.FAIL.value:
        return _verdict(found, now)
    if now.status in ("rolled-back", "aborted"):
        return _one(f"rollout-{name}", "rollback", Verdict.FAIL,
                    f"The rollout was ended: {now.reason}")  # fmt: skip
    raise UsageError("No rollout is under way", "Start with `./mainline rollout start VERSION`")


def promote(
    root: Path,
    *,
    timeout: float | None = None,
    target: Path | None = None,
    by: str = "person",
) -> StepVerdict:
    """The last stage: all traffic to the canary, which becomes stable; the old one stays warm."""
    plan = state.read(target_folder(root, target)).plan
    last = plan[-1].name if plan else "promote"
    return stage(root, last, timeout=timeout, target=target, by=by)


def _promote(target: Path, now: State, timeout: float | None, by: str) -> StepVerdict:
    last = now.plan[-1]
    if last.requests:
        if now.stage != last.name:
            actions.change(target, "stage", lambda s: _enter(s, now, last.name), by=by)
        watched = _wait(target, last.name, timeout)
        if watched.verdict is not Verdict.PASS:
            return watched
    else:
        watched = StepVerdict(f"rollout-{last.name}", ())
    new, shown = actions.change(target, "promoted", lambda s: _settle(s, now, watched), by=by)
    if new.status != "promoted":
        return _after(target, new, last.name)
    digest = new.stable.digest if new.stable else None
    return StepVerdict(watched.step, (*watched.checks, _shown(shown, new)), {"model": digest})


def _settle(now: State, seen: State, watched: StepVerdict) -> State | None:
    if not now.running or now.started != seen.started:
        return None
    last = now.plan[-1].name
    passed = Check("promoted", Verdict.PASS, "All stages before passed")
    kept = StepVerdict(f"rollout-{last}", (*watched.checks, passed)).to_dict()
    done = replace(now, stage=last, verdicts={**now.verdicts, last: kept})
    return actions.settled(done)


def abort(
    root: Path, reason: str = "Aborted by hand", *, target: Path | None = None, by: str = "person"
) -> dict[str, Any]:
    """Send all traffic to stable now and stop the canary; returns status(). May be called again.

    Takes no part in the order of commands: it works while a `stage` waits.
    """
    where = target_folder(root, target)
    actions.roll_back(where, reason, by, "aborted")
    return status(root, target=target)


def rollback(root: Path, *, target: Path | None = None, by: str = "person") -> dict[str, Any]:
    """After a promotion: all traffic to the model before it, which is still warm.

    During a rollout it is an abort. Raises NotMeasured (12) where no earlier model is warm.
    """
    where = target_folder(root, target)
    if state.read(where).running:
        return abort(root, "Rolled back by hand", target=target, by=by)

    def decide(now: State) -> State | None:
        if now.previous is None:
            raise NotMeasured("No earlier model is warm", "Start a rollout of the version wanted")
        return replace(now, status="rolled-back", reason="Rolled back by hand",
                       stable=now.previous, previous=now.stable)  # fmt: skip

    _, shown = actions.change(where, "rolled-back", decide, by=by)
    if not shown:
        raise EnvoyError("Envoy does not show the rollback yet", "Run `./mainline rollout status`")
    return status(root, target=target)


def tidy(root: Path, *, target: Path | None = None) -> None:
    """Stop the services of versions that are over: a canary that was rolled back. May be repeated.

    The model before the last promotion stays warm until the next rollout starts.
    """
    where = target_folder(root, target)
    now = state.read(where)
    if not now.running and now.canary:
        _retire(where, keep_previous=True)


def _retire(target: Path, keep_previous: bool = False) -> None:
    """Take versions that are over out of Envoy first, then stop their processes."""

    def decide(now: State) -> State | None:
        previous = now.previous if keep_previous else None
        if now.running or (now.canary is None and now.previous == previous):
            return None
        return replace(now, canary=None, previous=previous)

    now, _ = actions.change(target, "tidied", decide)
    live = {a.program for a in (now.stable, now.canary, now.previous) if a}
    for name in host.programs(target):
        if name not in live and name not in host.OWN:
            host.remove_program(target, name)


def status(root: Path, *, target: Path | None = None) -> dict[str, Any]:
    """rollout.json and what is really there: `url`, `processes`, `envoy` (does it show the
    generation), `guarded` (does the guard's lease run), `up`.

    Works where nothing was ever rolled out (`up` is false), and on every platform.
    """
    where = target_folder(root, target)
    now = state.read(where)
    found: dict[str, Any] = {**state.to_dict(now), "target": str(where), "up": False, "url": None,
                             "envoy": False, "guarded": False, "processes": {}}  # fmt: skip
    if not (where / "host.json").exists() or os.name == "nt" or not host.is_up(where):
        return found
    ports = host.ports(where)
    with contextlib.suppress(OSError, ValueError, MainlineError):
        found["envoy"] = envoy.shows(ports, now.route)
    left = actions.lease_left(actions.read_progress(where), state.boot_id())
    return {**found, "up": True, "url": host.url(where), "guarded": left > 0,
            "processes": host.programs(where)}  # fmt: skip


def history(root: Path, *, target: Path | None = None) -> list[dict[str, Any]]:
    """The append-only record: every change, and the numbers of each look."""
    return state.history(target_folder(root, target))


def down(root: Path, *, target: Path | None = None) -> dict[str, Any]:
    """End every process of the rollout. The state stays, and `up` brings back what ran."""
    where = target_folder(root, target)
    if where.exists() and os.name != "nt":
        host.down(where)
    return {"text": f"Nothing of {where.name}/ runs any more", "target": str(where)}


def up(root: Path, *, target: Path | None = None) -> dict[str, Any]:
    """Bring back what ran before a `down` or a reboot, at its weights; returns status()."""
    where = target_folder(root, target)
    host.ensure(where)
    return status(root, target=target)
