"""Making a locked environment: by uv, which pip brings in where it is missing, or by pip alone.

Standard library only: this runs before anything is installed. One process at a time works on an
environment; a set-up that was cut short is noticed by the next call, which starts it afresh (what
was downloaded stays in the cache of uv or pip).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mainline import environment
from mainline.alone import alone, read_state, write_state
from mainline.environment import SetUpError
from mainline.progress import say, watched

UV_LOCK = "requirements-uv.txt"
BEGUN = "begun\n"
PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input")


def bring_up(venv: str | Path, locks: Sequence[str | Path]) -> None:
    """Make `venv` hold what `locks` name, and stamp it; a second caller waits for the first.

    A folder that is no environment is never touched. Raises SetUpError when that is the case, or
    when packages or tools cannot be had.
    """
    venv = os.path.realpath(venv)
    paths = [os.fspath(lock) for lock in locks]
    try:
        os.makedirs(os.path.dirname(venv), exist_ok=True)
        with alone(f"{venv}.lock", f"another call is setting up {_name(venv)}; waiting") as held:
            if not environment.current(venv, paths):
                cut_short = read_state(held) == BEGUN
                if not cut_short and not _is_environment(venv):
                    raise SetUpError(f"{venv} is no Python environment", "Move it away")
                write_state(held, BEGUN)
                _bring_up(venv, paths, fresh=cut_short or not _usable(venv))
                write_state(held, "")
    except OSError as error:
        raise SetUpError(
            f"{venv} could not be set up ({error.strerror or error})",
            "Make room or make the folder writable, then run the same command again",
        ) from error


def find_uv(beside: str | Path) -> str | None:
    """The uv of the machine, else one that pip brings in beside the environments, else None."""
    found = shutil.which("uv")
    lock = os.path.join(environment.ROOT, UV_LOCK)
    if found or not os.path.isfile(lock):
        return found
    key = environment.digest(lock).removeprefix("sha256:")[:12]
    kept = Path(beside, f".venv.uv.{key}", "uv.exe" if environment.WINDOWS else "uv")
    try:
        if not kept.is_file():
            _bring_uv(lock, kept)
        return str(kept)
    except SetUpError:
        return None


def packages(lock: str | Path) -> int:
    """How many packages a lock names, those for other platforms included."""
    lines = Path(lock).read_text(encoding="utf-8").splitlines()
    return sum(line[:1].isalnum() for line in lines)


def _bring_up(venv: str, locks: list[str], fresh: bool) -> None:
    begun = time.monotonic()
    wanted = [lock for lock in locks if fresh or not environment.current(venv, [lock])]
    names = " and ".join(os.path.basename(lock) for lock in wanted)
    say(f"setting up {_name(venv)} from {names} (up to {sum(map(packages, wanted))} packages)")
    try:
        uv = find_uv(os.path.dirname(venv))
        if uv is None:
            raise SetUpError("uv cannot be had here")
        _fill(venv, wanted, fresh, uv)
    except SetUpError as error:
        say(f"{error.cause.removesuffix('.')}; trying pip alone, which takes minutes")
        if not fresh and not _answers([environment.python_in(venv), "-m", "pip", "--version"]):
            fresh, wanted = True, locks
        _fill(venv, wanted, fresh, None)
    say(f"{_name(venv)} is ready ({time.monotonic() - begun:.0f} s)")


def _fill(venv: str, locks: list[str], fresh: bool, uv: str | None) -> None:
    if fresh:
        shutil.rmtree(venv, ignore_errors=True)
        _create(venv, uv)
    python = environment.python_in(venv)
    for lock in locks:
        stamp = Path(environment.stamp_path(venv, lock))
        stamp.unlink(missing_ok=True)
        how = [uv, "pip", "install", "--python", python] if uv else [python, *PIP]
        watched([*how, "--require-hashes", "-r", lock], f"installing {os.path.basename(lock)}")
        text = environment.stamp(venv, lock)
        if text is None:
            raise SetUpError(f"{venv} lost its Python while it was set up")
        stamp.write_text(text, encoding="utf-8")


def _create(venv: str, uv: str | None) -> None:
    if uv:
        watched([uv, "venv", "--no-project", "--python", _base(), venv], "making the environment")
        return
    try:
        watched([_base(), "-m", "venv", venv], "making the environment")
    except SetUpError as error:
        raise SetUpError(
            f"{_base()} cannot make an environment: {error.cause}",
            "Install its venv module (on Debian and Ubuntu: `apt install python3-venv`)",
        ) from error


def _bring_uv(lock: str, kept: Path) -> None:
    """Put the uv that `lock` names at `kept`, through the pip of this Python or of a venv."""
    scripts = "Scripts" if environment.WINDOWS else "bin"
    home = kept.parent.parent
    with tempfile.TemporaryDirectory(dir=home, prefix=".venv.uv.") as folder:
        python, target = _base(), [f"--target={folder}"]
        if not _answers([python, "-m", "pip", "--version"]):
            watched([python, "-m", "venv", folder], "making room for uv")
            python, target = environment.python_in(folder), []
        watched(
            [python, *PIP, "--only-binary=:all:", "--require-hashes", *target, "-r", lock],
            "bringing in uv",
        )
        found = [p for p in (Path(folder, s, kept.name) for s in (scripts, "bin")) if p.is_file()]
        if not found:
            raise SetUpError("the package uv holds no program for this platform")
        kept.parent.mkdir(exist_ok=True)
        found[0].replace(kept)


def _base() -> str:
    """The Python behind this one, where this one is itself an environment's."""
    return getattr(sys, "_base_executable", None) or sys.executable


def _is_environment(venv: str) -> bool:
    """Whether `venv` may be made anew: it is an environment, or there is nothing yet."""
    return os.path.isfile(os.path.join(venv, "pyvenv.cfg")) or not (
        os.path.lexists(venv) and (not os.path.isdir(venv) or os.listdir(venv))
    )


def _usable(venv: str) -> bool:
    """Whether packages may be added to `venv`: its Python is supported, works, was not moved."""
    python = environment.python_in(venv)
    if not os.path.isfile(os.path.join(venv, "pyvenv.cfg")) or not os.path.isfile(python):
        return False
    places = f"\n{os.path.realpath(venv)}\n{os.path.realpath(python)}\n"
    stamps = [path.read_text(encoding="utf-8") for path in Path(venv).glob(".mainline-*")]
    ask = f"import sys; sys.exit(not {environment.OLDEST} <= sys.version_info[:2]"
    return all(text.endswith(places) for text in stamps) and _answers(
        [python, "-c", f"{ask} <= {environment.NEWEST})"]
    )


def _answers(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _name(venv: str) -> str:
    return os.path.basename(venv)
