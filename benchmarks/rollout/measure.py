"""What moving traffic costs, and how fast it is moved back: real Envoy, guard and watcher.

    sudo apt-get install wrk          # macOS: brew install wrk
    python benchmarks/rollout/measure.py

In front of two services that answer at once (those of the drills), so that what is seen is Envoy's
and the guard's. Each part is a few rounds; a figure is their median, and the worst is beside it.
A limit holds for the worst round, for latency (which what else runs disturbs most) for the median.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "house")]

from rollout.rig import ROWS, Rig, policy, rig  # noqa: E402

from mainline.rollout import actions, envoy, host, rollout, state  # noqa: E402

# The rows in turns. RESULT is requests, p50, p99 (microseconds), then every answer that was not a
# 200 or did not come.
LUA = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
local bodies, at = {}, 0
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
function request()
  at = at % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[at])
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d\\n", summary.requests, latency:percentile(50),
           latency:percentile(99), e.connect + e.read + e.write + e.timeout + e.status))
end
"""
STAGES = [{"name": "canary-50", "weight": 50, "requests": 10**9},
          {"name": "promote", "weight": 100, "requests": 0}]  # fmt: skip
LEASE = actions.LEASE_SECONDS
RATE = 500.0  # requests a second while something is aborted or ended


@dataclass
class Load:
    """What wrk saw: requests, p50 and p99 in milliseconds, and how many were lost or not 200."""

    requests: int
    p50: float
    p99: float
    lost: int


@dataclass
class Figure:
    """One line of the table: values of all rounds, and the most that they may be."""

    name: str
    values: Sequence[float]
    unit: str
    limit: float | None = None
    note: str = ""
    worst: bool = True

    @property
    def missed(self) -> bool:
        """Whether the worst round, or for `worst` false the median, is beyond the limit."""
        held = max(self.values) if self.worst else statistics.median(self.values)
        return self.limit is not None and held > self.limit

    def line(self) -> str:
        """The line in Markdown."""
        middle, worst = statistics.median(self.values), max(self.values)
        limit = "" if self.limit is None else f"{self.limit:g} {self.unit}".strip()
        return (f"| {self.name} | {middle:.3g} {self.unit} | {worst:.3g} {self.unit} | {limit} "
                f"| {self.note} |")  # fmt: skip


@contextmanager
def load(url: str, folder: Path, connections: int, seconds: float = 600) -> Iterator[list[Load]]:
    """wrk in the background until the block ends; what it saw is in the list afterwards."""
    (folder / "post.lua").write_text(LUA, "utf-8")
    bodies = "\n".join(json.dumps({"rows": [row]}) for row in ROWS)
    (folder / "bodies.txt").write_text(bodies, "utf-8")
    found: list[Load] = []
    process = subprocess.Popen(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "5s", "-s",
         str(folder / "post.lua"), f"{url}/predict"],
        env={**os.environ, "BODIES": str(folder / "bodies.txt")}, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        time.sleep(0.3)  # wrk takes no signal before its threads are there
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    seen = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+)", said)
    if not seen:
        raise SystemExit(f"wrk ended without a result:\n{said[-500:]}")
    requests, p50, p99, lost = map(int, seen.groups())
    found.append(Load(requests, p50 / 1000, p99 / 1000, lost))


def at_half(live: Rig) -> None:
    """Bring the canary to half of the traffic, under a load that is there already."""
    began = live.start("b", policy=policy(stages=STAGES), supersede=True)
    rollout.stage(live.root, "canary-50", 0.3)
    if not live.until(lambda: live.state().stage == "canary-50"):
        raise SystemExit(f"No canary: {began.to_dict()}")


def access(live: Rig, arm: str) -> list[float]:
    """When each request of an arm came in (Unix seconds), from the access log."""
    time.sleep(0.5)  # Envoy writes it every 100 ms
    found = []
    for path in sorted(live.target.glob("access*.jsonl")):  # the guard rotates it at 64 MiB
        for line in path.read_bytes().splitlines():
            if b'"' + arm.encode() + b'"' in line and (entry := json.loads(line))["arm"] == arm:
                found.append(float(entry["t"]))
    return found


def changes(live: Rig, folder: Path, count: int) -> list[Figure]:
    """Change the weight `count` times under wrk: what was lost, and how long a change takes."""
    took: list[float] = []
    with load(live.url, folder, 32) as seen:
        at_half(live)
        for i in range(count):
            began = time.perf_counter()
            weight = 5 if i % 2 else 50
            _, shown = actions.change(
                live.target, "weight", lambda s, w=weight: replace(s, weight=w)
            )
            took.append((time.perf_counter() - began) * 1000)
            if not shown:
                raise SystemExit(f"Change {i} of the weight was not shown")
        rollout.abort(live.root)
    lost = f"{seen[0].requests:,} requests from 32 connections"
    return [
        Figure(f"requests lost in {count} changes of weight", [seen[0].lost], "", 0, lost),
        Figure("a change, from the command to the new weights, under this load", took, "ms"),
    ]


def shows(live: Rig, count: int) -> list[Figure]:
    """From the renamed route file to an answer that carries its generation; without other load."""
    at_half_idle(live)
    delays = []
    for i in range(count):
        seen: dict[str, float] = {}
        port, stop = host.ports(live.target)["public"], threading.Event()

        def poll(port: int = port, seen: dict[str, float] = seen, stop: Any = stop) -> None:
            while not stop.is_set():
                headers, _ = envoy.ask(port, "/.mainline/generation")
                seen.setdefault(headers["x-rollout-generation"], time.time())
                time.sleep(0.0005)

        poller = threading.Thread(target=poll, daemon=True)
        poller.start()
        weight = 5 if i % 2 else 50
        now, _ = actions.change(live.target, "weight", lambda s, w=weight: replace(s, weight=w))
        written = (live.target / "xds" / "rds.json").stat().st_mtime
        time.sleep(0.02)
        stop.set()
        poller.join()
        delays.append((seen[f"gen-{now.route}"] - written) * 1000)
    rollout.abort(live.root)
    return [Figure("of it Envoy's part: from the file to the first answer", delays, "ms")]


def at_half_idle(live: Rig) -> None:
    """The canary at half of no traffic, for what needs none."""
    with live.traffic(rate=200):
        at_half(live)


def latency(live: Rig, folder: Path, rounds: int, seconds: float) -> list[Figure]:
    """Added milliseconds through Envoy against the service asked directly, in turns."""
    stable = live.state().stable
    assert stable is not None
    direct, out = f"http://127.0.0.1:{stable.port}", []
    for connections in (1, 8):
        added, plain = [], []
        for _ in range(3 * rounds):
            p50 = []
            for url in (direct, live.url):
                with load(url, folder, connections) as seen:
                    time.sleep(seconds)
                if seen[0].lost:
                    raise SystemExit(f"{url}: {seen[0]}")
                p50.append(seen[0].p50)
            plain.append(p50[0])
            added.append(p50[1] - p50[0])
        note = f"directly {statistics.median(plain):.2f} ms"
        # Eight at a time keep the service busy, so that most of it is waiting for each other.
        limit = 0.5 if connections == 1 else None
        name = f"added latency at p50, {connections} at a time"
        out.append(Figure(name, added, "ms", limit, note, worst=False))
    return out


def aborts(live: Rig, rounds: int) -> list[Figure]:
    """From `abort` to the last request that the canary got."""
    last = []
    for _ in range(rounds):
        with live.traffic(rate=RATE) as client:
            at_half(live)
            time.sleep(0.5)
            began = time.time()
            ended = rollout.abort(live.root)
            time.sleep(0.7)
        if ended["status"] != "aborted":
            raise SystemExit(f"It was rolled back before: {ended['reason']}")
        last.append(max(access(live, "canary")) - began)
        if client.totals.lost:
            raise SystemExit(f"{client.totals.lost} requests were lost by an abort")
    return [Figure("from `abort` to the last request of the canary", last, "s", 1)]


def frozen(live: Rig) -> Callable[[], None]:
    """Freeze the guard; returns how to thaw it. The watcher ends it, and supervisor starts anew."""
    # 0 while supervisor waits to start it again: that would freeze this script itself.
    live.until(lambda: live.pid("guard") > 0)
    os.kill(live.pid("guard") or sys.exit("There is no guard"), signal.SIGSTOP)
    return lambda: None


def stopped(live: Rig) -> Callable[[], None]:
    """End the guard so that nobody starts it again; returns how to start it."""
    live.until(lambda: host.programs(live.target)["guard"]["state"] == "RUNNING")
    host.rpc(live.target).stopProcess("guard")
    return lambda: host.rpc(live.target).startProcess("guard") and None


def leases(live: Rig, rounds: int) -> list[Figure]:
    """From the end of a guard's lease to the last request that the canary got."""
    out = []
    for how in (frozen, stopped):
        after = []
        for _ in range(rounds):
            with live.traffic(rate=RATE):
                at_half(live)
                time.sleep(0.5)
                mend = how(live)
                sign = float(actions.read_progress(live.target)["at"])
                over = time.time() - time.monotonic() + sign + LEASE
                if not live.until(lambda: live.state().status == "rolled-back", 15):
                    raise SystemExit(f"A guard that was {how.__name__} was not noticed")
                if "sign of life" not in live.state().reason:
                    raise SystemExit(f"It was rolled back before: {live.state().reason}")
                time.sleep(0.7)
            mend()
            live.until(lambda: bool(rollout.status(live.root)["guarded"]))
            after.append(max(access(live, "canary")) - over)
        name = f"guard {how.__name__}: end of its lease to the canary's last request"
        out.append(Figure(name, after, "s", 1, f"lease {LEASE:g} s"))
    return out


def starts(rounds: int) -> list[Figure]:
    """From nothing to an Envoy that is live, with guard and watcher beside it."""
    took = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="mainline-bench-") as name:
            folder = Path(name, "serving")
            began = time.perf_counter()
            host.ensure(folder)
            took.append(time.perf_counter() - began)
            host.down(folder)
    return [Figure("start of Envoy, guard and watcher", took, "s")]


def memory(live: Rig) -> list[Figure]:
    """MB of each process after all of this."""
    import psutil

    pids = {n: live.pid(n) for n in ("envoy", "guard", "watcher")}
    pids["supervisor"] = int((live.target / "supervisord.pid").read_text("ascii"))
    return [Figure(f"memory of {n}", [psutil.Process(p).memory_info().rss / 1e6], "MB")
            for n, p in pids.items()]  # fmt: skip


def main() -> None:
    """Measure, print the table, and end with 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round of latency")
    asked = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: `sudo apt-get install wrk` (macOS: `brew install wrk`)")
    figures = starts(asked.rounds)
    with tempfile.TemporaryDirectory(prefix="mainline-bench-") as name, rig(Path(name)) as live:
        folder = Path(name)
        figures += latency(live, folder, asked.rounds, asked.seconds)
        figures += changes(live, folder, asked.changes)
        figures += shows(live, 20)
        figures += aborts(live, asked.rounds)
        figures += leases(live, asked.rounds)
        figures += memory(live)
        kept = state.history(live.target)
    print("| what | median | worst | limit | |\n|---|---|---|---|---|")
    print("\n".join(f.line() for f in figures))
    print(f"\n{len(kept):,} lines in the record")
    missed = [f.name for f in figures if f.missed]
    sys.exit(f"over the limit: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
