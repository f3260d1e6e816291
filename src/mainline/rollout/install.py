"""`mainline host ...`: set a machine up to serve, from here, and look after it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mainline import console
from mainline.errors import DataError, MainlineError
from mainline.git import git, resolve
from mainline.rollout import machine, ship, ssh
from mainline.rollout.target import TargetError, lasting_folder

# What serving needs of a checkout.
PATHS = ("mainline", "src/mainline", "pyproject.toml", "requirements.txt", "requirements-uv.txt")
INSTALL_SECONDS = 1800
CALL_SECONDS = 180.0
ARRIVED = "mainline arrived"  # what the doorstep says first


@dataclass(frozen=True)
class Place:
    """Where the host is: `call` asks its agent, `start` is the command that runs words there."""

    text: str
    folder: str
    start: Callable[..., list[str]]
    environ: Mapping[str, str] = field(repr=False)
    explain: Callable[[int | None, str], MainlineError]
    call: Callable[..., Any]
    python: str


@contextlib.contextmanager
def place(root: Path, target: str | None) -> Iterator[Place]:
    """The host at `target`, else of MAINLINE_TARGET, else this machine's folder."""
    address = (target if target is not None else os.environ.get("MAINLINE_TARGET", "")).strip()
    if address.startswith("ssh://"):
        with ssh.way(address) as way, ssh.connect(root, address) as remote:
            yield Place(address, way.address.path, way.command, way.environ,
                        partial(ssh.explain, way), partial(remote.call, wait=CALL_SECONDS),
                        "python3")  # fmt: skip
        return
    here = not address or address.startswith("self-hosted:")
    if not here and "://" in address:
        raise TargetError(f"{address!r} is no host", "Use ssh://user@host/path, or a folder")
    folder = (lasting_folder(root) if here else Path(address)).resolve()

    def call(name: str, **given: Any) -> Any:
        return machine.CALLS[name](folder, given)

    yield Place(str(folder), str(folder), lambda *words: list(words), os.environ, _local, call,
                sys.executable)  # fmt: skip


def _local(status: int | None, said: str) -> MainlineError:
    return TargetError(f"The set-up ended with status {status} ({said[-200:] or 'no message'})")


def install(
    root: Path, target: str | None, port: int | None = None, system: bool = False
) -> dict[str, Any]:
    """Bring the committed house to the host and set it up there; nothing that runs is touched.

    Safe to call again. Raises what the host says: an old Python, a full disk, no Envoy.
    """
    if port is not None:
        machine.require_port(port)
    archive = house(root)
    digest = ship.archive_digest(archive)
    environ = {k: v for k in machine.VARIABLES if (v := os.environ.get(k))}
    options = json.dumps({"port": port, "system": system, "environ": environ})
    script = Path(__file__).with_name("doorstep.py").read_text("utf-8")
    with place(root, target) as found:
        command = found.start(found.python, "-c", script, found.folder, digest, options)
        console.progress(f"host: bringing the house {digest[:12]} to {found.text}")
        text = _run(command, found, archive)
    return {"house": digest[:12], "target": found.text, "text": text}


def house(root: Path) -> bytes:
    """An archive of what serving needs, as it is committed; the same bytes for the same files."""
    commit = resolve(root, "HEAD")
    if commit is None:
        raise DataError("There is no commit whose house could be installed", "Commit first")
    there = git(root, "ls-tree", "--name-only", commit, "--", *PATHS).splitlines()
    done = subprocess.run(["git", "archive", "--format=tar", commit, "--", *there], cwd=root,
                          capture_output=True, check=False)  # fmt: skip
    if done.returncode != 0:
        raise DataError(f"git archive failed ({done.stderr.decode(errors='replace').strip()})")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        members = [(m.name, tar.extractfile(m)) for m in tar if m.isreg()]
        files = {name: stream.read() for name, stream in members if stream is not None}
    if not {"mainline", "requirements.txt", "src/mainline/rollout/agent.py"} <= files.keys():
        raise DataError("This commit holds no house that can be installed", "Update it first")
    return ship.archive_of(files)


def _run(command: Sequence[str], found: Place, archive: bytes) -> str:
    """Run the set-up there, its progress on stderr here; its answer, or its error raised."""
    environ = {k: v for k, v in found.environ.items() if k != "MAINLINE_ROOT"}
    process = subprocess.Popen(list(command), env=environ, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert process.stdin and process.stderr and process.stdout
    said: list[str] = []

    def listen() -> None:
        assert process.stderr
        # What ssh says before is no progress: its banner on a wrong host key becomes one sentence.
        arrived = False
        for line in process.stderr:
            text = line.decode("utf-8", "replace").rstrip()
            if text == ARRIVED:
                arrived = True
                continue
            said.append(text)
            if arrived and not text.startswith("mainline: "):
                console.progress(f"  {text}")

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    # A host that refuses before it has read has said why.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(archive)
        process.stdin.close()
    timer = threading.Timer(INSTALL_SECONDS, process.kill)
    timer.start()
    out = process.stdout.read().decode("utf-8", "replace")
    status = process.wait()
    timer.cancel()
    listener.join(5)
    return _answer(status, out, said, found)


def _answer(status: int, out: str, said: Sequence[str], found: Place) -> str:
    document: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        # What a login shell prints stands before it.
        document = json.loads(out[max(out.rfind("\n{"), 0) :])
    if status == 0 and "done" in document:
        return str(document["done"])
    if "error" in document:
        raise _error(document["error"], document.get("remedy", ""), int(document["status"]))
    sentence = next((x for x in reversed(said) if x.startswith("mainline: ")), "")
    if sentence:
        raise _error(sentence.removeprefix("mainline: "), "", status)
    if status == 127 or any("python3: not found" in x for x in said):
        raise TargetError(
            f"There is no python3 at {found.text}", "Install Python 3.11 to 3.14 and Git there"
        )
    raise found.explain(status, "\n".join(said))


def _error(cause: str, remedy: str, status: int) -> MainlineError:
    error = TargetError(f"The host says: {cause}", remedy)
    error.status = status
    return error


def set_up(folder: str, options: str) -> dict[str, Any]:
    """What the launcher of a house that was just brought there runs."""
    return {"done": machine.set_up(Path(folder).resolve(), json.loads(options))}


def up(root: Path, target: str | None, restart: bool = False) -> dict[str, Any]:
    """Start what is to run there; with `restart` Envoy, guard and watcher by the newest house."""
    with place(root, target) as found:
        return {"text": found.call("host-up", restart=restart)}


def down(root: Path, target: str | None) -> dict[str, Any]:
    """End every process there."""
    with place(root, target) as found:
        return {"text": found.call("host-down")}


def status(root: Path, target: str | None) -> dict[str, Any]:
    """What runs there."""
    with place(root, target) as found:
        seen = found.call("host-status")
    return {"host": seen, "text": told(seen, found.text)}


def told(seen: Mapping[str, Any], text: str) -> str:
    """What was observed, for people."""
    if not seen["up"]:
        return f"{text} is down; `./mainline host up` starts what ran"
    follows = "traffic follows" if seen["envoy"] else "traffic does NOT follow"
    follows = f"{follows} the state" if seen["stable"] else "nothing is served yet"
    guarded = "guarded" if seen["guarded"] else "NOT guarded"
    said = f"{seen['status']} {seen['reason']}".rstrip()
    lines = [
        f"{text} is up at {seen['url']} (of that machine); {follows}",
        f"  rollout    {said}, {guarded}",
    ]
    for name in ("stable", "canary", "previous"):
        if arm := seen[name]:
            weight = f" at {seen['weight']}% in {seen['stage']}" if name == "canary" else ""
            lines.append(f"  {name:<10} {arm['version']}{weight}")
    if seen.get("rate") is not None:
        lines.append(f"  requests   {seen['rate']:.3g} a second")
    for name, process in sorted(seen["processes"].items()):
        house = seen["houses"].get(name) or "a checkout"
        lines.append(f"  {name:<22} {process['state']}, pid {process['pid']}, house {house}")
    return "\n".join([*lines, f"  {seen['boot']}"] if seen["boot"] else lines)


def logs(root: Path, target: str | None, lines: int = 10) -> dict[str, Any]:
    """The last lines of each program's log there."""
    with place(root, target) as found:
        seen = found.call("host-logs", lines=lines)
    blocks = ["\n  ".join([f"{name}:", *last]) for name, last in seen.items()]
    return {"logs": seen, "text": "\n".join(blocks) or "There are no logs"}


def uninstall(root: Path, target: str | None, purge: bool = False) -> dict[str, Any]:
    """End everything there, and take it out of what starts at boot."""
    with place(root, target) as found:
        return {"text": found.call("host-uninstall", purge=purge)}
