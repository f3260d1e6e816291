"""Before a version gets any traffic: is it ready, is it the right model, does it answer right?"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mainline.files import short
from mainline.rollout.predictions import same
from mainline.rollout.state import Arm
from mainline.rollout.target import Ask
from mainline.verdict import Check, Verdict

GOLDEN = 20  # rows that are asked at most
EVERY_SECONDS = 0.05


class Asked(Protocol):
    """Whoever can put questions to a service: a target, or a trial."""

    def ask(self, arm: Arm, questions: Sequence[Ask]) -> list[tuple[int, str]]:
        """Status and body of each answer; status 0 where none came."""

    def ended(self, arm: Arm) -> str | None:
        """Its last words where it ended, None while it runs."""


def checks_of(
    target: Asked,
    arm: Arm,
    answers: Sequence[Sequence[float]] | None,
    golden: Sequence[Mapping[str, Any]],
    seconds: float,
) -> list[Check]:
    """Wait at most `seconds` for /readyz, then ask for the model's digest and the `golden` rows.

    `answers` are the offline scores of the golden rows, in their order; without them no row is
    asked. A service that ended is not waited for.
    """
    began = time.monotonic()
    while (status := target.ask(arm, [Ask("/readyz")])[0][0]) != 200:
        said = target.ended(arm)
        if said is not None or time.monotonic() - began >= seconds:
            why = f"it ended with: {said}" if said else f"/readyz answers {status or 'nothing'}"
            return [Check("ready", Verdict.FAIL, f"{arm.version} did not get ready ({why})")]
        time.sleep(EVERY_SECONDS)
    took = time.monotonic() - began
    checks = [Check("ready", Verdict.PASS, f"Ready after {took:.1f} s", value=took, unit="s")]
    found = _json(target.ask(arm, [Ask("/version")])[0][1]).get("digest")
    if found != arm.digest:
        reason = f"The service answers for {short(str(found))}, not for {short(arm.digest)}"
        return [*checks, Check("digest", Verdict.FAIL, reason)]
    checks.append(Check("digest", Verdict.PASS, "The service has the model that was approved"))
    return checks + _golden(target, arm, answers, golden)


def _golden(
    target: Asked,
    arm: Arm,
    answers: Sequence[Sequence[float]] | None,
    rows: Sequence[Mapping[str, Any]],
) -> list[Check]:
    if not answers or not rows:
        return []
    asked = list(zip(rows, answers, strict=False))[:GOLDEN]
    said = target.ask(arm, [Ask("/predict", json.dumps({"rows": [row]})) for row, _ in asked])
    wrong = 0
    for (_, scores), (_, body) in zip(asked, said, strict=True):
        predictions = _json(body).get("predictions") or [{}]
        wrong += not same(predictions[0].get("scores") or [], scores)
    verdict = Verdict.FAIL if wrong else Verdict.PASS
    return [Check("golden", verdict, f"{wrong} of {len(asked)} golden rows are answered otherwise "
                  "than offline", value=wrong, limit=0, n=len(asked))]  # fmt: skip


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
