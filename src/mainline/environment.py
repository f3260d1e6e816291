"""The locked environment of a checkout: where it is, whether it is up to date, how to enter it.

The launcher loads this at every call, so it imports next to nothing and stays in the standard
library; making an environment is the work of `install.py`, loaded only when there is some.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from mainline.errors import MainlineError

if TYPE_CHECKING:
    from pathlib import Path

LOCK = "requirements.txt"
DEV_LOCK = "requirements-dev.txt"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
HOME = "MAINLINE_VENV"
WINDOWS = os.name == "nt"
OLDEST, NEWEST = (3, 11), (3, 14)

# One thread gives one order of summation, so that the same data gives the same model digest.
DEFAULTS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "UV_SYSTEM_CERTS": "1",
    "PYTHONUTF8": "1",
}
# Nothing here reports to anybody.
SILENCED = {
    "ITERATIVE_DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "1",
}


class SetUpError(MainlineError):
    """The environment of a checkout could not be made."""

    status = 21


def launch(root: str, words: list[str]) -> int:
    """Bring the environment of `root` up to date and run `mainline WORDS` in it.

    On POSIX this replaces the process and does not return; elsewhere it returns the command's
    status. It returns 2 without Git and 21 where the environment cannot be made.
    """
    if not _has_git():
        return _refuse("Git was not found. Install Git and try again.", 2)
    command = next((word for word in words if not word.startswith("-")), "")
    try:
        python = ensure(root, dev=command == "test")
    except KeyboardInterrupt:
        return _refuse("interrupted; the next call finishes the set-up.", 130)
    except MainlineError as error:
        return _refuse(str(error), error.status)
    line = [python, "-m", "mainline", *words]
    if WINDOWS:
        import subprocess

        return subprocess.call(line, env=surroundings(root, python))
    os.execve(python, line, surroundings(root, python))


def ensure(root: str, dev: bool = False) -> str:
    """The path of a Python that has what the lock of `root` names; made or mended if need be.

    It is `.venv`, or the folder that MAINLINE_VENV names. The latter may belong to another
    checkout: where the locks differ an environment keyed by the lock is used beside it. Started
    by the Python of an environment that has these very locks, it is that one.
    Raises SetUpError.
    """
    locks = [os.path.join(root, LOCK)]
    if not os.path.isfile(locks[0]):
        raise SetUpError(f"{LOCK} is gone", f"Bring it back with `git checkout {LOCK}`")
    if dev:
        locks.append(os.path.join(root, DEV_LOCK))
    own = os.path.join(root, ".venv")
    venv = os.path.abspath(os.environ.get(HOME) or own)
    if not current(venv, locks):
        if HOME not in os.environ and current(sys.prefix, locks):
            return sys.executable
        from mainline import install

        if os.path.realpath(venv) != os.path.realpath(own) and _holds_others(venv, locks):
            return keyed(os.path.dirname(venv), ".venv", *locks)
        install.bring_up(venv, locks)
    return python_in(venv)


def python_for(root: Path) -> Path:
    """The Python with which the code of another worktree `root` is to be run.

    This process's own where the locks agree (or `root` has none), else that of an environment
    keyed by the digest of the lock, made at the first need (seconds to minutes).
    Raises SetUpError.
    """
    from pathlib import Path

    lock, own = os.path.join(root, LOCK), os.path.join(ROOT, LOCK)
    if not os.path.isfile(lock) or (os.path.isfile(own) and digest(lock) == digest(own)):
        return Path(sys.executable)
    return Path(keyed(os.path.dirname(sys.prefix), ".venv", lock))


def keyed(folder: str | Path, name: str, *locks: str | Path) -> str:
    """The Python of `<folder>/<name>.<twelve digits of the locks>`, made at the first need."""
    import hashlib

    paths = [os.fspath(lock) for lock in locks]
    key = hashlib.sha256("".join(map(digest, paths)).encode()).hexdigest()[:12]
    venv = os.path.join(folder, f"{name}.{key}")
    if not current(venv, paths):
        from mainline import install

        install.bring_up(venv, paths)
    return python_in(venv)


def surroundings(
    root: str | Path, python: str | Path, source: str | Path | None = None
) -> dict[str, str]:
    """The process environment in which `python` runs the code of the checkout `root`.

    The code is in `source`, by default in `src` under `root`.
    """
    scripts = os.path.dirname(os.path.abspath(python))
    venv = os.path.dirname(scripts)
    env = {**DEFAULTS, **os.environ, **SILENCED, "VIRTUAL_ENV": venv, HOME: venv}
    env.pop("PYTHONHOME", None)
    # Every step is a process: without cached bytecode each would compile pandas again.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    code = os.fspath(source or os.path.join(root, "src"))
    for name, first in (("PATH", scripts), ("PYTHONPATH", code)):
        rest = [p for p in env.get(name, "").split(os.pathsep) if p and not _in_the_way(p, first)]
        env[name] = os.pathsep.join([first, *rest])
    return env


def current(venv: str, locks: list[str]) -> bool:
    """Whether `venv` works, is where it was made, and holds exactly these locks."""
    pairs = ((_read(stamp_path(venv, lock)), stamp(venv, lock)) for lock in locks)
    return all(found is not None and found == wanted for found, wanted in pairs)


def stamp(venv: str, lock: str) -> str | None:
    """What the stamp of `lock` in `venv` must say; None where the environment does not work.

    The real path of the interpreter is in it, because an environment follows neither its own
    folder when that is moved nor its Python when the system replaces it.
    """
    python = python_in(venv)
    if not os.path.isfile(python):
        return None
    return f"{digest(lock)}\n{os.path.realpath(venv)}\n{os.path.realpath(python)}\n"


def stamp_path(venv: str, lock: str) -> str:
    """Where the stamp of `lock` lies in `venv`; it is written last."""
    return os.path.join(venv, f".mainline-{os.path.basename(lock)}")


def python_in(venv: str) -> str:
    """The path of the interpreter of `venv`."""
    return os.path.join(venv, "Scripts", "python.exe") if WINDOWS else f"{venv}/bin/python"


def digest(path: str) -> str:
    """`sha256:<hex>` of the bytes of a lock, line ends apart (Git may rewrite those)."""
    import hashlib

    with open(path, "rb") as stream:
        return "sha256:" + hashlib.sha256(stream.read().replace(b"\r\n", b"\n")).hexdigest()


def _holds_others(venv: str, locks: list[str]) -> bool:
    """Whether `venv` was made for other locks than these."""
    stamps = ((_read(stamp_path(venv, lock)), lock) for lock in locks)
    return any(found and not found.startswith(digest(lock) + "\n") for found, lock in stamps)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeError):
        return None


def _in_the_way(path: str, first: str) -> bool:
    """Whether `path` repeats `first`, or would lend this checkout the code of another one."""
    return path == first or os.path.isfile(os.path.join(path, "mainline", "environment.py"))


def _has_git() -> bool:
    program = "git.exe" if WINDOWS else "git"
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return any(os.access(os.path.join(folder, program), os.X_OK) for folder in folders if folder)


def _refuse(sentence: str, status: int) -> int:
    sys.stderr.write(f"mainline: {sentence}\n")
    return status
