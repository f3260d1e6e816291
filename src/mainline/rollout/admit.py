"""What may be rolled out: neither archived nor rejected, of the same interface, in its turn."""

from __future__ import annotations

from pathlib import Path

from mainline import registry
from mainline.errors import RaceError, SettingsError, UsageError
from mainline.registry import Version
from mainline.rollout.state import State

ANY_INTERFACE = ("blue-green", "offline")


def require(root: Path, version: Version) -> None:
    """Raise UsageError (2) for a version that was put away, or that names no model."""
    away = registry.put_away(registry.moves(root, version.model)).get(version.name)
    if away:
        raise UsageError(
            f"{version.tag} is {away}, so it is not rolled out",
            f"Choose another version, or lift it: `./mainline promote {version.name} --to dev`",
        )
    if version.digest is None:
        raise UsageError(f"The tag {version.tag} names no model", "Register it again")


def require_turn(root: Path, version: Version, now: State, revert: bool) -> None:
    """Raise RaceError (24) where a newer version is being rolled out: it is not superseded."""
    if not now.running or revert:
        return
    known = {v.name: v for v in registry.versions(root, version.model)}
    running = known.get(now.version)
    if running is not None and running.number > version.number:
        raise RaceError(
            f"{running.tag} is being rolled out, which is newer than {version.name}",
            "Leave it, or abort it first: `./mainline rollout abort`",
        )


def plan_of(
    root: Path, version: Version, served: Version | None, wanted: str, revert: bool
) -> tuple[str, str] | None:
    """The plan's name and why, where neither settings nor the rate of requests decide.

    A digest that was healthy in production before passes as a revert: all at once, guarded. Another
    major version cannot take the requests of the one that is `served`, so neither copies nor parts
    of them may be sent to it: SettingsError (22) unless the plan `wanted` sends none.
    """
    if revert:
        good = registry.healthy(registry.moves(root, version.model))
        if not any(v.digest == version.digest for v in good):
            raise UsageError(
                f"The model of {version.tag} was never healthy at prod, so it is no revert",
                "Start it without `--revert`",
            )
        return "blue-green", f"the model of {version.name} was healthy in production before"
    if served and served.number[0] != version.number[0] and wanted not in ANY_INTERFACE:
        raise SettingsError(
            f"{version.tag} takes other requests than {served.name}, which is served: as a shadow "
            "or a canary it would have to refuse them",
            "Set rollout.plan to blue-green, when the clients are ready for it",
        )
    return None
