"""`mainline check`: all gates here, as CI runs them, and a table of what each found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mainline import console, pipeline
from mainline.compare import compare
from mainline.errors import MainlineError
from mainline.report import gate, report
from mainline.verdict import ORDER, StepVerdict, Verdict

HEAD = ("step", "verdict", "passed", "why")
INCONCLUSIVE = "A person decides: on the pull request that is the label `accept-inconclusive`."


def run(root: Path, base: str = "auto") -> dict[str, Any]:
    """Pipeline, comparison, report, gate; a step that fails does not stop the next from telling.

    Returns {text, verdict, status, steps, report, page}; `status` is the gate's, which is the
    worst. Where the pipeline could not even begin the report is written and its error raised.
    """
    try:
        pipeline.reproduce(root)
    except MainlineError:
        report.run(root)
        raise
    try:
        compare.run(root, base)
    except MainlineError as error:
        console.progress(f"compare: {error}")
    written = report.run(root)
    done = gate.run(root)
    steps = rows(gate.read_all(root), done)
    lines = [*table(steps), *([INCONCLUSIVE] if done.verdict is Verdict.INCONCLUSIVE else [])]
    return {
        "text": "\n".join([*lines, f"{written['report']}, {written['page']}"]),
        "verdict": done.verdict.value, "status": done.verdict.status, "steps": steps,
        "report": written["report"], "page": written["page"],
    }  # fmt: skip


def rows(verdicts: dict[str, StepVerdict | str], done: StepVerdict) -> list[dict[str, Any]]:
    """A row for each step and one for the gate: step, verdict, passed, checks, why.

    A step's verdict is the gate's of it, so that what is missing or stale is no PASS.
    """
    made = []
    for step, found in verdicts.items():
        of_gate = next(c for c in done.checks if c.name == step)
        checks: Sequence[Any] = ()
        if isinstance(found, StepVerdict) and of_gate.value != gate.NOT_RUN:
            checks = found.checks
        made.append(_row(step, of_gate.verdict, checks, of_gate.reason.removeprefix(f"{step}: ")))
    own = [c for c in done.checks if c.name not in verdicts]
    worst = max(own, key=lambda c: ORDER.index(c.verdict), default=None)
    made.append(_row("gate", done.verdict, done.checks, worst.reason if worst else ""))
    return made


def _row(step: str, verdict: Verdict, checks: Sequence[Any], why: str) -> dict[str, Any]:
    passed = sum(c.verdict is Verdict.PASS for c in checks)
    plain = verdict is Verdict.PASS and passed == len(checks) and step != "gate"
    return {"step": step, "verdict": verdict.value, "passed": passed, "checks": len(checks),
            "why": "" if plain else why}  # fmt: skip


def table(steps: list[dict[str, Any]]) -> list[str]:
    """The rows as lines of text, in columns."""
    cells = [HEAD, *((s["step"], s["verdict"], f"{s['passed']} of {s['checks']}", s["why"])
                     for s in steps)]  # fmt: skip
    wide = [max(len(row[n]) for row in cells) for n in range(3)]
    return [
        "  ".join([*(row[n].ljust(wide[n]) for n in range(3)), row[3]]).rstrip() for row in cells
    ]
