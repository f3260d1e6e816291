"""`mainline lock`: renew the files that pin every package of `pyproject.toml` by hash.

Each lock holds for all supported Pythons and platforms, and can be read by uv and by pip. What
two of them share agrees, because the others are constrained by the first.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from mainline.environment import DEFAULTS, LOCK, SetUpError
from mainline.errors import SettingsError
from mainline.files import replacing
from mainline.install import find_uv

OLDEST = "3.11"
# No header, comment or index address: those would tell where a lock was made.
COMPILE = (
    "pip", "compile", "-q", "--universal", "--python-version", OLDEST, "--generate-hashes",
    "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links",
)  # fmt: skip


@dataclass(frozen=True)
class Lock:
    """One lock file: its name, the words that give uv its source, what is told to uv on stdin."""

    name: str
    source: tuple[str, ...]
    stdin: str = ""
    constrained: bool = False


def locks(root: Path) -> list[Lock]:
    """The lock files of the checkout `root`, the one that constrains the others first.

    Raises SettingsError where `pyproject.toml` cannot be read.
    """
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        groups = project.get("dependency-groups", {})
        bootstrap = project["tool"]["mainline"]["bootstrap"]
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(
            f"pyproject.toml cannot be read ({error})", "Mend it, then lock again"
        ) from error
    found = [Lock(LOCK, ("pyproject.toml",))]
    for group, constrained in (("serve", True), ("dev", True), ("tools", False)):
        if group in groups:
            source = ("--group", f"pyproject.toml:{group}")
            found.append(Lock(f"requirements-{group}.txt", source, constrained=constrained))
    return [*found, Lock("requirements-uv.txt", ("-",), stdin="\n".join(bootstrap))]


def run(root: Path, upgrade: bool = False) -> list[str]:
    """Renew the locks of `root`: all of them, or none where one cannot be solved.

    Pins that still fit are kept unless `upgrade` is set. Returns a line for each changed pin.
    Raises SetUpError without uv and SettingsError where the declarations cannot be solved.
    """
    uv = find_uv(root)
    if uv is None:
        raise SetUpError("Locking needs uv, which cannot be had here", "Install uv")
    before = {lock.name: pins(root / lock.name) for lock in locks(root)}
    with contextlib.ExitStack() as stack:
        new: dict[str, Path] = {}
        for lock in locks(root):
            new[lock.name] = stack.enter_context(replacing(root / lock.name))
            _compile(uv, root, lock, new, upgrade)
    return [
        f"{name}: {package} {was.get(package, '-')} -> {now.get(package, '-')}"
        for name, was in before.items()
        for now in [pins(root / name)]
        for package in sorted(was.keys() | now.keys())
        if was.get(package) != now.get(package)
    ]


def pins(lock: Path) -> dict[str, str]:
    """The versions that a lock names, by package; several where markers tell them apart."""
    found: dict[str, str] = {}
    if lock.is_file():
        for line in lock.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"([a-z0-9][a-z0-9-]*)==([^\s;\\]+)", line):
                name, version = match.groups()
                found[name] = f"{found[name]}, {version}" if name in found else version
    return found


def _compile(uv: str, root: Path, lock: Lock, new: dict[str, Path], upgrade: bool) -> None:
    target = new[lock.name]
    if (root / lock.name).is_file():
        shutil.copyfile(root / lock.name, target)
    command = [uv, *COMPILE, *lock.source, "-o", str(target)]
    if lock.constrained:
        command += ["-c", str(new[LOCK])]
    if upgrade:
        command.append("--upgrade")
    done = subprocess.run(
        command, cwd=root, input=lock.stdin, capture_output=True, text=True, encoding="utf-8",
        errors="replace", check=False, env={**DEFAULTS, **os.environ},
    )  # fmt: skip
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or "it said nothing"
        raise SettingsError(
            f"{lock.name} cannot be solved: {said[:600]}", "Mend pyproject.toml, then lock again"
        )
