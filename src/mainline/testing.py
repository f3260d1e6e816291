"""`mainline test`: the linters and the type checker in a line each, then the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mainline.environment import surroundings

FAILED = 10
FORKERS = ("tests/data", "tests/model", "tests/project")
CHECKS = (
    ("ruff check", ("ruff", "check", "--quiet", ".")),
    ("ruff format", ("ruff", "format", "--quiet", "--check", ".")),
    ("mypy", ("mypy", "--no-error-summary", "src/mainline")),
)
# Offline, and in forks too: a workflow decides who may write, and nothing else here reads it.
WORKFLOWS = ("zizmor", "--offline", "--quiet", "--min-severity", "medium", ".github")


def run(root: Path, slow: bool = False, args: Sequence[str] = ()) -> int:
    """Run the checks and the tests of `root`; `args` go to pytest, whose closing line comes last.

    A fork, which has no `tests/house`, runs its own tests only, and the check of its workflows.
    Returns 0, or 10 when anything failed; no test at all is a failure.
    """
    env = _environment(root)
    house = (root / "tests" / "house").is_dir()
    passed = [_check(root, name, words, env) for name, words in CHECKS if house]
    if (root / ".github").is_dir():
        passed.append(_check_workflows(root, env))
    tests = _call(root, pytest_words(root, house, slow, args), env)
    return 0 if all(passed) and tests == 0 else FAILED


def pytest_words(root: Path, house: bool, slow: bool, args: Sequence[str]) -> list[str]:
    """What follows `python -m`: pytest, its choice of tests, then the caller's words."""
    chosen = [] if slow else ["-m", "not slow"]
    named = any((root / word.split("::")[0]).exists() for word in args if word[:1] != "-")
    places = [] if house or named else [place for place in FORKERS if (root / place).is_dir()]
    return ["pytest", *chosen, *places, *args]


def _check(root: Path, name: str, words: Sequence[str], env: dict[str, str]) -> bool:
    return _told(name, _call(root, words, env))


def _check_workflows(root: Path, env: dict[str, str]) -> bool:
    """zizmor is a program and no module; where it is not installed nothing was checked."""
    program = shutil.which(WORKFLOWS[0], path=env.get("PATH"))
    words = [program or WORKFLOWS[0], *WORKFLOWS[1:]]
    status = subprocess.run(words, cwd=root, env=env, check=False).returncode if program else FAILED
    return _told("workflows" if program else "workflows (zizmor is not installed)", status)


def _told(name: str, status: int) -> bool:
    print(f"{name}: {'passed' if status == 0 else 'FAILED'}", flush=True)
    return status == 0


def _call(root: Path, words: Sequence[str], env: dict[str, str]) -> int:
    return subprocess.run([sys.executable, "-m", *words], cwd=root, env=env, check=False).returncode


def _environment(root: Path) -> dict[str, str]:
    """The environment of the tests: without what Git tells its hooks, which would lead tests'
    own Git commands into this repository."""
    env = surroundings(root, sys.executable)
    return {name: value for name, value in env.items() if name not in GIT_HOOK_WORDS}


GIT_HOOK_WORDS = frozenset(
    ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
)
