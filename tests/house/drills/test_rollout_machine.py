"""Faults of the machine: a full disk, a clock that jumps, ports, files and logs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rollout.rig import rig

from mainline.rollout import deploy, host, state
from mainline.verdict import Verdict


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(folder: Path) -> Path:
    """Leave no byte free in the file system of `folder`."""
    path = folder / "filler"
    with path.open("ab", buffering=0) as stream:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    stream.write(bytes(size))
            except OSError:
                continue
    return path


def test_a_full_disk_does_not_keep_traffic_at_the_canary(disk: Path) -> None:
    """Nothing can be written any more: traffic goes back, with what was kept in reserve."""
    with rig(disk) as live:
        live.begin()
        with live.traffic(rate=300) as client:
            assert live.until(lambda: bool(live.looks()))
            filler = fill(disk)
            assert live.until(live.is_back, 15)
            assert live.until(lambda: live.answering() == {"a"}, 5)
        # Without it nobody would be told, and the version would be tried again.
        said = deploy.ending(state.history(live.target), "b")
        assert said is not None and (said.kind, said.reason) == ("rolled-back", live.state().reason)
        assert (client.totals.lost, set(client.totals.codes)) == (0, {200})
        filler.unlink()
        assert live.start("b").verdict is Verdict.PASS, "with room again it goes on"


WITHOUT_ROOM = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
sys.argv = [sys.argv[1], "."]
runpy.run_module("mainline.rollout." + sys.argv[0], run_name="__main__")
"""


def test_a_watcher_that_can_write_nothing_ends_the_canary(tmp_path: Path) -> None:
    """Even without a reserve: the canary is ended, and stable answers in its place."""
    with rig(tmp_path) as live:
        live.begin()
        for name in ("watcher", "guard"):
            command = [sys.executable, "-c", WITHOUT_ROOM, name]
            document = {"command": command, "directory": str(live.target)}
            (live.target / "programs" / f"{name}.json").write_text(json.dumps(document))
        with live.traffic(rate=300) as client:
            for name in ("watcher", "guard"):
                host.kill_program(live.target, name)
            assert live.until(lambda: live.answering() == {"a"}, 30)
        assert (client.totals.lost, set(client.totals.codes)) == (0, {200})
        assert live.state().running, "nothing could be written down"


JUMP = """
import os, time
shift = float(open(os.path.join(os.path.dirname(__file__), "shift")).read())
real, began = time.time, time.monotonic()
time.time = lambda: real() + (shift if time.monotonic() - began > 1 else 0)
"""


@pytest.mark.parametrize("days", [400, -400])
def test_a_clock_that_jumps_ends_no_stage(
    tmp_path: Path, days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard and watcher count on the clock that does not jump: no early end, none too late."""
    (tmp_path / "sitecustomize.py").write_text(JUMP)
    (tmp_path / "shift").write_text(str(days * 86400.0))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with rig(tmp_path / "place") as live:
        live.begin(hold_seconds=10.0)
        with live.traffic(rate=200) as client:
            assert live.until(lambda: len(live.looks()) > 3)
            jumped = [e["t"] for e in live.looks()][-1] - time.time()
            assert abs(jumped - days * 86400) < 60, "the fault is not there"
            assert live.state().running
            assert live.until(live.is_back, 20), "the hold has an end all the same"
        assert "moved" in live.state().reason
        assert client.totals.lost == 0
