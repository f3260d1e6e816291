"""One environment for several checkouts, as long as their locks agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from mainline import environment


def test_named_environment_is_shared(checkouts):
    """A worktree with the same lock runs in the environment that MAINLINE_VENV names."""
    one, other = checkouts("one"), checkouts("other")
    one.told()
    calls = one.calls()
    found = other.told(MAINLINE_VENV=str(one.venv))
    assert found["prefix"] == str(one.venv)
    assert found["env"]["PYTHONPATH"] == str(other.root / "src")
    assert (one.calls(), other.venv.exists()) == (calls, False)


def test_other_lock_gets_an_environment_of_its_own(checkouts):
    """A worktree with another lock gets an environment keyed by it, and spoils nobody's."""
    one, other = checkouts("one"), checkouts("other")
    one.told()
    other.lock("2.0")
    found = other.told(MAINLINE_VENV=str(one.venv))
    assert found["tiny"] == "2.0"
    assert Path(found["prefix"]).parent == one.root
    assert Path(found["prefix"]).name.startswith(".venv.")
    calls = one.calls()
    assert one.told()["tiny"] == "1.0"
    other.told(MAINLINE_VENV=str(one.venv))
    assert one.calls() == calls


def test_own_environment_named_is_renewed_in_place(checkout):
    """A call inside a command of the same checkout follows its changed lock as any call does."""
    checkout.told()
    checkout.lock("2.0.1")
    found = checkout.told(MAINLINE_VENV=str(checkout.venv))
    assert (found["tiny"], found["prefix"]) == ("2.0.1", str(checkout.venv))


def test_started_by_the_python_of_a_fitting_environment(checkouts):
    """`python mainline` needs no environment of its own where that Python's has the same lock."""
    one, other = checkouts("one"), checkouts("other")
    one.told()
    done = subprocess.run(
        [one.venv / "bin/python", other.root / "mainline"],
        env=other.environ(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (found["prefix"], other.venv.exists()) == (str(one.venv), False)
    assert found["env"]["PYTHONPATH"] == str(other.root / "src")


def test_same_lock_is_run_by_this_python(tmp_path):
    """A worktree with this checkout's lock, or without any, needs no other interpreter."""
    assert environment.python_for(tmp_path) == Path(sys.executable)
    lock = Path(environment.ROOT, environment.LOCK).read_bytes()
    (tmp_path / environment.LOCK).write_bytes(lock)
    assert environment.python_for(tmp_path) == Path(sys.executable)


def test_other_lock_is_run_by_a_keyed_environment(checkouts, monkeypatch):
    """A worktree with another lock gets the Python of an environment beside this one's."""
    other = checkouts("other")
    monkeypatch.setattr(sys, "prefix", str(other.work / "mine" / ".venv"))
    monkeypatch.setenv("PATH", str(other.bin))
    python = environment.python_for(other.root)
    assert python.parent.parent.parent == other.work / "mine"
    calls = other.calls()
    assert environment.python_for(other.root) == python
    assert other.calls() == calls
