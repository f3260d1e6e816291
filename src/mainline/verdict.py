"""PASS / INCONCLUSIVE / FAIL / ERROR, and the numbers behind each (`verdict/1`)."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from mainline.errors import MainlineError, NotMeasured
from mainline.files import remove, write_json

SCHEMA = "verdict/1"


class Verdict(StrEnum):
    """Four verdicts, worst last. Missing data is never a PASS."""

    PASS = "PASS"  # noqa: S105 - no password
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"
    ERROR = "ERROR"

    @property
    def status(self) -> int:
        """The exit status that stands for this verdict."""
        return {"PASS": 0, "FAIL": 10, "INCONCLUSIVE": 11, "ERROR": 12}[self.value]


ORDER = list(Verdict)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of `verdicts`; of nothing, ERROR: what was not measured did not pass."""
    return max(verdicts, key=ORDER.index, default=Verdict.ERROR)


@dataclass(frozen=True)
class Check:
    """One measured thing: its value and interval, the limit, and one sentence of reason."""

    name: str
    verdict: Verdict
    reason: str
    value: float | str | None = None
    low: float | None = None
    high: float | None = None
    limit: float | str | None = None
    n: int | None = None
    unit: str | None = None
    scope: str = "all"


@dataclass(frozen=True)
class StepVerdict:
    """What one step found: its checks, and the digests of what it looked at.

    `inputs` holds `sha256:...` digests under the keys code, data, split, model, base, policy.
    """

    step: str
    checks: tuple[Check, ...]
    inputs: Mapping[str, str | None] = field(default_factory=dict)
    skipped: str | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst check; no checks is ERROR; a skipped step is INCONCLUSIVE, never PASS."""
        if self.skipped is not None:
            return Verdict.INCONCLUSIVE
        return worst(c.verdict for c in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """The `verdict/1` document; NaN and infinity become null, because JSON has neither."""
        keys = ("code", "data", "split", "model", "base", "policy")
        return {
            "schema": SCHEMA,
            "step": self.step,
            "verdict": self.verdict.value,
            "checks": [_finite(asdict(c)) for c in self.checks],
            "inputs": {k: self.inputs.get(k) for k in keys},
            "skipped": self.skipped,
        }

    def write(self, root: Path) -> Path:
        """Write `reports/verdicts/<step>.json` under `root` by atomic rename; returns its path."""
        path = root / "reports" / "verdicts" / f"{self.step}.json"
        write_json(path, self.to_dict())
        return path


def _finite(check: dict[str, Any]) -> dict[str, Any]:
    return {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in check.items()
    }


def of_document(doc: Mapping[str, Any]) -> StepVerdict:
    """What `to_dict` made a document of; KeyError, ValueError or TypeError for anything else."""
    checks = tuple(Check(**{**c, "verdict": Verdict(c["verdict"])}) for c in doc["checks"])
    return StepVerdict(doc["step"], checks, doc.get("inputs") or {}, doc.get("skipped"))


def read_verdict(path: Path) -> StepVerdict:
    """Read a verdict file.

    Raises NotMeasured when the file is absent, not JSON, or not `verdict/1`. The verdict is
    computed again from the checks: a file that claims better than its checks is not believed.
    """
    try:
        doc = json.loads(path.read_text("utf-8"))
        if doc["schema"] != SCHEMA:
            raise ValueError(f"schema {doc['schema']!r}")
        read = of_document(doc)
        if Verdict(doc["verdict"]) != read.verdict:
            raise ValueError(f"it claims {doc['verdict']} and its checks say {read.verdict.value}")
        return read
    except FileNotFoundError as error:
        raise NotMeasured(f"{path.name} was not written", "Run the step that writes it") from error
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise NotMeasured(
            f"{path.name} is not a {SCHEMA} file ({error})", "Run its step again"
        ) from error


@contextlib.contextmanager
def recorded(root: Path, step: str) -> Iterator[None]:
    """Write an ERROR verdict of `step` when the block raises a MainlineError, then let it through.

    A step that could not run leaves a file that says why, never the file of an earlier run.
    Raises DataError where that file cannot be removed.
    """
    remove(root / "reports" / "verdicts" / f"{step}.json")
    try:
        yield
    except MainlineError as error:
        with contextlib.suppress(MainlineError):
            check = Check(step, Verdict.ERROR, str(error), value=error.status, unit="exit status")
            StepVerdict(step, (check,)).write(root)
        raise
