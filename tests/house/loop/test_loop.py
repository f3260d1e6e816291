"""The whole loop, as a newcomer runs it: in full, side by side with another, and stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tools
from copies import commit_all, copy_tree

from mainline.loop import changes

ROOT = Path(__file__).resolve().parents[3]
COMMAND = re.compile(r"`\./mainline ([a-z][a-z ]*)")


def start(clone: Path, *words: str) -> subprocess.Popen[str]:
    """`./mainline loop WORDS` in `clone`, in this process's environment, in a group of its own."""
    variables = {**os.environ, "MAINLINE_VENV": sys.prefix, "TMPDIR": str(clone.parent)}
    return subprocess.Popen(
        [sys.executable, str(clone / "mainline"), "loop", *words], cwd=clone, env=variables,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=tools.hear_control_c,
    )  # fmt: skip


def left_behind(folder: Path) -> list[str]:
    """Command lines of living processes that speak of `folder`, or live in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            place = str((process / "cwd").readlink())
        except OSError:
            continue
        if words and (str(folder) in words or place.startswith(str(folder))):
            found.append(words)
    return found


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository as it stands, committed once."""
    folder = tmp_path_factory.mktemp("loops") / "clone"
    copy_tree(folder)
    commit_all(folder)
    return folder


@pytest.fixture(scope="module")
def told(clone: Path) -> dict[str, Any]:
    """The story of a full loop that ran beside a fast one; both have to end well."""
    both = [start(clone), start(clone, "--fast", "--out", str(clone.parent / "fast.html"))]
    said = [child.communicate(timeout=1500)[0] for child in both]
    assert [child.returncode for child in both] == [0, 0], "\n\n".join(s[-3000:] for s in said)
    page = re.search(r"The story: (\S+)", said[0])
    assert page, said[0][-1000:]
    return {"page": Path(page[1]), "said": said[0],
            **json.loads((clone / "build" / "loop" / "story.json").read_text("utf-8"))}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_story_is_told(told: dict[str, Any]) -> None:
    """A full loop ends with status 0 and one page, with every act and every rollout on it."""
    text = told["page"].read_text("utf-8")
    for title in ("The first release", "A good change", "A bad change",
                  "A release that breaks in production", "Months in production",
                  "The retraining"):  # fmt: skip
        assert title in text
    assert "<script" not in text and 'src="http' not in text


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_loop_leaves_nothing_behind(told: dict[str, Any], clone: Path) -> None:
    """After a loop no process of it lives, no clone is left, and the checkout is as it was."""
    assert left_behind(clone.parent) == []
    assert list(clone.parent.glob("mainline-loop-*")) == []
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True,
                            text=True, check=True)  # fmt: skip
    assert status.stdout == ""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_readme_names_commands_that_the_loop_runs(told: dict[str, Any]) -> None:
    """Every step in the README's table is a command that the loop ran."""
    table = [line for line in (ROOT / "README.md").read_text("utf-8").splitlines()
             if line.startswith("| ") and "`./mainline" in line]  # fmt: skip
    assert len(table) >= 8
    ran = {step["command"].removeprefix("./mainline ") for step in told["steps"]}
    for line in table:
        named = COMMAND.search(line)
        assert named
        words = named[1].strip().split()
        words = [w for w in words if w.islower()]
        inside = words[0] in ("validate", "serve")  # a stage of the pipeline; what rollout starts
        assert inside or any(done.split()[: len(words)] == words for done in ran), line


@pytest.mark.slow
def test_control_c_ends_every_process(clone: Path, tmp_path: Path) -> None:
    """Control-C in the middle ends the loop, its jobs, its services and Envoy, and cleans up."""
    child = start(clone)
    assert child.stdout is not None
    for line in child.stdout:
        if "rollout rehearse v1.0.0" in line:
            break
    time.sleep(1)
    assert left_behind(clone.parent)
    os.killpg(child.pid, signal.SIGINT)
    child.communicate(timeout=120)
    assert child.returncode not in (0, None)
    assert left_behind(clone.parent) == []
    assert list(clone.parent.glob("mainline-loop-*")) == []


def test_the_changes_fit_the_sample(tmp_path: Path) -> None:
    """Each change of the story applies to the shipped sample, and leaves code that compiles."""
    for change in (changes.better, changes.worse, changes.slow):
        root = tmp_path / change.__name__
        (root / "src" / "project").mkdir(parents=True)
        for name in ("params.yaml", "src/project/features.py"):
            (root / name).write_bytes((ROOT / name).read_bytes())
        assert change(root)
        compile((root / "src/project/features.py").read_text("utf-8"), "features.py", "exec")
