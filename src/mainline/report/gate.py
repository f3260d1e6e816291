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
from mainline.report import acceptance, merged
from mainline.report.acceptance import Asked
from mainline.settings import Settings
from mainline.verdict import Check, StepVerdict, Verdict, read_verdict

REQUIRED = ("validate", "train", "evaluate", "compare")
# Counts where it was tried: what cannot be served, or answers otherwise, is not merged.
TRIED = "serve"
# Whose verdict hangs on the limits and the tests that stand here.
BY_POLICY = ("validate", "evaluate")
# Of what all verdicts must have one digest.
ONE = ("data", "split", "model")
# The value of a check on a step that did not come to run, because an earlier one failed.
NOT_RUN = "not run"


def run(root: Path) -> StepVerdict:
    """The worst of the required verdicts; writes `reports/verdicts/gate.json`.

    A verdict that is missing, unreadable, skipped without leave, or of other code, limits, tests,
    data or model than its neighbours is an ERROR, never a PASS; after a step that failed it is
    what that step did not let run, and FAIL like it. What is INCONCLUSIVE passes where a person
    has accepted it (`acceptance`), and nothing else does.
    """
    verdicts = read_all(root)
    done = judge(root, verdicts, settings.load(root), asked(root, verdicts))
    done.write(root)
    return done


def asked(root: Path, verdicts: dict[str, StepVerdict | str]) -> Asked:
    """The acceptance of this run's pull request; at a release, that of what was merged."""
    found = acceptance.ask()
    return found if found != Asked() else merged.holds(root, verdicts)


def accepted_by(done: StepVerdict) -> tuple[str, int] | None:
    """Who let through what was INCONCLUSIVE, and on which pull request; None where nobody did."""
    check = next((c for c in done.checks if c.name == "accepted"), None)
    if check is None or check.verdict is not Verdict.PASS or check.n is None:
        return None
    return str(check.value), check.n


def read_all(root: Path) -> dict[str, StepVerdict | str]:
    """The verdict of each required step, or the sentence that says why there is none.

    That of the tried service is among them where there is one of the model that is here.
    """
    verdicts: dict[str, StepVerdict | str] = {step: _read(root, step) for step in REQUIRED}
    if (root / "reports" / "verdicts" / f"{TRIED}.json").is_file():
        tried = _read(root, TRIED)
        if isinstance(tried, str) or not _of_another(root, tried):
            verdicts[TRIED] = tried
    return verdicts


def _read(root: Path, step: str) -> StepVerdict | str:
    try:
        return read_verdict(root / "reports" / "verdicts" / f"{step}.json")
    except NotMeasured as error:
        return str(error)


def _of_another(root: Path, tried: StepVerdict) -> bool:
    """Whether it was another model that was tried, before this one was trained."""
    models, of = root / "models", tried.inputs.get("model")
    return of is not None and models.is_dir() and digest_tree(models) != of


def judge(
    root: Path, verdicts: dict[str, StepVerdict | str], options: Settings | None, asked: Asked
) -> StepVerdict:
    """The decision over `verdicts` for what stands in `root`; None is settings that are broken."""
    # Without settings there is no digest of the code, and no verdict can be of it.
    code = inputs.code_digest(root) if options else ""
    limits = own_policy(root, options) if options else ""
    allowed = options.gate.allow_skipped if options else ()
    found = decide(verdicts, code, allowed, limits)
    ran = {s: v for s, v in verdicts.items() if s not in not_run(found)}
    more = [*_of_this_run(root, found), *(_same_policy(root, ran, options) if options else ())]
    return lift(StepVerdict("gate", (*found.checks, *more), found.inputs), asked)


def not_run(found: StepVerdict) -> list[str]:
    """The steps that did not come to run by the gate's verdict, whatever file lies there."""
    return [c.name for c in found.checks if c.name in (*REQUIRED, TRIED) and c.value == NOT_RUN]


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
    check = Check("accepted", Verdict.PASS, reason, value=accepted.who, n=accepted.pull,
                  unit="pull request", scope="gate")  # fmt: skip
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
        now = policy.check(root, commit, options)
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
    checks, read = _each(verdicts, code, allow_skipped, limits)
    for key in ONE:
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


def _each(
    verdicts: dict[str, StepVerdict | str], code: str, allow_skipped: tuple[str, ...], limits: str
) -> tuple[list[Check], list[StepVerdict]]:
    """A check for each step, and the verdicts that are of what stands here.

    Once a step failed, what is missing or of something else after it was left by an earlier run,
    and so is all that was made from it.
    """
    checks: list[Check] = []
    fresh: list[StepVerdict] = []
    failed, lost = "", False
    for step, found in verdicts.items():
        check = _one(step, found, code, allow_skipped, limits)
        if failed and (lost or _left(step, found, code, limits, fresh)):
            lost = True
            reason = f"{step}: not run, because {failed} failed"
            check = Check(step, Verdict.FAIL, reason, value=NOT_RUN, scope=step)
        elif isinstance(found, StepVerdict) and (
            found.skipped is not None or not _stale(step, found, code, limits)
        ):
            fresh.append(found)
        if check.verdict is Verdict.FAIL:
            failed = failed or step
        checks.append(check)
    return checks, fresh


def _left(
    step: str, found: StepVerdict | str, code: str, limits: str, fresh: list[StepVerdict]
) -> bool:
    """Whether this is no verdict of the run whose verdicts are `fresh`."""
    if isinstance(found, str):
        return True
    if found.step != step or found.skipped is not None:
        return False
    # It is no stage: what it could not do is an ERROR of its own, and of this run.
    if step == "compare" and found.verdict is Verdict.ERROR:
        return False
    seen = [(v.inputs.get(k), found.inputs.get(k)) for v in fresh for k in ONE]
    return _stale(step, found, code, limits) or any(a and b and a != b for a, b in seen)


def _stale(step: str, found: StepVerdict, code: str, limits: str) -> bool:
    """Whether `found` is of other code, settings, limits or tests than stand here."""
    other = step in BY_POLICY and limits and found.inputs.get("policy") not in (limits, None)
    return found.inputs.get("code") != code or bool(other)


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
