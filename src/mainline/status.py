"""`mainline status`: what should run, what does run, the rollout's stage, the last look."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from mainline import registry, settings
from mainline.errors import MainlineError
from mainline.files import short
from mainline.git import require_repository
from mainline.registry import Version


def status(root: Path) -> dict[str, Any]:
    """Should-run from the tags beside does-run asked from the service.

    Nothing that is missing is an error: it is said.
    """
    require_repository(root)
    model = settings.load(root).model.name
    production = registry.at_stage(root, model, "prod")
    known = registry.versions(root, model)
    rollout = _rollout(root)
    running = _running(rollout)
    looked = _last_look(root)
    found: dict[str, Any] = {
        "model": model,
        "should_run": _should_run(root, production),
        "does_run": running,
        "newest": known[-1].name if known else None,
        "agree": bool(production and running and running["digest"] == production.digest),
        "rollout": rollout,
        "monitor": looked,
    }
    return {**found, "text": _text(found)}


def _should_run(root: Path, production: Version | None) -> dict[str, Any] | None:
    """What stands at prod, who vouches for it, and why it would be refused (null: it would not)."""
    if production is None:
        return None
    from mainline.register import verify

    said = verify.seal(production)
    try:
        verify.require(root, production)
        refused = None
    except MainlineError as error:
        refused = error.cause
    return {"version": production.name, "digest": production.digest, "signed_by": said.by,
            "signed": said.text, "refused": refused}  # fmt: skip


def _rollout(root: Path) -> dict[str, Any]:
    from mainline.rollout import rollout

    try:
        found = rollout.status(root)
    except MainlineError as error:  # a target far away that cannot be asked
        found = {"status": "unknown", "reason": error.cause, "up": False}
    kept = ("status", "stage", "weight", "reason", "up", "url", "guarded", "hold_until", "target",
            "version", "paused", "envoy", "stable")  # fmt: skip
    return {key: found.get(key) for key in kept}


def _running(rollout: dict[str, Any]) -> dict[str, Any] | None:
    """What answers clients: the service says it itself, or its target where that is far away."""
    if not str(rollout.get("target")).startswith("ssh://"):
        return _ask(rollout.get("url"))
    stable = rollout.get("stable") if rollout.get("up") and rollout.get("envoy") else None
    return {"version": stable["version"], "digest": stable["digest"]} if stable else None


def _ask(url: str | None) -> dict[str, Any] | None:
    """What the service says that it is; None where nothing answers."""
    if not url:
        return None
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/version", timeout=5) as answer:  # noqa: S310
            said = json.load(answer)
        return {"version": said.get("version"), "digest": said.get("digest")}
    except (urllib.error.URLError, OSError, ValueError):
        return None


def _last_look(root: Path) -> dict[str, Any] | None:
    try:
        document = json.loads((root / "reports" / "monitor.json").read_text("utf-8"))
        return {"as_of": document["as_of"], "level": document["level"],
                "trigger": document["trigger"]["kind"]}  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _traffic(rollout: dict[str, Any]) -> str:
    """Who has the traffic: shares while two versions serve, one version before and after."""
    if rollout["status"] == "running":
        if rollout["stage"]:
            return f", {rollout['stage']} at {rollout['weight']}%"
        return ", in no stage yet"
    stable = rollout["stable"]
    if not (rollout["up"] and stable and stable["port"]):
        return ""
    return f", {stable['version']} has all traffic"


def _text(found: dict[str, Any]) -> str:
    should, does, rollout, looked = (
        found[k] for k in ("should_run", "does_run", "rollout", "monitor")
    )
    lines = [
        f"model       {found['model']} (newest version: {found['newest'] or 'none'})",
        "should run  " + (f"{should['version']} {short(should['digest'])}" if should else
                          "nothing: no version is at prod"),
        *([f"signed      {should['signed']}"] if should else []),
        *([f"refused     {should['refused']}"] if should and should["refused"] else []),
        "does run    " + (f"{does['version']} {short(does['digest'])}" if does else
                          "no rollout answers on this machine (a `serve` by hand is not asked)"),
        f"rollout     {rollout['status']}{_traffic(rollout)}",
        "monitor     " + (f"{looked['level']} as of {looked['as_of'][:10]}, asks for "
                          f"{looked['trigger']}" if looked else "not looked yet"),
    ]  # fmt: skip
    if should and does and not found["agree"]:
        lines.append("What runs is not what should run.")
    return "\n".join(lines)
