"""A picture of each plan, drawn from a real run: `python benchmarks/rollout/pictures.py`.

Real Envoy, guard and watcher before the services of the drills, and a client of its own that sends
RATE requests a second. Takes about three minutes; writes docs/rollout/*.svg (`--only` chooses,
`--out` names another folder).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "house")]

from rollout.rig import Rig, argv, digest, expected, policy, rig  # noqa: E402

from mainline.rollout import picture, rollout, state  # noqa: E402
from mainline.settings import load  # noqa: E402

RATE = 400.0  # requests a second
SHIPPED = [s.model_dump() for s in load(ROOT).rollout.stages]


def begin(live: Rig, plan: str, mode: str = "good", rate: float = RATE, **more: Any) -> None:
    """Start version v1.1.0 by `plan` beside v1.0.0."""
    chosen = policy(**{"plan": plan, "stages": SHIPPED, "warm_seconds": 8.0, **more})
    begun = rollout.start(live.root, "card-fraud@v1.1.0", live.root, digest("b"), policy=chosen,
                          command=argv("b", mode), expected=expected("a", "b"),
                          rate=rate)  # fmt: skip
    if begun.verdict.value != "PASS":
        sys.exit(f"{plan} did not start: {begun.to_dict()}")


def through(live: Rig) -> None:
    """All stages of the plan, as far as they pass."""
    for stage in live.state().plan:
        if live.stage(stage.name, 90).verdict.value != "PASS":
            return


def settled(live: Rig) -> None:
    """Wait for the end of a promotion's guarded time, and settle it."""
    time.sleep(8.5)
    rollout.settle(live.root)


def good(live: Rig) -> None:
    """A good canary through the stages that are shipped."""
    with live.traffic(rate=RATE):
        begin(live, "canary")
        through(live)
        settled(live)


def errors(live: Rig) -> None:
    """A canary that did well at first, and begins to fail one user's request in twenty."""
    with live.traffic(rate=RATE):
        begin(live, "canary")
        live.stage("shadow", 90)
        live.stage("canary-5", 90)
        job = live.waiting("canary-25")
        time.sleep(4)
        live.turn("card-fraud@v1.1.0", "live-few")
        job.join(60)


def bake(live: Rig) -> None:
    """The plan for few requests: copies, then all traffic with the old version warm."""
    with live.traffic(rate=20):
        begin(live, "bake", rate=20)
        through(live)
        settled(live)


def blue_green(live: Rig) -> None:
    """From 0 to 100 at once, and back once the new version begins to fail."""
    with live.traffic(rate=RATE):
        time.sleep(1)
        begin(live, "blue-green", warm_seconds=60.0)
        through(live)
        time.sleep(6)
        live.turn("card-fraud@v1.1.0", "few")
        live.until(lambda: live.state().status == "rolled-back")
        time.sleep(2)


def shadow(live: Rig) -> None:
    """Copies only: what would it have answered?"""
    with live.traffic(rate=50):
        begin(live, "shadow", rate=50, stages=[{**SHIPPED[0], "requests": 500}, SHIPPED[-1]])
        through(live)


def offline(live: Rig) -> None:
    """Nothing is served: golden rows are answered, and the new version is what counts."""
    rollout.down(live.root)
    begin(live, "offline")


RUNS: dict[str, Callable[[Rig], None]] = {
    "canary": good, "canary-rolled-back": errors, "bake": bake, "blue-green": blue_green,
    "shadow": shadow, "offline": offline,
}  # fmt: skip


def main() -> None:
    """Run what is asked for, and draw each run from its record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(RUNS))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "rollout")
    asked = parser.parse_args()
    for name in asked.only.split(","):
        with tempfile.TemporaryDirectory(prefix="mainline-pictures-") as folder:
            with rig(Path(folder)) as live:
                RUNS[name](live)
                record = state.history(live.target)
            print(picture.draw(record, asked.out / f"{name}.svg"))


if __name__ == "__main__":
    main()
