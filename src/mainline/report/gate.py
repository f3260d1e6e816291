"""`mainline gate`: all verdict files, one exit status. Nothing else decides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from mainline import inputs, settings
from mainline.compare import policy
from mainline.errors import MainlineError, NotMeasured
from mainline.files import digest_tree
from mainline.git import git, on_main
from mainline.report import acceptance
from mainline.report.acceptance import Asked
from mainline.settings import Settings
from mainline.verdict import Check, StepVerdict, Verdict, read_verdict

REQUIRED = ("validate", "train", "evaluate", "compare")
# Whose verdict hangs on the limits and the tests that stand here.
BY_POLICY = ("validate", "evaluate")


def run(root: Path) -> StepVerdict:
    """The worst of the required verdicts; writes `reports/verdicts/gate.json`.

    A verdict that is missing, unreadable, skipped without leave, or of other code, limits, tests,
    data or model than its neighbours is an ERROR, never a PASS. What is INCONCLUSIVE passes where
    a person has accepted it (`acceptance`), and nothing else does.
    """
    done = judge(root, read_all(root), settings.load(root), acceptance.ask())
    done.write(root)
    return done


def read_all(root: Path) -> dict[str, StepVerdict | str]:
    """The verdict of each required step, or the sentence that says why there is none."""
    verdicts: dict[str, StepVerdict | str] = {}
    for step in REQUIRED:
        try:
            verdicts[step] = read_verdict(root / "reports" / "verdicts" / f"{step}.json")
        except NotMeasured as error:
            verdicts[step] = str(error)
    return verdicts


def judge(
    root: Path, verdicts: dict[str, StepVerdict | str], options: Settings | None, asked: Asked
) -> StepVerdict:
    """The decision over `verdicts` for what stands in `root`; None is settings that are broken."""
    # Without settings there is no digest of the code, and no verdict can be of it.
    code = inputs.code_digest(root) if options else ""
    limits = own_policy(root, options) if options else ""
    allowed = options.gate.allow_skipped if options else ()
    found = decide(verdicts, code, allowed, limits)
    more = [*_of_this_run(root, found), *(_same_policy(root, verdicts, options) if options else ())]
    return lift(StepVerdict("gate", (*found.checks, *more), found.inputs), asked)


def own_policy(root: Path, options: Settings) -> str:
    """The digest of the limits and tests that stand in `root`, as `validate` writes it."""
    return inputs.policy_digest(root, options.gate.model_dump(mode="json"), options.split.salt)


def lift(found: StepVerdict, asked: Asked) -> StepVerdict:
    """`found` with what is INCONCLUSIVE let through, where a person accepted it and no more is bad.

    FAIL and ERROR cannot be lifted: then nothing is, and the label counts for nothing.
    """
    if found.verdict is not Verdict.INCONCLUSIVE:
        return found
    accepted = asked.acceptance
    if accepted is None:
        if not asked.why:
            return found
        reason = f"Not accepted: {asked.why}"
        refused = Check("accepted", Verdict.INCONCLUSIVE, reason, scope="gate")
        return replace(found, checks=(*found.checks, refused))
    lifted = tuple(
        c if c.verdict is Verdict.PASS
        else replace(c, verdict=Verdict.PASS, reason=f"{c.reason}; inconclusive, and accepted")
        for c in found.checks
    )  # fmt: skip
    reason = f"Accepted: {accepted}"
    check = Check("accepted", Verdict.PASS, reason, value=accepted.who, scope="gate")
    return replace(found, checks=(*lifted, check))


def _same_policy(
    root: Path, verdicts: dict[str, StepVerdict | str], options: Settings
) -> list[Check]:
    """An ERROR where limits or tests are not as the comparison said.

    They were changed after it looked at them, or its verdict came from elsewhere (an artifact).
    """
    compared = verdicts.get("compare")
    commit = _base_commit(root)
    # On a branch the policy is that of main, so Git alone tells it.
    if not isinstance(compared, StepVerdict) or (commit is None and on_main(root)):
        return []
    seen = [c for c in compared.checks if c.name == "policy"]
    try:
        now = policy.check(root, commit, policy.base_settings(root, commit), options)
    except MainlineError as error:
        return [Check("policy", Verdict.ERROR, f"The policy could not be read: {error}")]
    if not seen or (seen[0].verdict, seen[0].value) == (now.verdict, now.value):
        return []
    return [Check(
        "policy", Verdict.ERROR,
        "Limits, tests or workflows were changed after the comparison: run `./mainline compare`",
    )]  # fmt: skip


def _base_commit(root: Path) -> str | None:
    """The base's commit by the comparison that lies here (the job `gate` has none)."""
    try:
        found = json.loads((root / "reports" / "comparison.json").read_text("utf-8"))
        commit = found["base"]["commit"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return commit if isinstance(commit, str) and commit.isalnum() else None


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
    verdicts: dict[str, StepVerdict | str], code: str, allow_skipped: tuple[str, ...] = (),
    limits: str = "",
) -> StepVerdict:  # fmt: skip
    """One verdict from those of the steps (or why one is missing).

    `code` and `limits` are the digests of what stands here; empty `limits` are not looked at.
    """
    checks = [_one(step, found, code, allow_skipped, limits) for step, found in verdicts.items()]
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


def _one(
    step: str, found: StepVerdict | str, code: str, allow_skipped: tuple[str, ...], limits: str
) -> Check:
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
    judged_by = found.inputs.get("policy")
    if step in BY_POLICY and limits and judged_by not in (limits, None):
        return Check(
            step,
            Verdict.ERROR,
            f"{step}: this verdict is of other limits or tests; run `./mainline pipeline`",
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
