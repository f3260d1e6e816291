#!/usr/bin/env python3
"""What the set-up, the loop, `--help` and DVC cost here: `python benchmarks/loop/measure.py`.

Works in throw-away clones of the committed tree, under a home of their own. Prints a table of
medians and, with `--json FILE`, writes every single time. `--only set-up,help,dvc,loop` chooses.
Standard library only; the network counts for the set-up from an empty cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("validate", "train", "evaluate")
LIMITS = {
    "set-up, empty cache": 20.0,
    "--help": 0.3,
    "launcher's share": 0.1,
    "loop": 180.0,
    "dvc / direct": 1.15,
    "dvc, nothing to do": 3.0,
}
Times = dict[str, list[float]]


@contextmanager
def clone() -> Iterator[Path]:
    """A throw-away clone of the committed tree."""
    with tempfile.TemporaryDirectory(prefix="mainline-bench-") as folder:
        tree = Path(folder, "tree")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tree)], check=True)
        yield tree


def timed(command: list[str], where: Path, **more: str) -> float:
    """Seconds that `command` takes in `where`; ends the benchmark when it fails."""
    env = {**os.environ, **more}
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, check=False)
    took = time.perf_counter() - begun
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return took


def launcher(tree: Path, *words: str) -> list[str]:
    """The words that start a command through the launcher of `tree`."""
    return [sys.executable, str(tree / "mainline"), *words]


def python() -> Path:
    """The interpreter of this checkout's own environment."""
    return ROOT / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def measure_set_up(times: Times, runs: int) -> None:
    """First calls: with nothing cached, then again with what the first one cached."""
    for _ in range(runs):
        with clone() as tree, tempfile.TemporaryDirectory(prefix="mainline-home-") as home:
            fresh = {"HOME": home, "XDG_CACHE_HOME": f"{home}/cache", "UV_CACHE_DIR": f"{home}/uv",
                     "PIP_CACHE_DIR": f"{home}/pip", "MAINLINE_VENV": ""}  # fmt: skip
            for name in ("set-up, empty cache", "set-up, full cache"):
                times.setdefault(name, []).append(timed(launcher(tree, "--help"), tree, **fresh))
                shutil.rmtree(tree / ".venv")


def measure_help(times: Times, runs: int) -> None:
    """`--help` by the launcher and without it; the difference is the launcher's share."""
    timed(launcher(ROOT, "--help"), ROOT)
    direct = [str(python()), "-m", "mainline", "--help"]
    for _ in range(5 * runs):
        through = timed(launcher(ROOT, "--help"), ROOT)
        without = timed(direct, ROOT, PYTHONPATH=str(ROOT / "src"), PYTHONUTF8="1")
        times.setdefault("--help", []).append(through)
        times.setdefault("launcher's share", []).append(through - without)


def measure_dvc(times: Times, runs: int) -> None:
    """The same stages called one after the other and by DVC, in turns, then by DVC once more."""
    timed(launcher(ROOT, "--help"), ROOT)
    with clone() as tree:
        more = {"MAINLINE_VENV": str(ROOT / ".venv")}
        timed(launcher(tree, "data", "pull"), tree, **more)
        repro = [str(python()), "-m", "dvc", "repro", "--quiet"]
        # DVC finds `python` on PATH, as it does below the launcher.
        more["PATH"] = os.pathsep.join((str(python().parent), os.environ["PATH"]))
        for _ in range(runs):
            stages = [timed(launcher(tree, stage), tree, **more) for stage in STAGES]
            forced = timed([*repro, "--force"], tree, **more)
            times.setdefault("stages, called directly", []).append(sum(stages))
            times.setdefault("stages, by dvc", []).append(forced)
            times.setdefault("dvc / direct", []).append(forced / sum(stages))
            times.setdefault("dvc, nothing to do", []).append(timed(repro, tree, **more))


def measure_loop(times: Times, runs: int) -> None:
    """The whole loop and its short form, after set-up."""
    timed(launcher(ROOT, "--help"), ROOT)
    with tempfile.TemporaryDirectory(prefix="mainline-page-") as folder:
        page = f"--out={folder}/page.html"
        for _ in range(runs):
            times.setdefault("loop", []).append(timed(launcher(ROOT, "loop", page), ROOT))
            fast = timed(launcher(ROOT, "loop", "--fast", page), ROOT)
            times.setdefault("loop --fast", []).append(fast)


def table(times: Times) -> str:
    """The medians as Markdown, with their range and limit."""
    lines = ["| what | median | range | limit |", "|---|---|---|---|"]
    for name, found in times.items():
        unit = "" if "/" in name else " s"
        limit = f"{LIMITS[name]:g}{unit}" if name in LIMITS else ""
        span = f"{min(found):.2f}-{max(found):.2f}"
        lines.append(f"| {name} | {statistics.median(found):.2f}{unit} | {span} | {limit} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is asked for and print the table."""
    parts: dict[str, Callable[[Times, int], None]] = {
        "set-up": measure_set_up, "help": measure_help, "dvc": measure_dvc, "loop": measure_loop,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default=",".join(parts))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if unknown := set(asked.only.split(",")) - parts.keys():
        parser.error(f"--only knows {', '.join(parts)}, not {', '.join(sorted(unknown))}")
    times: Times = {}
    for name in asked.only.split(","):
        parts[name](times, asked.runs)
    print(table(times))
    if asked.json:
        machine = {"system": platform.platform(), "python": platform.python_version(),
                   "processors": os.cpu_count(), "times": times}  # fmt: skip
        asked.json.write_text(json.dumps(machine, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
