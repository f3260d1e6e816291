"""A small sample repository, made once and copied by tests, and the commands that run in one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from copies import copy_tree

MONTHS, ROWS = 6, 600
LEFT_OUT = ("tests/house", "benchmarks", "demo-store", "docs", ".github")


@dataclass(frozen=True)
class Ran:
    """What a command left: its status and what it said."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """The sentence on stderr, without its prefix."""
        lines = [line for line in self.err.splitlines() if line.startswith("mainline: ")]
        return lines[-1].removeprefix("mainline: ") if lines else ""


def make(root: Path) -> Path:
    """The sample project with few rows, trained and committed; its store is in the folder."""
    copy_tree(root)
    for name in LEFT_OUT:
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "data.dvc").unlink()
    month_files(root / "data" / "rows")
    git(root, "init", "--quiet")
    dvc(root, "add", "--quiet", "data")
    dvc(root, "push", "--quiet", "data.dvc")
    commit(root, "The sample")
    dvc(root, "repro", "--quiet")
    commit(root, "The lock")
    return root


def month_files(folder: Path) -> None:
    """One Parquet file a month."""
    from sample.feed import raw_month

    folder.mkdir(parents=True)
    for number in range(1, MONTHS + 1):
        table = raw_month(number, n=ROWS, seed=7)
        table.to_parquet(folder / f"2024-{number:02}.parquet", index=False)


def commit(root: Path, subject: str) -> str:
    """Commit everything; returns the commit."""
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", subject)
    return git(root, "rev-parse", "HEAD")


def git(root: Path, *arguments: str) -> str:
    """Run git; returns what it printed."""
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True,
                          text=True, encoding="utf-8").stdout.strip()  # fmt: skip


def dvc(root: Path, *arguments: str) -> str:
    """Run dvc; returns what it printed."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, env=variables(root),
                          capture_output=True, text=True, encoding="utf-8")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def variables(root: Path) -> dict[str, str]:
    """The environment in which the launcher runs a command of `root`."""
    from mainline.environment import surroundings

    # `call` sets the root of this process, which is not that of another repository.
    env = surroundings(str(root), sys.executable)
    return {name: value for name, value in env.items() if name != "MAINLINE_ROOT"}


def run(root: Path, *words: str, env: dict[str, str] | None = None) -> Ran:
    """`mainline WORDS` in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "mainline", *words], cwd=root,
                          env={**variables(root), **(env or {})}, capture_output=True, text=True,
                          encoding="utf-8", check=False)  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


def call(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> Ran:
    """`mainline WORDS` through the same `main`, in this process, which is faster."""
    from mainline import cli

    monkeypatch.setenv("MAINLINE_ROOT", str(root))
    monkeypatch.chdir(root)
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main(list(words))
    out, err = capfd.readouterr()
    return Ran(int(ended.value.code or 0), out, err)


def leftovers(root: Path) -> list[str]:
    """Temporary files that a failure left behind."""
    return [f.name for f in root.rglob(".tmp-*") if os.sep + ".dvc" + os.sep not in str(f)]


def edit(root: Path, name: str, old: str, new: str) -> None:
    """Replace `old`, which must be there, in a file of `root`."""
    text = (root / name).read_text("utf-8")
    assert old in text, f"{name} holds no {old!r}"
    (root / name).write_text(text.replace(old, new), encoding="utf-8")
