"""The operations of a rollout: start, stage by stage, promote, settle, abort. Each may be repeated.

    start(root, "card-fraud@v1.1.0", bento, digest, expected={digest: [[0.02], ...]})
    for name in ("shadow", "canary-5", "canary-25", "canary-50", "promote"):
        verdict = stage(root, name)

The judge and the rollback are the guard's: a command here that is killed changes nothing for it.
Each takes `target`: a Target, a folder of this machine, or None for the one of MAINLINE_TARGET.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mainline.rollout.ending import abort, pause, resume, rollback, settle, tidy
from mainline.rollout.local import serve_command
from mainline.rollout.moving import promote, stage
from mainline.rollout.ready import GOLDEN
from mainline.rollout.starting import start
from mainline.rollout.steps import Answers, Place
from mainline.rollout.target import opened

__all__ = ["GOLDEN", "Answers", "Place", "abort", "down", "history", "pause", "promote", "resume",
           "rollback", "serve_command", "settle", "stage", "start", "status", "target_folder",
           "tidy", "up"]  # fmt: skip


def target_folder(root: Path, target: Path | None = None) -> Path:
    """The folder of a rollout on this machine: `target`, or `serving/` under `root`."""
    return (target or root / "serving").resolve()


def status(root: Path, *, target: Place = None) -> dict[str, Any]:
    """rollout.json and what is really there: `url`, `processes`, `envoy` (does traffic follow the
    state), `guarded` (does the guard's lease run), `rate`, `up`.

    Works where nothing was ever rolled out (`up` is false), and on every platform.
    """
    with opened(target, root) as there:
        return there.observe()


def history(root: Path, *, target: Place = None) -> list[dict[str, Any]]:
    """The append-only record: every change, and the numbers of each look."""
    with opened(target, root) as there:
        return there.history()


def down(root: Path, *, target: Place = None) -> dict[str, Any]:
    """End every process of the rollout. The state stays, and `up` brings back what ran."""
    with opened(target, root) as there:
        there.down()
        return {"text": f"Nothing of {there.address} runs any more", "target": there.address}


def up(root: Path, *, target: Place = None) -> dict[str, Any]:
    """Bring back what ran before a `down` or a reboot, at its weights; returns status()."""
    with opened(target, root) as there:
        there.ensure()
        return there.observe()
