"""Good canaries and bad ones of each kind, as real rollouts: who is promoted, who rolled back?

    python benchmarks/rollout/kinds.py --runs 20 --out kinds.jsonl
    python benchmarks/rollout/kinds.py --table kinds.jsonl

Real Envoy, guard and watcher before the services of the drills, whose faults are made on request,
and a client of its own that sends RATE requests a second and checks every answer. The plan is that
of params.yaml. A fault shows at once (also in answers to mirrored copies), or to users only. The
kinds take turns, so that a run that is ended early has as many of each; one that is started again
with the same file goes on. Takes about ten seconds for each rollout.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "house")]

from rollout.rig import Rig, policy, rig  # noqa: E402

from mainline.rollout import rollout  # noqa: E402
from mainline.settings import load  # noqa: E402
from mainline.verdict import Verdict  # noqa: E402

RATE, CONNECTIONS = 1000.0, 64
LONGEST = 120.0  # seconds for which a stage is waited for
BAD = {"500 always": "down", "500 half of the time": "half", "slow tail": "tail", "hang": "hang",
       "swapped classes": "swapped", "one broken slice": "slice"}  # fmt: skip
ONCE, USERS = "at once", "to users only"
KINDS = {("good", ""): "good"}
KINDS |= {(name, ONCE): mode for name, mode in BAD.items()}
KINDS |= {(name, USERS): f"live-{mode}" for name, mode in BAD.items()}


def main() -> None:
    """Run rollouts, or show what was run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("kinds.jsonl"))
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    if given.table:
        print(table(read(given.table)))
        return
    with tempfile.TemporaryDirectory() as folder, rig(Path(folder)) as live:
        for _ in range(given.runs):
            for (name, shown), mode in KINDS.items():
                done = [r for r in read(given.out) if (r["kind"], r["shown"]) == (name, shown)]
                if len(done) >= given.runs:
                    continue
                found = {"kind": name, "shown": shown, **one(live, mode)}
                with given.out.open("a") as stream:
                    stream.write(json.dumps(found) + "\n")
                print(json.dumps(found), file=sys.stderr)
    print(table(read(given.out)))


def one(live: Rig, mode: str) -> dict[str, Any]:
    """One rollout of version b beside a; what became of it, and what its client saw."""
    stages = [s.model_dump() for s in load(ROOT).rollout.stages]
    plan = policy(stages=stages, error_budget=0.02, latency_ms=250, hold_seconds=LONGEST)
    begun = live.start("b", mode, policy=plan)
    assert begun.verdict is Verdict.PASS, begun.to_dict()
    began = time.monotonic()
    with live.traffic(rate=RATE, connections=CONNECTIONS) as client:
        verdict = Verdict.PASS
        for stage in live.state().plan:
            verdict = live.stage(stage.name, LONGEST).verdict
            if verdict is not Verdict.PASS:
                break
        took, sent = time.monotonic() - began, client.totals.sent
        if live.state().running:
            rollout.abort(live.root, "No verdict in time")
        ended = live.state()
    found = {
        "status": ended.status if verdict is not Verdict.INCONCLUSIVE else "held",
        "stage": ended.stage, "reason": ended.reason, "seconds": round(took, 2),
        "requests": sent, "canary": client.totals.models.get("62" * 6, 0),
        "failed": sum(n for code, n in client.totals.codes.items() if code >= 500),
        "wrong": client.totals.wrong, "lost": client.totals.lost,
    }  # fmt: skip
    if ended.status == "promoted":
        rollout.rollback(live.root)
    rollout.tidy(live.root)
    return found


def read(path: Path) -> list[dict[str, Any]]:
    """The runs so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: one row a kind, medians and ranges over its runs."""
    head = ["canary", "fault shows", "runs", "promoted", "rolled back", "ended in", "requests",
            "seconds", "failed answers", "wrong answers", "lost"]  # fmt: skip
    rows = [head, ["---"] * len(head)]
    for name, shown in KINDS:
        found = [r for r in runs if (r["kind"], r["shown"]) == (name, shown)]
        if not found:
            continue
        stages = {s: sum(r["stage"] == s for r in found) for s in dict.fromkeys(
            r["stage"] for r in sorted(found, key=lambda r: r["requests"]))}  # fmt: skip
        statuses = [r["status"] for r in found]
        held = f" ({statuses.count('held')} after a hold)" if "held" in statuses else ""
        rows.append([
            name, shown, str(len(found)), str(statuses.count("promoted")),
            str(len(found) - statuses.count("promoted")) + held,
            ", ".join(f"{s} {n}" for s, n in stages.items()),
            *(_spread([r[key] for r in found])
              for key in ("requests", "seconds", "failed", "wrong", "lost")),
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _spread(values: list[float]) -> str:
    """Median, and the range where there is one."""
    low, high = min(values), max(values)
    middle = f"{statistics.median(values):,.0f}"
    return middle if low == high else f"{middle} ({low:,.0f}-{high:,.0f})"


if __name__ == "__main__":
    main()
