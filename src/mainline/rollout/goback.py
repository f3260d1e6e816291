"""`mainline rollback`: the traffic first, where something is served, and then the tag.

It needs neither a workflow nor a rollout that ran: without a target it moves the tag alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mainline import registry, settings
from mainline.errors import NotMeasured, UsageError
from mainline.github import write_output
from mainline.register import lifecycle
from mainline.registry import Version
from mainline.rollout import admit, rollout, versions
from mainline.rollout.actions import BACK
from mainline.rollout.state import State
from mainline.rollout.steps import Place
from mainline.rollout.target import Target, opened
from mainline.verdict import StepVerdict, Verdict

REASON = "Rolled back by hand"


def run(
    root: Path, name: str | None = None, *, push: bool = False, reason: str = "",
    target: Place = None, by: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Send all traffic to the version `name` (default: the one before), and put it back at prod.

    A rollout under way is aborted first. A version that is warm gets the traffic at once; another
    is built or fetched, started, and takes it under the guard. Where it does not start nothing is
    moved: the answer has `verdict` FAIL and status 10, and the tag stays. Without a `name` it goes
    back once, however often it is run: what was taken back already, by whomever, is said, and
    nothing is changed. Raises UsageError where there is nothing to go back to; the tag is moved as
    by lifecycle.rollback.
    """
    model = settings.load(root).model.name
    with opened(target, root) as there:
        now = there.read()
        if now.stable is None:
            return lifecycle.rollback(root, name, push=push, reason=reason)
        wanted = _aim(root, model, name, now)
        admit.require(root, wanted)
        moved = _traffic(root, there, now, wanted, reason or REASON, by)
    if isinstance(moved, StepVerdict):
        why = next(c.reason for c in moved.checks if c.verdict is not Verdict.PASS)
        return {"version": wanted.name, "verdict": moved.verdict.value, "traffic": None,
                "status": moved.verdict.status, "changed": False,
                "text": f"{wanted.tag} does not take the traffic, which stays where it is: {why}. "
                        "The tag was not moved."}  # fmt: skip
    done = _tag(root, wanted, now, push, reason)
    if name is None and not done["changed"] and not now.running and _at(now, wanted):
        return {**done, "traffic": moved, "text": _over(done, now, wanted)}
    return {**done, "traffic": moved, "text": f"{moved}\n{done['text']}" if moved else done["text"]}


def _tag(root: Path, wanted: Version, now: State, push: bool, reason: str) -> dict[str, Any]:
    """Put `wanted` at prod, by what origin says of prod where that is asked."""
    if registry.at_stage(root, wanted.model, "prod") is None and not push:
        text = "No version stands at prod, so no tag was moved"
        return {"version": wanted.name, "changed": False, "from": now.version, "text": text}
    done = lifecycle.rollback(root, wanted.name, push=push, reason=reason)
    if not done["changed"] and now.version != wanted.name:
        # The tag never left: what is taken back is the rollout that was under way.
        done = {**done, "from": now.version}
        write_output({"version": wanted.name, "from": now.version}, os.environ)
    return done


def _aim(root: Path, model: str, name: str | None, now: State) -> Version:
    """What is wanted: as named, else what is warm, else what stood at prod before."""
    if name is not None:
        return registry.find(root, model, name)
    assert now.stable is not None
    stable = now.stable.version
    if now.running:
        return registry.find(root, model, stable)
    moves = registry.moves(root, model)
    last = lifecycle.at(moves, "prod")
    # Run twice, or after the guard, this goes back once. What gave way may be warm still, and is
    # no way back; and what stood at prod before would be one step further.
    if last and last.back_from and last.version.name == stable:
        return last.version
    over = now.status in BACK and stable not in registry.put_away(moves)
    if over and (last is None or last.version.name in (now.version, stable)):
        return registry.find(root, model, stable)
    if now.previous is not None:
        return registry.find(root, model, now.previous.version)
    if last is None:
        raise UsageError("No version stands at prod", "Use `./mainline promote VERSION`")
    return last.version if last.back_from else lifecycle.before(moves)


def _at(now: State, wanted: Version) -> bool:
    return now.stable is not None and now.stable.digest == wanted.digest


def _over(done: dict[str, Any], now: State, wanted: Version) -> str:
    """What is said where somebody went back already."""
    gone = done["from"] or now.version
    why = f": {gone} was taken back already" if gone != wanted.name else ""
    served = now.stable is not None and now.stable.port
    has = "has all traffic" if served else "is what counts here"
    return (f"Nothing was changed{why}, and {wanted.name} {has}. To go further back name a "
            "version: `./mainline rollback VERSION`")  # fmt: skip


def _traffic(
    root: Path, there: Target, now: State, wanted: Version, reason: str, by: str | None
) -> str | StepVerdict:
    """One sentence on where the traffic is now, empty where nothing is served; else what failed."""
    served = now.stable
    if served is None or not served.port:
        return _offline(root, there, now, wanted, by)
    there.ensure()
    if now.running:
        rollout.abort(root, reason, target=there, by=by)
    if served.digest == wanted.digest:
        return f"All traffic is at {wanted.name}"
    if now.previous is not None and now.previous.digest == wanted.digest:
        try:
            rollout.rollback(root, target=there, by=by, reason=reason)
        except NotMeasured:
            if not _at(there.read(), wanted):  # the guard was faster, and is there already
                raise
        return f"All traffic is back at {wanted.name}, which was warm"
    bento = versions.bento_of(root, wanted)
    assert wanted.digest is not None
    plan = ("blue-green", f"{served.version} is rolled back")
    for step in (
        lambda: rollout.start(root, wanted.name, bento, str(wanted.digest), target=there, by=by,
                              plan=plan),
        lambda: rollout.promote(root, target=there, version=wanted.name, by=by),
    ):  # fmt: skip
        verdict = step()
        if verdict.verdict is not Verdict.PASS:
            return verdict
    return f"All traffic is at {wanted.name}, which was started, under the guard"


def _offline(
    root: Path, there: Target, now: State, wanted: Version, by: str | None
) -> str | StepVerdict:
    """Nothing is served: what counts as stable is changed where anything ever did."""
    if now.stable is None or now.stable.digest == wanted.digest:
        return ""
    verdict = rollout.start(
        root, wanted.name, versions.bento_of(root, wanted), str(wanted.digest), target=there,
        by=by, plan=("offline", f"{now.stable.version} is rolled back"),
    )  # fmt: skip
    said = f"{wanted.name} is what counts here, and nothing is served"
    return said if verdict.verdict is Verdict.PASS else verdict
