"""Requests a second of the service, beside the bare limit and two tutorials, in one run.

    sudo apt-get install wrk          # macOS: brew install wrk
    ./mainline pipeline               # the model that all serve
    python benchmarks/serve/measure.py

All serve the model in `models/` with one worker; ours from a Bento that is built here, validated
and logged. Rounds are interleaved, so that what else the machine does meets all of them alike;
each figure is the median of its rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LUA = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
local file = io.open(os.getenv("BODY"), "rb")
wrk.body = file:read("*a")
file:close()
function done(summary, latency, requests)
  local wrong = summary.errors.status + summary.errors.read + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
           latency:percentile(50), latency:percentile(99), wrong))
end
"""
LIMITS = {"bare": 0.3, "fastapi": 5.0}
MANY = 100


@dataclass
class Server:
    """One of the things that are measured."""

    name: str
    title: str
    command: Callable[[int], tuple[list[str], dict[str, str], Path]]
    path: str
    body: Callable[[list[dict[str, Any]]], Any]
    many_path: str = ""
    ready: str = "/readyz"
    one: list[tuple[float, ...]] = field(default_factory=list)
    many: list[tuple[float, ...]] = field(default_factory=list)
    memory: float = 0.0
    start: float = 0.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def running(server: Server, folder: Path) -> Iterator[tuple[str, int]]:
    """The address and the process id of `server` until the block ends."""
    port = free_port()
    arguments, environment, home = server.command(port)
    began = time.perf_counter()
    with (folder / f"{server.name}.txt").open("wb") as output:
        process = subprocess.Popen(
            arguments, env={**os.environ, **environment}, cwd=home, stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        if not ready(url + server.ready, process):
            raise SystemExit((folder / f"{server.name}.txt").read_text()[-2000:])
        server.start = server.start or time.perf_counter() - began
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


def ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until `url` answers 200, at most a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except OSError:
            time.sleep(0.05)
    return False


def load(url: str, body: Any, folder: Path, seconds: float, connections: int) -> tuple[float, ...]:
    """wrk's requests a second, p50 and p99 in milliseconds; ends the run where one failed."""
    (folder / "body.json").write_text(json.dumps(body), "utf-8")
    (folder / "post.lua").write_text(LUA, "utf-8")
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "20s", "-s",
         str(folder / "post.lua"), url],
        env={**os.environ, "BODY": str(folder / "body.json")}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", done.stdout)
    if found is None or int(found[5]) or (not int(found[1]) and seconds > 2):
        raise SystemExit(f"{url}: {done.stdout[-500:]}")
    count, micros, p50, p99 = (int(found[i]) for i in range(1, 5))
    return count / (micros / 1e6), p50 / 1000, p99 / 1000


def cpu(pid: int) -> float:
    """Seconds of processor time that a process and all below it have used."""
    import psutil

    top = psutil.Process(pid)
    times = [p.cpu_times() for p in [top, *top.children(recursive=True)]]
    return sum(t.user + t.system for t in times)


def largest(pid: int) -> float:
    """MB of the largest process in a tree: the worker."""
    import psutil

    top = psutil.Process(pid)
    return max(p.memory_info().rss for p in [top, *top.children(recursive=True)]) / 1e6


def servers(root: Path, folder: Path) -> list[Server]:
    """What is measured, in the order of the table."""
    import peers

    from mainline.serve.build import build, command

    model = peers.bundle()
    bento = Path(build(root, "v0.0.0-bench", folder / "bentos")["path"])
    shared = {"MAINLINE_ROOT": str(root), "OMP_NUM_THREADS": "1",
              "PYTHONPATH": os.pathsep.join([str(HERE), str(root / "src")])}  # fmt: skip

    def uvicorn(name: str) -> Callable[[int], tuple[list[str], dict[str, str], Path]]:
        return lambda port: (
            [sys.executable, "-m", "uvicorn", "--factory", f"peers:{name}", "--port", str(port),
             "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--lifespan", "off"],
            shared, folder,
        )  # fmt: skip

    def ours(port: int) -> tuple[list[str], dict[str, str], Path]:
        return (*command(folder, bento, port=port, log=str(folder / "log")), folder)

    def tutorial(port: int) -> tuple[list[str], dict[str, str], Path]:
        home = folder / "tutorial"
        home.mkdir(exist_ok=True)
        shutil.copy(HERE / "tutorial.py", home)
        return (
            [sys.executable, "-m", "bentoml", "serve", "tutorial:Tutorial", "--port", str(port),
             "--host", "127.0.0.1", "--working-dir", str(home)],
            {**shared, "BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True",
             "BENTOML_ENABLE_FEATURES": "no_image"}, home,
        )  # fmt: skip

    return [
        Server("bare", "bare ASGI and treelite, ready-made numbers (the limit)", uvicorn("bare"),
               "/", lambda rows: peers.encoded(model, rows), ready="/"),
        Server("ours", "ours, from the Bento: checked, features computed, logged", ours,
               "/predict", lambda rows: rows[0] if len(rows) == 1 else {"rows": rows}),
        Server("fastapi", "FastAPI, pandas, scikit-learn", uvicorn("fastapi"), "/predict",
               lambda rows: rows[0] if len(rows) == 1 else rows, "/predict_many"),
        Server("bentoml", "BentoML as in its tutorial, scikit-learn", tutorial, "/predict",
               lambda rows: {"rows": rows}),
    ]  # fmt: skip


def run(every: list[Server], rows: list[dict[str, Any]], folder: Path, given: Any) -> None:
    """All rounds of all servers."""
    for turn in range(given.rounds):
        for server in every:
            with running(server, folder) as (url, pid):
                one = server.body(rows[:1])
                load(url + server.path, one, folder, 2, given.connections)  # warm
                before = cpu(pid)
                found = load(url + server.path, one, folder, given.seconds, given.connections)
                used = (cpu(pid) - before) * 1e6 / (found[0] * given.seconds)
                server.one.append((*found, used))
                many = server.body((rows * MANY)[:MANY])
                path = server.many_path or server.path
                server.many.append(load(url + path, many, folder, given.seconds, 4))
                server.memory = max(server.memory, largest(pid))
            print(f"round {turn + 1}, {server.name}: {server.one[-1][0]:,.0f} requests a second",
                  file=sys.stderr)  # fmt: skip


def middle(rounds: list[tuple[float, ...]]) -> tuple[float, ...]:
    """The median of each figure."""
    return tuple(statistics.median(figures) for figures in zip(*rounds, strict=True))


def table(every: list[Server]) -> str:
    """The figures and the ratios as Markdown."""
    lines = ["| what | requests/s | p50 | p99 | processor time a request | rows/s, 100 a request "
             "| worker's memory | ready |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for s in every:
        one, many = middle(s.one), middle(s.many)
        lines.append(
            f"| {s.title} | {one[0]:,.0f} | {one[1]:.1f} ms | {one[2]:.1f} ms | {one[3]:,.0f} µs "
            f"| {many[0] * MANY:,.0f} | {s.memory:.0f} MB | {s.start:.1f} s |"
        )
    by = {s.name: s for s in every}
    lines += ["", "| ours | measured | floor | goal |", "|---|---|---|---|"]

    def ratio(peer: str) -> str:
        pairs = [a[0] / b[0] for a, b in zip(by["ours"].one, by[peer].one, strict=True)]
        return f"{statistics.median(pairs):.2f} ({min(pairs):.2f}-{max(pairs):.2f})"

    _, p50, p99, _ = middle(by["ours"].one)
    lines += [
        f"| / bare limit | {ratio('bare')} | 0.3 | 0.5 |",
        f"| / FastAPI with scikit-learn | {ratio('fastapi')} | 5 | 10 |",
        f"| / BentoML's tutorial | {ratio('bentoml')} | | |",
        f"| p99 / p50 | {p99 / p50:.1f} | at most 5 | |",
        f"| worker's memory | {by['ours'].memory:.0f} MB | at most 350 MB | |",
        f"| start to ready | {by['ours'].start:.1f} s | at most 5 s | |",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print two tables."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--root", type=Path, default=HERE.parents[1], help="where models/ is")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--seconds", type=float, default=5)
    asked.add_argument("--connections", type=int, default=32)
    asked.add_argument("--only", default="", help="names, with commas: bare,ours,fastapi,bentoml")
    given = asked.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk was not found: sudo apt-get install wrk, or brew install wrk")
    root = given.root.resolve()
    os.environ["MAINLINE_ROOT"] = str(root)
    sys.path[:0] = [str(HERE), str(root / "src")]
    with tempfile.TemporaryDirectory(prefix="mainline-bench-") as name:
        folder = Path(name)
        every = servers(root, folder)
        import peers

        wanted = given.only.split(",") if given.only else [s.name for s in every]
        chosen = [s for s in every if s.name in wanted]
        run(chosen, peers.golden(peers.bundle()), folder, given)
        print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python "
              f"{platform.python_version()}; {given.connections} connections\n")  # fmt: skip
        if len(chosen) == len(every):
            print(table(every))
        for s in [] if len(chosen) == len(every) else chosen:
            print(s.name, *(f"{x:,.1f}" for x in (*middle(s.one), middle(s.many)[0] * MANY,
                                                  s.memory, s.start)))  # fmt: skip


if __name__ == "__main__":
    main()
