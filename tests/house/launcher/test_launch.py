"""The launcher where nothing is wrong."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from mainline import environment

ROOT = Path(__file__).resolve().parents[3]


def test_first_call_sets_up_and_hands_over(checkout):
    """The first call makes the environment, says so, and passes each word on as it is."""
    done = checkout.run("status", "two words", "", "größe=*", "--json")
    assert done.returncode == 0
    assert '["status", "two words", "", "gr\\u00f6\\u00dfe=*", "--json"]' in done.stdout
    assert "setting up .venv from requirements.txt" in done.stderr
    assert ".venv is ready" in done.stderr


def test_status_of_the_command_is_the_launchers(checkout):
    """The exit status of a command comes through."""
    assert checkout.run("exit", "11").returncode == 11


def test_later_calls_install_nothing_and_say_nothing(checkout):
    """Once set up, a call neither starts an installer nor writes anything of its own."""
    checkout.told()
    calls = checkout.calls()
    done = checkout.run("status")
    assert (done.returncode, done.stderr, checkout.calls()) == (0, "", calls)


def test_later_calls_import_little(checkout):
    """On the way to the command nothing is imported that only a set-up needs."""
    checkout.told()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", checkout.root / "mainline"],
        env=checkout.environ(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "mainline.environment" in imported
    assert not imported & {"mainline.install", "subprocess", "shutil", "pathlib", "json"}


def test_surroundings_of_the_command(checkout):
    """The command finds its own tools and code first, one thread, and no telemetry."""
    env = checkout.told(PYTHONPATH="/elsewhere", OMP_NUM_THREADS="3")["env"]
    assert env["PATH"].split(os.pathsep)[0] == str(checkout.venv / "bin")
    assert env["PYTHONPATH"].split(os.pathsep) == [str(checkout.root / "src"), "/elsewhere"]
    assert env["OMP_NUM_THREADS"] == "3"
    assert env["OPENBLAS_NUM_THREADS"] == env["UV_SYSTEM_CERTS"] == env["PYTHONUTF8"] == "1"
    assert env["DVC_NO_ANALYTICS"] == env["ITERATIVE_DO_NOT_TRACK"] == env["DO_NOT_TRACK"] == "1"
    assert env["BENTOML_DO_NOT_TRACK"] == "True"
    assert env["MAINLINE_VENV"] == env["VIRTUAL_ENV"] == str(checkout.venv)


def test_code_of_another_checkout_is_not_lent(checkouts):
    """A call inside the command of another checkout runs its own code only."""
    one, other = checkouts("one"), checkouts("other")
    env = other.told(PYTHONPATH=str(one.root / "src"))["env"]
    assert env["PYTHONPATH"] == str(other.root / "src")


def test_changed_lock_is_installed(checkout):
    """After the lock has changed, the next call has the new version."""
    assert checkout.told()["tiny"] == "1.0"
    checkout.lock("2.0.1")
    assert checkout.told()["tiny"] == "2.0.1"


def test_line_ends_are_no_change(checkout):
    """A lock whose line ends Git rewrote is the same lock."""
    checkout.told()
    calls = checkout.calls()
    lock = checkout.root / "requirements.txt"
    lock.write_bytes(lock.read_bytes().replace(b"\n", b"\r\n"))
    checkout.told()
    assert checkout.calls() == calls


def test_only_test_brings_the_tools_of_tests(checkout):
    """`requirements-dev.txt` is installed for `mainline test`, whatever options precede it."""
    assert not checkout.told("status")["dev"]
    assert checkout.told("--debug", "test")["dev"]


def test_folder_with_spaces_and_letters(checkouts):
    """A checkout may lie in any folder; the scripts of its packages start there too."""
    checkout = checkouts("ein Größen-Test (日本)")
    assert checkout.told()["tiny"] == "1.0"
    done = subprocess.run([checkout.venv / "bin/tiny"], capture_output=True, text=True, check=True)
    assert done.stdout == "1.0\n"


def test_launcher_can_be_linked_to(checkout):
    """A link to the launcher, from a folder on PATH say, works on the checkout behind it."""
    link = checkout.work / "ml"
    link.symlink_to(checkout.root / "mainline")
    done = subprocess.run([sys.executable, link], env=checkout.environ(), check=False)
    assert done.returncode == 0
    assert checkout.venv.is_dir()


def test_supported_versions_agree():
    """Launcher, set-up, `pyproject.toml` and the Windows launcher name the same Pythons."""
    tree = ast.parse((ROOT / "mainline").read_text())
    assigned = next(n for n in tree.body if isinstance(n, ast.Assign) and "OLDEST" in ast.dump(n))
    oldest, newest = ast.literal_eval(assigned.value)
    assert (oldest, newest) == (environment.OLDEST, environment.NEWEST)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    low, high = re.findall(r"3\.(\d+)", project["requires-python"])
    assert (oldest[1], newest[1] + 1) == (int(low), int(high))
    said = f"{oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}"
    assert said in (ROOT / "mainline.cmd").read_text()


def test_windows_launcher_has_windows_line_ends():
    """cmd.exe misreads labels in a batch file with bare line feeds."""
    raw = (ROOT / "mainline.cmd").read_bytes()
    assert raw.count(b"\n") == raw.count(b"\r\n") > 5
