"""What a run of deploy.yml is to do, and what is to be written to Git after a rollback.

`mainline rollout plan` looks: the version that it is given is data, and nothing of it is used
before its tag is verified. It says which jobs have something to do, so that a run which is asked
again (by a person, by the schedule, after a kill) goes on where the target is. The decisions are
`left` and `fresh`; the rest reads and writes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mainline import registry, settings
from mainline.errors import MainlineError, RemoteError, SettingsError, UsageError
from mainline.git import require_history
from mainline.github import GitHub, write_output
from mainline.register import lifecycle, message, tags, verify
from mainline.registry import Move, Version
from mainline.rollout import plan as plans
from mainline.rollout.state import State
from mainline.rollout.target import Target, target_of
from mainline.settings import Rollout

WORKFLOW = "deploy.yml"
STAGES = ("shadow", "canary-5", "canary-25", "canary-50", "promote")  # each has a job
HOSTED = "ubuntu-latest"
BEGUN = ("started", "first", "swapped", "unchanged", "refused")  # events that name the version
BAD = ("rolled-back", "aborted", "refused")
LABEL = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
Document = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """The jobs that have something to do for `version`, none in doubt, and why in one sentence."""

    version: str
    jobs: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Ending:
    """How the last rollout of a version went wrong: `rolled-back`, `aborted` or `refused`.

    `by` is `guard`, `watcher` or who a person is, `at` in Unix seconds. `held` is whether the guard
    ended a stage that nobody moved on in time.
    """

    kind: str
    by: str
    reason: str
    at: float
    held: bool = False

    @property
    def blames(self) -> bool:
        """Whether the version is why: it did not start right, or it was rolled back.

        Not when a person ended its rollout or a newer one superseded it, nor when its watcher sent
        the traffic back because the guard was dead, nor when it was only held for too long: that
        says that an approval or requests were missing, and nothing against the version.
        """
        back = self.kind == "rolled-back" and self.by != "watcher" and not self.held
        return self.kind == "refused" or back


def ending(history: Sequence[Mapping[str, Any]], version: str) -> Ending | None:
    """What the record of the target says of the end of the last rollout of `version`."""
    found, ours = None, False
    for event in history:
        kind = str(event.get("event"))
        if kind in BEGUN:
            ours = event.get("version") == version
            found = None if ours else found
        if ours and kind in BAD and not (kind == "refused" and event.get("version") != version):
            found = Ending(kind, str(event.get("by") or ""), str(event.get("reason") or ""),
                           float(event.get("t") or 0.0), event.get("held") is True)  # fmt: skip
    return found


def left(now: State, moves: Sequence[Move], end: Ending | None = None) -> Work:
    """What is left to do for the rollout that the target is in; `end` is how that went wrong."""
    name, prod = now.version, lifecycle.at(list(moves), "prod")
    stands = prod.version.name if prod else None
    away = registry.put_away(moves)
    if now.running:
        return _of_running(now)
    if now.status in ("promoted", "settled"):
        # Whoever moved the tag after the traffic knew what they did.
        late = prod is not None and seconds_of(prod.when) > (now.entered or 0.0)
        settle = ("settle",) if now.status == "promoted" else ()
        if stands != name and not late and name not in away:
            return Work(name, ("promote", *settle), f"{name} has the traffic, and is not at prod")
        said = "its time is not over" if settle else "and is settled"
        return Work(name, settle, f"{name} is promoted, {said}")
    if now.status == "rolled-back" and end is not None:
        # What was decided about the version since then stands, whether it was put away or not.
        decided = name in away or any(
            m.version.name == name and seconds_of(m.when) > end.at for m in moves
        )
        if stands == name or (end.blames and not decided):
            return Work(name, ("rollback",), f"{name} was rolled back: {end.reason}")
    return Work(name, (), f"Nothing is under way ({now.status})")


def _of_running(now: State) -> Work:
    if now.paused:
        return Work(now.version, (), f"{now.version} is paused by {now.paused.get('by')}")
    names = [s.name for s in now.plan]
    at = names.index(now.stage) if now.stage in names else 0
    passed = now.verdicts.get(now.stage or "", {}).get("verdict") == "PASS"
    rest = names[at + 1 if passed else at :]
    ends = ("settle",) if now.plan and now.plan[-1].weight else ()
    return Work(now.version, (*rest, *ends), f"{now.version} is at {now.stage or 'its start'}")


def seconds_of(when: str) -> float:
    """Unix seconds of an ISO 8601 time; 0 where it is none."""
    try:
        return datetime.fromisoformat(when).timestamp()
    except ValueError:
        return 0.0


def fresh(policy: Rollout, rate: float | None, name: str, *, back: bool) -> Work:
    """All jobs of a rollout of `name` that has not begun; `back` is a revert, without a canary.

    Raises SettingsError (22) for a stage that deploy.yml has no job for.
    """
    require_jobs(policy)
    if back:
        return Work(name, ("shadow", "promote", "settle"), f"{name} is deployed again as a revert")
    chosen, why = plans.choose(policy, rate)
    stages = plans.stages_of(policy, chosen)
    rest = [s.name for s in stages if s.name != "shadow"]
    ends = ("settle",) if stages[-1].weight else ()
    # The job `shadow` starts the version, whether the plan has that stage or not.
    return Work(name, ("shadow", *rest, *ends), f"{name} by the plan {chosen}, since {why}")


def require_jobs(policy: Rollout) -> None:
    """Raise SettingsError (22) unless each stage of the settings has a job in deploy.yml."""
    strange = [s.name for s in policy.stages if s.name not in STAGES]
    if strange or (policy.stages and policy.stages[-1].name != STAGES[-1]):
        said = f"{strange[0]!r} is no job of {WORKFLOW}" if strange else (
            f"the last stage is {policy.stages[-1].name!r}")  # fmt: skip
        raise SettingsError(
            f"rollout.stages cannot be rolled out by {WORKFLOW}: {said}",
            f"Call the stages {', '.join(STAGES[:-1])} and the last one {STAGES[-1]}",
        )


def plan(
    root: Path, name: str | None, *, back: bool = False, environ: Mapping[str, str] = os.environ
) -> Document:  # fmt: skip
    """Which jobs a run has for the version `name`, or for whatever the target is in (None).

    Writes `version`, `jobs` (JSON), `runner` (JSON), `target` (true or empty) and `reason` to
    GITHUB_OUTPUT. Raises UsageError for a version that is unknown, put away or older than what
    runs, NotTrusted (10), SettingsError (22), TargetError (12).
    """
    require_history(root)
    options = settings.load(root)
    seen = _seen(root, options.model.name)
    address = environ.get("MAINLINE_TARGET", "").strip()
    version = _allowed(root, seen, name, back=back) if name else None
    if not address:
        work = _rehearsal(options.rollout, version)
    else:
        with target_of(root, address) as there:
            work = _on_target(there, options.rollout, seen, version, back, environ)
    said = {"version": work.version if work.jobs else "", "jobs": json.dumps(work.jobs),
            "runner": json.dumps(runner(address, environ)), "target": "true" if address else "",
            "reason": message.one_line(work.reason)}  # fmt: skip
    write_output(said, environ)
    jobs = ", ".join(work.jobs) or "none"
    return {**said, "jobs": list(work.jobs), "text": f"{said['reason']}. Jobs: {jobs}."}


def _seen(root: Path, model: str) -> tags.View:
    """The registry, by origin where it can be asked."""
    try:
        return tags.look(root, model, push=True)
    except RemoteError:
        return tags.look(root, model, push=False)


def _allowed(root: Path, seen: tags.View, name: str, *, back: bool) -> Version:
    version = registry.find_in(seen.versions, seen.model, name)
    if away := registry.put_away(seen.moves).get(version.name):
        raise UsageError(
            f"{version.tag} is {away}, and is not deployed",
            f"`./mainline promote {version.name} --to staging --push` lifts that",
        )
    good = {v.name for v in registry.healthy(seen.moves)}
    if back and version.name not in good:
        raise UsageError(
            f"{version.tag} was not healthy in production, so it is no revert",
            "Deploy it without `--revert`",
        )
    prod = lifecycle.at(seen.moves, "prod")
    if not back and prod and prod.version.number > version.number:
        raise UsageError(
            f"{version.tag} is older than {prod.version.name}, which stands at prod",
            f"Go back with the workflow `rollback`, or `./mainline rollback {version.name}`",
        )
    verify.require(root, version, ask=True)
    return version


def _rehearsal(policy: Rollout, version: Version | None) -> Work:
    if version is None:
        return Work("", (), "No target is set, so nothing is under way")
    require_jobs(policy)
    more = ("promote",) if policy.rehearsal == "production" else ()
    return Work(version.name, ("rehearse", *more), "No target is set: a rehearsal on the runner")


def _on_target(
    there: Target, policy: Rollout, seen: tags.View, version: Version | None, back: bool,
    environ: Mapping[str, str],
) -> Work:  # fmt: skip
    found = there.observe()
    now = there.read()
    here = left(now, seen.moves, ending(there.history(), now.version))
    if version is None:
        busy = _busy(found, environ) if here.jobs else ""
        return Work(here.version, (), busy) if busy else here
    if now.version == version.name and now.status in ("running", "promoted", "settled"):
        return here
    other = registry.VERSION.match(now.version) if now.running else None
    if other and tuple(map(int, other.groups())) > version.number and not back:
        raise UsageError(f"{now.version}, which is newer, is being rolled out",
                         f"Abort it first to deploy {version.name}")  # fmt: skip
    return fresh(policy, found.get("rate"), version.name, back=back)


def _busy(found: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Why the schedule leaves the target alone; empty where nobody is at it."""
    if found.get("waiting"):
        return "A command waits on the target"
    try:
        github = GitHub.of(environ)
    except MainlineError:
        return ""
    runs = github.call("GET", f"actions/workflows/{WORKFLOW}/runs?event=workflow_dispatch")
    own = environ.get("GITHUB_RUN_ID", "")
    active = [r for r in runs.get("workflow_runs") or ()
              if r.get("status") != "completed" and str(r.get("id")) != own]  # fmt: skip
    return f"Run {int(active[0]['id'])} of {WORKFLOW} is at it" if active else ""


def runner(address: str, environ: Mapping[str, str]) -> str | list[str]:
    """What `runs-on` is: GitHub's machine, or a self-hosted one in a private repository.

    Raises SettingsError (22) for a bad label, and in a public repository, where a self-hosted
    machine runs strangers' code.
    """
    if not address.startswith("self-hosted:"):
        return HOSTED
    label = address.partition(":")[2]
    if not LABEL.fullmatch(label):
        raise SettingsError("MAINLINE_TARGET names no label", "Write self-hosted:<label>")
    if not GitHub.of(environ).private():
        raise SettingsError(
            "A self-hosted runner of a public repository runs strangers' code",
            "Make the repository private, or set MAINLINE_TARGET to ssh://user@host/path",
        )
    return ["self-hosted", label]


def dispatch(
    root: Path, name: str, *, back: bool = False, environ: Mapping[str, str] = os.environ
) -> Document:  # fmt: skip
    """Start deploy.yml on main for a registered version; again it does no harm.

    Raises UsageError for an unknown version, RemoteError (21) where GitHub refuses.
    """
    version = registry.find(root, settings.load(root).model.name, name)
    given = {"version": version.name, "revert": "true" if back else "false"}
    GitHub.of(environ).dispatch(WORKFLOW, "main", given)
    return {"version": version.name, "text": f"{WORKFLOW} was started for {version.tag}"}
