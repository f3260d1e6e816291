"""What may go wrong around the launcher, and what it does then."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# Runs the launcher as if Python were older than it is.
PRETEND = """\
import runpy, sys
sys.version, sys.version_info = "3.10.1 (pretended)", (3, 10, 1, "final", 0)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def pretend(checkout, *words):
    """Run the launcher under a Python that says it is 3.10."""
    return subprocess.run(
        [sys.executable, "-c", PRETEND, checkout.root / "mainline", *words],
        env=checkout.environ(), capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_parses_under_old_pythons():
    """The launcher is read whole before it can complain, so its syntax is an old one."""
    ast.parse((ROOT / "mainline").read_text(), feature_version=(3, 6))


def test_unsupported_python_is_one_sentence(checkout):
    """An unsupported Python, and no other on PATH: one sentence and status 2."""
    done = pretend(checkout, "status")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "this is Python 3.10.1; Mainline needs Python 3.11 to 3.14" in done.stderr
    assert not checkout.venv.exists()


def test_supported_python_beside_an_unsupported_one_is_used(checkout):
    """An unsupported Python hands over to a supported one on PATH; names that lie are passed by."""
    (checkout.bin / "python3.13").write_text("#!/bin/sh\nexit 127\n")
    (checkout.bin / "python3.13").chmod(0o755)
    checkout.program("python3.12", sys.executable)
    done = pretend(checkout, "a b")
    assert done.returncode == 0, done.stderr
    assert '"words": ["a b"]' in done.stdout


def test_missing_git_is_one_sentence(checkout):
    """Without Git: one sentence and status 2, before anything is installed."""
    (checkout.bin / "git").unlink()
    done = checkout.run("status")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Git was not found" in done.stderr
    assert not checkout.venv.exists()


def test_missing_lock_is_one_sentence(checkout):
    """A checkout without its lock: one sentence that says how to bring it back."""
    (checkout.root / "requirements.txt").unlink()
    done = checkout.run("status")
    assert (done.returncode, done.stderr.count("\n")) == (21, 1)
    assert "requirements.txt is gone" in done.stderr


def test_killed_set_up_is_finished_by_the_next_call(checkout):
    """A set-up killed in the middle leaves no stamp, and the next call starts it afresh."""
    checkout.hold.touch()
    child = checkout.start("status")
    checkout.wait_for_install()
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    (checkout.venv / "half-written").touch()
    checkout.hold.unlink()
    assert checkout.told()["tiny"] == "1.0"
    assert not (checkout.venv / "half-written").exists()


def test_killed_change_of_lock_is_finished_by_the_next_call(checkout):
    """The same where an environment was there and its lock had changed."""
    checkout.told()
    checkout.lock("2.0")
    checkout.hold.touch()
    Path(f"{checkout.log}.reached").unlink()
    child = checkout.start("status")
    checkout.wait_for_install()
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    checkout.hold.unlink()
    assert checkout.told()["tiny"] == "2.0"


def test_installer_that_outlives_its_launcher_is_waited_for(checkout):
    """Only the launcher is killed: the next call waits for the installer that still writes."""
    checkout.hold.touch()
    first = checkout.start("status")
    checkout.wait_for_install()
    first.kill()
    first.wait()
    second = checkout.start("status")
    assert second.stderr is not None
    assert "another call is setting up .venv; waiting" in second.stderr.readline()
    checkout.hold.unlink()
    out, err = second.communicate(timeout=120)
    assert (second.returncode, '"tiny": "1.0"' in out) == (0, True), err


def test_control_c_ends_the_installer(checkout):
    """Control-C during the set-up: one line, status 130, and nothing left running."""
    checkout.hold.touch()
    child = checkout.start("status")
    checkout.wait_for_install()
    os.killpg(child.pid, signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in err
    assert "the next call finishes the set-up" in err
    checkout.hold.unlink()
    assert checkout.told()["tiny"] == "1.0"


def test_two_first_calls_at_once(checkout):
    """Of two first calls one installs and the other waits for it, then both run."""
    checkout.hold.touch()
    children = [checkout.start("status") for _ in range(2)]
    checkout.wait_for_install()
    checkout.hold.unlink()
    done = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], done
    installs = [line for line in checkout.log.read_text().splitlines() if line.startswith("pip")]
    assert len(installs) == 1


def test_environment_that_lost_its_python_is_made_anew(checkout):
    """A dangling link, as an uninstalled Python leaves it, is noticed and mended."""
    checkout.told()
    python = checkout.venv / "bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert checkout.told()["tiny"] == "1.0"


def test_moved_checkout_makes_its_environment_anew(checkouts):
    """The scripts in a moved environment would start another Python or none."""
    checkout = checkouts("one")
    checkout.told()
    moved = checkout.work / "moved"
    checkout.root.rename(moved)
    checkout.root, checkout.venv = moved, moved / ".venv"
    assert checkout.told()["prefix"] == str(moved / ".venv")
    done = subprocess.run([moved / ".venv/bin/tiny"], capture_output=True, text=True, check=True)
    assert done.stdout == "1.0\n"


def test_environment_of_an_unsupported_python_is_made_anew(checkout):
    """An environment whose Python does not answer as a supported one does is replaced."""
    checkout.told()
    python = checkout.venv / "bin/python"
    python.unlink()
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    assert checkout.told()["tiny"] == "1.0"


def test_folder_that_is_no_environment_is_left_alone(checkout):
    """MAINLINE_VENV that names a folder of somebody's: refused, and nothing in it is touched."""
    precious = checkout.work / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    for _ in range(2):
        done = checkout.run("status", MAINLINE_VENV=str(precious))
        assert (done.returncode, done.stderr.count("\n")) == (21, 1)
    assert [p.name for p in precious.iterdir()] == ["thesis.txt"]


def test_package_that_was_tampered_with_is_refused(checkout):
    """A package whose hash is not the locked one: refused by uv and by pip, and not stamped."""
    with (checkout.work / "tiny-1.0-py3-none-any.whl").open("ab") as package:
        package.write(b"!")
    done = checkout.run("status")
    assert done.returncode == 21
    assert "Traceback" not in done.stderr
    assert not list(checkout.venv.glob(".mainline-*"))


def test_uv_that_fails_is_replaced_by_pip(checkout):
    """Where uv is there and cannot do it, pip alone does."""
    (checkout.bin / "uv").write_text("#!/bin/sh\necho 'error: no such option'\nexit 2\n")
    done = checkout.run("status")
    assert done.returncode == 0, done.stderr
    assert "no such option; trying pip alone" in done.stderr


def test_pip_alone_serves_where_uv_cannot_be_had(checkout):
    """No uv and none to be brought in: pip installs by the same hashes."""
    checkout.without_uv()
    assert checkout.told()["tiny"] == "1.0"


def test_uv_is_brought_in_by_pip(checkout):
    """No uv on PATH: the locked one comes through pip, beside the environment, and is kept."""
    checkout.without_uv()
    shutil.copy2(ROOT / "requirements-uv.txt", checkout.root)
    assert checkout.told()["tiny"] == "1.0"
    kept = list(checkout.root.glob(".venv.uv.*/uv*"))
    assert len(kept) == 1
    assert not (checkout.venv / "bin/pip").exists(), "pip had to do it after all"


def test_full_disk_or_folder_that_cannot_be_written(checkout):
    """A place that cannot be written is one sentence, not a traceback."""
    blocked = checkout.work / "file"
    blocked.write_text("")
    done = checkout.run("status", MAINLINE_VENV=str(blocked / "venv"))
    assert (done.returncode, done.stderr.count("\n")) == (21, 1)
    assert "could not be set up" in done.stderr
