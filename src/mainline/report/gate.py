"""`mainline gate`: all verdict files, one exit status. Nothing else decides."""

from __future__ import annotations

from pathlib import Path

from mainline import inputs, settings
from mainline.errors import NotMeasured
from mainline.files import digest_tree
from mainline.git import git
from mainline.verdict import Check, StepVerdict, Verdict, read_verdict

REQUIRED = ("validate", "train", "evaluate", "compare")


def run(root: Path) -> StepVerdict:
    """The worst of the required verdicts; writes `reports/verdicts/gate.json`.

    A verdict that is missing, unreadable, skipped without leave, or of other code, data or model
    than its neighbours is an ERROR, never a PASS.
    """
    options = settings.load(root)
    verdicts: dict[str, StepVerdict | str] = {}
    for step in REQUIRED:
        try:
            verdicts[step] = read_verdict(root / "reports" / "verdicts" / f"{step}.json")
        except NotMeasured as error:
            verdicts[step] = str(error)
    found = decide(verdicts, inputs.code_digest(root), options.gate.allow_skipped)
    done = StepVerdict("gate", (*found.checks, *_of_this_run(root, found)), found.inputs)
    done.write(root)
    return done


def _of_this_run(root: Path, found: StepVerdict) -> list[Check]:
    """ERRORs where the verdicts came with the checkout, or are not of the model that is here."""
    checks = []
    kept = git(root, "ls-files", "--", "reports/verdicts", check=False)
    if kept:
        checks.append(Check(
            "verdicts", Verdict.ERROR,
            f"{kept.splitlines()[0]} is committed: a verdict is measured, not brought along",
        ))  # fmt: skip
    judged = found.inputs.get("model")
    if judged and (root / "models").is_dir() and digest_tree(root / "models") != judged:
        checks.append(Check(
            "model", Verdict.ERROR,
            "The model in models/ is not the one that was judged: run the pipeline again",
        ))  # fmt: skip
    return checks


def decide(
    verdicts: dict[str, StepVerdict | str], code: str, allow_skipped: tuple[str, ...] = ()
) -> StepVerdict:
    """One verdict from those of the steps (or why one is missing); `code` is what stands here."""
    checks = [_one(step, found, code, allow_skipped) for step, found in verdicts.items()]
    read = [v for v in verdicts.values() if isinstance(v, StepVerdict)]
    for key in ("data", "split", "model"):
        seen = {v.inputs.get(key) for v in read if v.inputs.get(key)}
        if len(seen) > 1:
            checks.append(Check(
                f"one {key}", Verdict.ERROR,
                f"The verdicts speak of {len(seen)} {key} digests: run the pipeline again",
                value=len(seen), limit=1,
            ))  # fmt: skip
    given = {k: next((v.inputs.get(k) for v in reversed(read) if v.inputs.get(k)), None)
             for k in ("code", "data", "split", "model", "base", "policy")}  # fmt: skip
    return StepVerdict("gate", tuple(checks), given)


def _one(step: str, found: StepVerdict | str, code: str, allow_skipped: tuple[str, ...]) -> Check:
    if isinstance(found, str):
        return Check(step, Verdict.ERROR, f"{step}: {found}", scope=step)
    if found.step != step:
        return Check(
            step, Verdict.ERROR, f"{step}: the file is of the step {found.step!r}", scope=step
        )
    if found.skipped is not None:
        verdict = Verdict.PASS if step in allow_skipped else Verdict.INCONCLUSIVE
        return Check(step, verdict, f"{step}: skipped, {found.skipped}", scope=step)
    stale = found.inputs.get("code") != code
    if stale and found.verdict is not Verdict.ERROR:
        return Check(
            step,
            Verdict.ERROR,
            f"{step}: this verdict is of other code, settings or data; run it again",
            scope=step,
        )
    if not found.checks:
        return Check(step, Verdict.ERROR, f"{step}: nothing was checked", scope=step)
    if found.verdict is Verdict.PASS:
        reason = f"{step}: {len(found.checks)} checks passed"
        return Check(step, Verdict.PASS, reason, n=len(found.checks), scope=step)
    bad = [c for c in found.checks if c.verdict is found.verdict]
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    reason = f"{step}: {bad[0].reason}{more}"
    return Check(step, found.verdict, reason, n=len(found.checks), scope=step)
