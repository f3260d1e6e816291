"""What is done on the host itself, in its folder, by the house that was brought there.

PATH/house/<digest>/   the houses side by side; each process runs with the one it was started by
PATH/house/.venv*      their environments
PATH/agent             starts the agent of the newest house
PATH/artifacts/        the Bentos
and what a rollout keeps: rollout.json, history.jsonl, log/, programs/, xds/, predictions/ ...
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mainline import environment
from mainline.errors import UsageError
from mainline.files import write_json, write_text
from mainline.rollout import boot, handover, host, ship, state
from mainline.rollout.local import LocalTarget
from mainline.rollout.target import Ask, TargetError

READY_SECONDS = 60.0
LOWEST_PORT, HIGHEST_PORT = 1024, 65535
KEPT = 3  # so many of the last houses and artifacts stay, whatever refers to them
# What the services of a host read from its environment, also after a boot.
VARIABLES = ("MAINLINE_LOG", "MAINLINE_KEYS", "MAINLINE_WORKERS")
AGENT = """#!/bin/sh
PYTHONPATH={source} PYTHONUTF8=1 exec {python} -P -m mainline.rollout.agent "$@"
"""


def house_here() -> str:
    """The twelve digits of the house that this process runs; "" in a checkout."""
    root = Path(environment.ROOT)
    return root.name if root.parent.name == "house" else ""


def kept_environment(folder: Path) -> dict[str, str]:
    """The variables that `install` was given for this folder."""
    found = _read(folder / "environ.json")
    return {name: str(found[name]) for name in VARIABLES if found.get(name)}


def set_up(folder: Path, options: Mapping[str, Any], booter: boot.Boot | None = None) -> str:
    """Make this house the folder's newest; what runs goes on as it is. What was done, as text.

    `options`: `port` (public, None for a free one), `system` (a unit of the system), `environ`.
    Raises PlatformError (23) where Envoy or supervisor cannot run, UsageError for a port that is
    taken or out of range.
    """
    booter = booter or boot.Boot()
    host.require_platform()
    if options.get("port") is not None:
        _keep_port(folder, int(options["port"]))
    given = {k: v for k, v in (options.get("environ") or {}).items() if k in VARIABLES and v}
    write_json(folder / "environ.json", {**kept_environment(folder), **given})
    here = house_here()
    write_json(folder / "house" / f"{here}.json", {"python": sys.executable})
    put_agent(folder)
    kept = _read(folder / "boot.json").get("kind", "")
    if kept and (kept == "system") != bool(options.get("system")):
        booter.remove(folder, str(kept))
    booted = booter.install(folder, bool(options.get("system")))
    write_json(folder / "boot.json", booted)
    gone = prune(folder)
    text = f"The house {here} is set up in {folder}. {booted['text']}"
    return f"{text}\nNothing refers any more to {', '.join(gone)}: removed" if gone else text


def put_agent(folder: Path) -> None:
    """Let `folder` be served by this house: whoever connects from now on talks to it."""
    source = shlex.quote(str(Path(environment.ROOT) / "src"))
    write_text(folder / "agent", AGENT.format(source=source, python=shlex.quote(sys.executable)))


def is_place(folder: Path) -> bool:
    """Whether Mainline was ever installed, or served, in `folder`."""
    return any((folder / name).exists() for name in ("agent", "host.json"))


def require_port(port: int) -> None:
    """Raise UsageError (2) for a port that no program of a user can have."""
    if not LOWEST_PORT <= port <= HIGHEST_PORT:
        raise UsageError(f"No public port can be {port}",
                         f"Choose one from {LOWEST_PORT} to {HIGHEST_PORT}")  # fmt: skip


def _keep_port(folder: Path, port: int) -> None:
    require_port(port)
    found = _read(folder / "host.json")
    if found.get("public") == port:
        return
    if host.is_up(folder):
        raise UsageError(
            f"Clients ask port {found.get('public')} now", "Run `./mainline host down` first"
        )
    if not host.is_free(port):
        raise UsageError(f"Port {port} of the host is taken", "Choose another with `--port`")
    write_json(folder / "host.json", {"public": port, "admin": host.free_port()})


def up(folder: Path, restart: bool = False, booter: boot.Boot | None = None) -> str:
    """Envoy, guard, watcher and what ran; with `restart` the first three by the newest house.

    Raises TargetError (12) for a folder in which nothing was ever installed or rolled out.
    """
    if not is_place(folder):
        raise TargetError(f"There is no Mainline at {folder}", "`./mainline host install` first")
    if host.is_up(folder):
        if not restart:
            return f"{folder} is up: {host.url(folder)}"
        return restarted(folder)
    ensure(folder, booter)
    return f"{folder} is up: {host.url(folder)}{_answers(folder)}"


def _answers(folder: Path) -> str:
    """Wait until the version that has the traffic answers; what is to be said where it does not."""
    target = LocalTarget(folder)
    stable = target.read().stable
    deadline = time.monotonic() + READY_SECONDS
    while stable is not None and stable.port:
        if target.ask(stable, [Ask("/readyz")])[0][0] == 200:
            return f", {stable.version} answers"
        if time.monotonic() >= deadline:
            return f"; {stable.version} does not answer yet"
        time.sleep(0.1)
    return ""


def ensure(folder: Path, booter: boot.Boot | None = None) -> None:
    """See Envoy, guard and watcher running, started by the folder's unit where it has one.

    What an ssh session starts itself may be ended with it (KillUserProcesses of logind).
    """
    if not host.is_up(folder):
        kind = str(_read(folder / "boot.json").get("kind", ""))
        (booter or boot.Boot()).start(folder, kind)
    host.ensure(folder)


def restarted(folder: Path) -> str:
    """Start watcher, guard and Envoy anew, by this house; weights and services stay."""
    with state.locked(folder, "command.lock", wait=0.0):
        lost = handover.renew(folder)
    return (
        f"Watcher, guard and Envoy run by the house {house_here() or 'of this checkout'}; "
        f"weights and services are as they were. {lost}"
    )


def down(folder: Path) -> str:
    """End every process of the folder."""
    LocalTarget(folder).down()
    return f"Everything in {folder} is stopped; `./mainline host up` brings it back"


def status(folder: Path) -> dict[str, Any]:
    """What `observe` finds, and the houses: `house` (newest), `houses` by program, `boot`."""
    found = LocalTarget(folder).observe()
    return {**found, "folder": str(folder), "house": house_here(), "houses": houses_used(folder),
            "boot": _read(folder / "boot.json").get("text", "")}  # fmt: skip


def logs(folder: Path, lines: int) -> dict[str, list[str]]:
    """The last lines of each program's log."""
    found = {}
    for path in sorted((folder / "log").glob("*.log")):
        with path.open(encoding="utf-8", errors="replace") as stream:
            last = deque(stream, maxlen=max(1, lines))
        found[path.stem] = ["".join(c for c in x.rstrip() if c.isprintable()) for x in last]
    return found


def uninstall(folder: Path, purge: bool, booter: boot.Boot | None = None) -> str:
    """End everything and take the unit away; with `purge` also the folder.

    Nothing outside the folder is touched, nor is one that is not Mainline's.
    """
    if not is_place(folder):
        raise TargetError(f"There is no Mainline in {folder}", "Nothing was removed")
    LocalTarget(folder).down()
    (booter or boot.Boot()).remove(folder, str(_read(folder / "boot.json").get("kind", "")))
    (folder / "boot.json").unlink(missing_ok=True)
    if not purge:
        return f"{folder} is stopped and not started at boot; `--purge` removes it"
    # `install` takes no folder that holds other things, so that all in it is Mainline's.
    shutil.rmtree(folder)
    return f"{folder} is removed"


def houses_used(folder: Path) -> dict[str, str]:
    """The house of each program, by the file it is started from; "" for that of a checkout."""
    found = {}
    for path in sorted((folder / "programs").glob("*.json")):
        source = str(_read(path).get("environment", {}).get("PYTHONPATH", ""))
        inside = Path(source.split(os.pathsep)[0]).parent
        found[path.stem] = inside.name if inside.parent == folder / "house" else ""
    return found


def prune(folder: Path) -> list[str]:
    """Remove artifacts, houses and environments that nothing refers to, but the last three.

    What is in the state (stable, canary, previous) or in a program that supervisor starts stays.
    Returns what went.
    """
    now = state.read(folder)
    arms = [a.artifact for a in (now.stable, now.canary, now.previous) if a]
    programs = folder / "programs"
    known = [*_texts(programs, "*.json"), *_texts(programs, "*.conf"), *_texts(folder, "agent")]
    said = "\n".join([*arms, *known])
    gone = _unreferred(folder / ship.FOLDER, "*-*", said, KEPT)
    gone += _unreferred(folder / "house", "????????????", said, KEPT)
    for name in gone:
        (folder / "house" / f"{name}.json").unlink(missing_ok=True)
    # An environment is referred to by its houses.
    said += "\n".join(_texts(folder / "house", "*.json"))
    gone += _unreferred(folder / "house", ".venv*", said, 0)
    return gone


def _unreferred(home: Path, pattern: str, said: str, last: int) -> list[str]:
    there = [p for p in home.glob(pattern) if p.is_dir() and not p.is_symlink()]
    there.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    gone = [p for p in there[last:] if f"{p}/" not in said and f"{p}\"" not in said
            and str(p) not in said.splitlines()]  # fmt: skip
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
        Path(f"{path}.lock").unlink(missing_ok=True)
    return [p.name for p in gone]


def _texts(folder: Path, pattern: str) -> list[str]:
    return [p.read_text("utf-8", "replace") for p in folder.glob(pattern) if p.is_file()]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _artifact(folder: Path, given: Mapping[str, Any]) -> str | None:
    prune(folder)
    return ship.present(folder, str(given["name"]))


# Calls of the agent beyond those of `Target`.
CALLS: dict[str, Callable[[Path, Mapping[str, Any]], Any]] = {
    "artifact": _artifact,
    "host-up": lambda folder, given: up(folder, bool(given.get("restart"))),
    "host-down": lambda folder, given: down(folder),
    "host-status": lambda folder, given: status(folder),
    "host-logs": lambda folder, given: logs(folder, int(given["lines"])),
    "host-uninstall": lambda folder, given: uninstall(folder, bool(given["purge"])),
}


def once(folder: Path, word: str, words: Sequence[str]) -> Any:
    """What the agent does with a further word on its command line."""
    if word == "receive" and len(words) == 3:
        return ship.receive(folder, words[0], words[1], words[2], sys.stdin.buffer)
    if word == "boot" and not words:
        # The unit runs this: it must not start itself.
        return host.ensure(folder)
    if word == "down" and not words:
        return down(folder)
    raise UsageError(f"The agent knows no {word!r}", "Use boot, down or receive")
