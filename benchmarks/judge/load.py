"""The guard under load: its share of a processor, and from a line's writing to its being counted.

    python benchmarks/judge/load.py --rate 2000 --seconds 20

Real Envoy, supervisor and guard, before stand-ins of the service; the requests themselves are not
sent. A writer appends what Envoy and the services would write of them, at `--rate` a second: one
line of the access log and one record of the prediction log for each, two in a shadow stage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "house"))

from rollout.rig import Rig, policy, rig  # noqa: E402

from mainline.rollout import rollout  # noqa: E402
from mainline.serve.records import ENCODER, Shape  # noqa: E402

EVERY = 0.05  # seconds between two writes: Envoy and the service flush in bursts too
STAGES = [
    {"name": "shadow", "weight": 0, "requests": 10**9},
    {"name": "canary-50", "weight": 50, "requests": 10**9},
    {"name": "promote", "weight": 100, "requests": 0},
]
FEATURES = {f"feature_{i}": 12.5 * i for i in range(12)} | {"channel": "online", "country": "DE"}


class Writer(threading.Thread):
    """Appends lines at `rate` requests a second; `written` are (time, requests so far)."""

    def __init__(self, live: Rig, rate: int) -> None:
        super().__init__(daemon=True)
        self.live, self.rate, self.done = live, rate, threading.Event()
        self.written: list[tuple[float, int]] = []
        now = live.state()
        assert now.stable is not None and now.canary is not None
        self.arms = {"stable": now.stable, "canary": now.canary, "shadow": now.canary}
        self.shapes = {a: Shape("fake", v.digest, 0.5) for a, v in self.arms.items()}
        self.shadow, self.route = now.weight == 0, f"gen-{now.route}"
        day = live.target / "predictions" / f"date={datetime.now(UTC):%Y-%m-%d}"
        day.mkdir(parents=True, exist_ok=True)
        self.places = {a: day / f"load-{a}-0.jsonl" for a in self.arms}

    def run(self) -> None:
        began, sent = time.monotonic(), 0
        while not self.done.wait(EVERY):
            due = int((time.monotonic() - began) * self.rate)
            self._write(range(sent, due))
            sent = due
            self.written.append((time.monotonic(), sent))

    def _write(self, numbers: range) -> None:
        access, logs = [], {a: [] for a in self.arms}
        for i in numbers:
            name = str(uuid.uuid4())
            arm = "canary" if i % 2 and not self.shadow else "stable"
            access.append(self._access(arm, name))
            for logged in ("stable", "shadow") if self.shadow else (arm,):
                logs[logged].append(self._record(logged, name, i))
        with (self.live.target / "access.jsonl").open("ab", buffering=0) as stream:
            stream.write("".join(access).encode())
        for arm, lines in logs.items():
            with self.places[arm].open("ab", buffering=0) as stream:
                stream.write("".join(lines).encode())

    def _access(self, arm: str, name: str) -> str:
        served = f"127.0.0.1:{self.arms[arm].port}"
        line = {"arm": arm, "assigned": "model-x", "attempts": 1, "code": 200, "flags": "-",
                "gen": self.route, "id": name, "model": self.arms[arm].digest[7:19], "ms": 4,
                "path": "/predict", "served": served, "t": f"{time.time():.3f}"}  # fmt: skip
        return json.dumps(line, separators=(",", ":")) + "\n"

    def _record(self, arm: str, name: str, i: int) -> str:
        shape = self.shapes[arm]
        request = (name, arm, self.route, time.time(), 3.2, [str(uuid.uuid4())], [{}],
                   [([(i % 997) / 997], i // 2 % 2)])  # fmt: skip
        record = shape.records(request)[0]
        return ENCODER.encode({**record, "features": FEATURES}) + "\n"


def processor(pid: int) -> float:
    """Seconds of processor time that `pid` has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def counted(live: Rig, route: str) -> tuple[int, int]:
    """Requests and records that guard.json says were counted on this route."""
    found: dict[str, Any] = json.loads((live.target / "guard.json").read_text())
    stable = found["counts"].get(route, {}).get("stable", {}).get("n", 0)
    canary = found["counts"].get(route, {}).get("canary", {}).get("n", 0)
    spreads = found["watch"]["spreads"]
    return stable + canary, sum(v["n"] for k, v in spreads.items() if k.startswith(route))


def measure(live: Rig, stage: str, rate: int, seconds: float) -> None:
    """Print one row: processor share and lag in `stage`."""
    rollout.stage(live.root, stage, 1.0)
    time.sleep(2.0)
    route, pid = f"gen-{live.state().route}", live.pid("guard")
    writer = Writer(live, rate)
    before = counted(live, route)
    idle = processor(pid)
    time.sleep(3.0)
    idle = (processor(pid) - idle) / 3.0
    spent, began = processor(pid), time.monotonic()
    writer.start()
    seen: list[tuple[float, int, int]] = []
    while time.monotonic() - began < seconds:
        lines, records = counted(live, route)
        seen.append((time.monotonic(), lines - before[0], records - before[1]))
        time.sleep(0.01)
    share = (processor(pid) - spent) / (time.monotonic() - began)
    writer.done.set()
    writer.join()
    assert live.state().running, live.state().reason
    lags = [lag(writer.written, [(s[0], s[k]) for s in seen]) for k in (1, 2)]
    total = writer.written[-1][1]
    print(f"| {stage} | {total / (writer.written[-1][0] - began):,.0f} | {100 * share:.1f}% | "
          f"{100 * idle:.1f}% | {_spoken(lags[0])} | {_spoken(lags[1])} |", flush=True)  # fmt: skip


def lag(written: list[tuple[float, int]], seen: list[tuple[float, int]]) -> np.ndarray:
    """Seconds from each write until its last line was counted; those not yet counted are left."""
    found, k = [], 0
    for at, n in written:
        while k < len(seen) and seen[k][1] < n:
            k += 1
        if k == len(seen):
            break
        found.append(seen[k][0] - at)
    return np.maximum(np.array(found or [np.nan]), 0.0)


def _spoken(lags: np.ndarray) -> str:
    return f"{np.median(lags):.2f} s / {np.quantile(lags, 0.99):.2f} s"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20.0)
    asked = parser.parse_args()
    print("| stage | requests/s | of a processor | idle | access log, median / 99% | "
          "prediction log |\n|---|---|---|---|---|---|")  # fmt: skip
    for stage in STAGES[:2]:
        with tempfile.TemporaryDirectory() as folder, rig(Path(folder)) as live:
            live.start("b", policy=policy(stages=[stage, STAGES[2]]))
            measure(live, str(stage["name"]), asked.rate, asked.seconds)


if __name__ == "__main__":
    main()
