"""Drills leave nothing behind, whatever ends them, and the checkout is as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small
import tools

from mainline.files import digest_files

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def processes(text: str) -> list[str]:
    """Command lines of processes that speak of `text`."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True
    )
    return [line for line in listed.stdout.splitlines() if text in line]


def state(root: Path) -> str:
    """A digest over all files of a checkout but Git's own and caches of Python."""
    names = [
        f for f in root.rglob("*") if f.is_file() and not {".git", "__pycache__"} & set(f.parts)
    ]
    # DVC keeps a database of what it has looked at, beside the cache.
    return digest_files([f for f in names if ".dvc" not in f.parts or "cache" in f.parts], root)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("begun", ["base", "drill-comment"])
def test_a_signal_leaves_nothing(
    sample_repository: Path, tmp_path: Path, number: signal.Signals, begun: str
) -> None:
    """While a base is trained and while a drill is held."""
    before = state(sample_repository)
    env = {**small.variables(sample_repository), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "mainline", "drill", "comment"], cwd=sample_repository, env=env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=tools.hear_control_c,
    ) as child:  # fmt: skip
        until = time.monotonic() + 300
        while not any((f / begun / "src").is_dir() for f in tmp_path.glob("mainline-drill-*")):
            assert child.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        while begun == "base" and not processes("mainline.drill.one base " + str(tmp_path)):
            assert child.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        child.send_signal(number)
        _, said = child.communicate()
    assert child.returncode == 130, said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
    assert processes(str(tmp_path)) == []
    assert state(sample_repository) == before
