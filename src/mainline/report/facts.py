"""Read what the steps left, whatever of it there is, and say of the rest that it is not there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mainline import inputs, settings
from mainline.errors import MainlineError
from mainline.git import head
from mainline.report import gate
from mainline.report.acceptance import Acceptance
from mainline.report.changes import Changes, collect
from mainline.settings import Settings
from mainline.verdict import StepVerdict

Document = dict[str, Any]


@dataclass(frozen=True)
class Facts:
    """All that a report is made of. What is None or a sentence is not there, and `absent` says why.

    `verdicts` has a verdict or the reason why there is none for each required step; `gate` is the
    decision over them; `code` is the digest of the code that stands here now.
    """

    model: str
    code: str
    commit: str | None
    verdicts: dict[str, StepVerdict | str]
    gate: StepVerdict
    acceptance: Acceptance | None = None
    comparison: Document | None = None
    metrics: Document | None = None
    cost: Document | None = None
    monitor: Document | None = None
    tryout: Document | None = None
    behaviour: Document | None = None
    changes: Changes | None = None
    plots: tuple[Path, ...] = ()
    absent: dict[str, str] = field(default_factory=dict)

    def of(self, step: str) -> StepVerdict | None:
        """The verdict of `step` where there is one."""
        found = self.verdicts.get(step)
        return found if isinstance(found, StepVerdict) else None


def read(root: Path) -> Facts:
    """Read everything under `root`; nothing that is missing, broken or hostile stops it."""
    absent: dict[str, str] = {}
    options = _settings(root, absent)
    verdicts = gate.read_all(root)
    asked = gate.asked(root, verdicts)
    judged = gate.judge(root, verdicts, options, asked)
    # What lies there of a step that did not come to run has the numbers of an earlier run.
    verdicts |= {c.name: c.reason for c in judged.checks if c.name in gate.not_run(judged)}
    comparison = _comparison(root, judged, absent)
    code = inputs.code_digest(root) if options else ""
    measured = _measured(root, verdicts, code, absent)
    return Facts(
        model=options.model.name if options else root.name,
        code=code,
        commit=head(root),
        verdicts=verdicts,
        gate=judged,
        acceptance=asked.acceptance,
        comparison=comparison,
        metrics=measured.get("metrics"),
        behaviour=measured.get("behaviour"),
        cost=_json(root, "build/cost.json", "train", "What training cost", absent),
        # Nobody expects a look at production on a pull request.
        monitor=_json(root, "reports/monitor.json", "monitor", "A look at production", {}),
        # Tried by a workflow; elsewhere nobody has to.
        tryout=_json(root, "reports/tryout.json", "serve --try", "The service", {}),
        changes=_changes(root, options, comparison, absent),
        plots=tuple(sorted((root / "reports" / "plots").glob("*.png"))) if measured else (),
        absent=absent,
    )


def _settings(root: Path, absent: dict[str, str]) -> Settings | None:
    try:
        return settings.load(root)
    except MainlineError as error:
        absent["The settings"] = str(error)
        return None


def _comparison(root: Path, judged: StepVerdict, absent: dict[str, str]) -> Document | None:
    """What `compare` left; nothing where that is of an earlier run."""
    name, what = "reports/comparison.json", "The comparison"
    if "compare" in gate.not_run(judged) and (root / name).exists():
        absent[what] = "compare did not run here, and what lies there is of an earlier run"
        return None
    return _json(root, name, "compare", what, absent)


def _measured(
    root: Path, verdicts: dict[str, StepVerdict | str], code: str, absent: dict[str, str]
) -> dict[str, Document | None]:
    """What `evaluate` left beside its verdict; nothing where that is not of this code and data."""
    said = {"metrics": "What was measured", "behaviour": "How the model behaves"}
    if not _of_now(verdicts["evaluate"], verdicts["validate"], code):
        why = "evaluate did not run to its end here, and what lies there is of an earlier run"
        there = {k: w for k, w in said.items() if (root / "reports" / f"{k}.json").exists()}
        absent.update(dict.fromkeys(there.values(), why))
        said = {k: w for k, w in said.items() if k not in there}
        for key, what in said.items():
            _json(root, f"reports/{key}.json", "evaluate", what, absent)
        return {}
    return {k: _json(root, f"reports/{k}.json", "evaluate", w, absent) for k, w in said.items()}


def _of_now(evaluated: StepVerdict | str, validated: StepVerdict | str, code: str) -> bool:
    """Whether `evaluate` ran to its end, on this code and on the data that were validated."""
    if isinstance(evaluated, str) or any(c.unit == "exit status" for c in evaluated.checks):
        return False
    data = validated.inputs.get("data") if isinstance(validated, StepVerdict) else None
    seen = evaluated.inputs
    return seen.get("code") == code and (not data or seen.get("data") in (data, None))


def _json(root: Path, name: str, step: str, what: str, absent: dict[str, str]) -> Document | None:
    try:
        found = json.loads((root / name).read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return found
    except FileNotFoundError:
        absent[what] = f"`./mainline {step}` wrote no {name}"
    except (OSError, ValueError, RecursionError) as error:
        absent[what] = f"{name} cannot be read ({error})"
    return None


def _changes(
    root: Path, options: Settings | None, comparison: Document | None, absent: dict[str, str]
) -> Changes | None:
    what = "What changed since the base"
    try:
        commit = _base_commit(root, options, comparison)
        if commit is None:
            absent[what] = "there is no base yet: no version is registered and main has no pipeline"
            return None
        return collect(root, commit)
    except (MainlineError, OSError) as error:
        absent[what] = str(error)
        return None


def _base_commit(root: Path, options: Settings | None, comparison: Document | None) -> str | None:
    if comparison is not None:
        base = comparison.get("base")
        commit = base.get("commit") if isinstance(base, dict) else None
        return commit if isinstance(commit, str) and commit.isalnum() else None
    if options is None:
        return None
    # Without a comparison its base is what it would have been.
    from mainline.compare import base as bases

    return bases.find(root, options).commit
