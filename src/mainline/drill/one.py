"""One drill, in a process of its own: `python -m mainline.drill.one NAME FILE` in a clone.

Python keeps what it has imported, and a drill changes the forker's modules.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mainline.compare import compare
from mainline.data import validate
from mainline.drill import catalogue
from mainline.drill.kinds import AS_IT_IS, STEPS, WORSE, Drill, Found, NotApplicable
from mainline.drill.model_faults import handicap
from mainline.errors import MainlineError, NotMeasured
from mainline.evaluate import evaluate
from mainline.files import write_text
from mainline.git import git
from mainline.report import gate
from mainline.train import train
from mainline.verdict import Verdict, read_verdict

RUN = {"validate": validate.run, "train": train.run, "evaluate": evaluate.run}


def main(name: str, out: Path, until: str = "") -> None:
    """Make the change of the drill `name` here, run the steps, write what was found to `out`.

    `name` may be that of a base, whose pipeline is run. `until` ends after that step.
    """
    root, began = Path.cwd(), time.monotonic()
    try:
        if name in (AS_IT_IS, WORSE):
            told = make_base(root, name)
        else:
            told = attempt(root, catalogue.find(name), until)
    except NotApplicable as reason:
        told = {"na": str(reason)}
    told["seconds"] = round(time.monotonic() - began, 1)
    write_text(out, json.dumps(told, indent=2))


def make_base(root: Path, name: str) -> dict[str, Any]:
    """Train what candidates are compared with."""
    did = handicap(root) if name == WORSE else ""
    commit(root, did or "The base")
    steps(root, tuple(RUN))
    return {"did": did, "checks": [asdict(f) for f in found(root, tuple(RUN))]}


def attempt(root: Path, drill: Drill, until: str = "") -> dict[str, Any]:
    """The change, the steps as `mainline check` runs them, the gate."""
    did = drill.change(root)
    if "train" in drill.steps:
        shutil.rmtree(root / "models", ignore_errors=True)
        shutil.rmtree(root / "reports", ignore_errors=True)
        git(root, "checkout", "--quiet", "--", "reports", check=False)
    commit(root, did)
    wanted = drill.steps[: drill.steps.index(until) + 1] if until else drill.steps
    steps(root, tuple(s for s in wanted if s in RUN))
    status = None
    if "compare" in wanted:
        # What stopped it is in its verdict file.
        with suppress(MainlineError):
            compare.run(root)
        if drill.tamper:
            drill.tamper(root)
        status = gate.run(root).verdict.status
    bad = found(root, (*STEPS, "gate"))
    if status is None:  # ended early: nothing but these checks can say
        status = Verdict(bad[-1].verdict).status if bad else 0
    return {"did": did, "status": status, "checks": [asdict(f) for f in bad]}


def commit(root: Path, subject: str) -> None:
    """Commit everything that is not ignored."""
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--no-verify", "--allow-empty", "-m", subject)


def steps(root: Path, names: tuple[str, ...]) -> None:
    """The stages in their order; as in DVC the first that fails is the last."""
    for name in names:
        try:
            verdict = RUN[name](root).verdict
        except MainlineError:
            return
        if verdict in (Verdict.FAIL, Verdict.ERROR):
            return


def found(root: Path, names: tuple[str, ...]) -> list[Found]:
    """The checks that did not pass, of all verdict files that are there."""
    out = []
    for name in names:
        try:
            checks = read_verdict(root / "reports" / "verdicts" / f"{name}.json").checks
        except NotMeasured:
            continue
        out += [Found(name, c.name, c.verdict.value, c.reason, c.scope)
                for c in checks if c.verdict is not Verdict.PASS]  # fmt: skip
    return out


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
