"""Main does not pass its gates: one issue that says which merge to revert, and how.

Two pull requests that each passed may fail together. Nothing was registered then and production is
as it was; what has to go is named here. The issue is kept up to date, and closed when main passes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainline import inputs, registry, settings
from mainline.errors import MainlineError, NotMeasured
from mainline.git import git, resolve
from mainline.github import GitHub, close_issue, open_issue
from mainline.report import gate, merged
from mainline.report.escape import markdown
from mainline.verdict import ORDER, Check, StepVerdict, Verdict, read_verdict

MOST = 10  # merges and checks that are listed
# What makes a model or decides on it; the rest of a commit is not why the gates fail.
PATHS = (*inputs.TRAINING, *inputs.POLICY, "src/mainline")


@dataclass(frozen=True)
class Suspect:
    """A commit of main since the last version, and the pull request that it came from."""

    commit: str
    is_merge: bool
    subject: str
    pull: int | None = None


def tell(root: Path, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Open the issue, bring it up to date, or close it where the gates passed; returns {text}.

    Raises RemoteError where GitHub refuses to open it.
    """
    model = settings.load(root).model.name
    title = f"Main does not pass its gates: no new version of {model}"
    found = _verdict(root)
    if found.verdict is Verdict.PASS:
        try:
            return {"text": close_issue(title, environ).note}
        # An issue that stays open, or a repository without issues, keeps no version back.
        except MainlineError as error:
            return {"text": f"An issue may be left open: {error.cause}"}
    made = body(root, model, found, suspects(root, model, environ))
    done = open_issue(title, made, environ)
    return {"text": f"{done.note} {done.url or ''}".strip()}


def _verdict(root: Path) -> StepVerdict:
    """The gate's, or what it would say where an earlier step kept it from running."""
    try:
        return read_verdict(root / "reports" / "verdicts" / "gate.json")
    except NotMeasured:
        return gate.run(root)


def suspects(root: Path, model: str, environ: Mapping[str, str] = os.environ) -> list[Suspect]:
    """The commits of main since its last version that may be why, newest first."""
    last = merged.since(root, model)
    reach = f"{last}..HEAD" if last else "HEAD"
    words = ("rev-list", "--first-parent", f"--max-count={MOST}", reach)
    lines = git(root, *words, "--", *PATHS) or git(root, *words)
    return [_suspect(root, commit, environ) for commit in lines.splitlines()]


def _suspect(root: Path, commit: str, environ: Mapping[str, str]) -> Suspect:
    subject = git(root, "show", "-s", "--format=%s", commit)
    parents = git(root, "show", "-s", "--format=%P", commit).split()
    try:
        merge = merged.of_commit(GitHub.of(environ), commit)
    except (MainlineError, KeyError, TypeError, ValueError, AttributeError):
        merge = None
    return Suspect(commit, len(parents) > 1, subject, merge.pull.number if merge else None)


def body(root: Path, model: str, found: StepVerdict, merges: list[Suspect]) -> str:
    """The issue's text; whatever comes from data, branches or commits is escaped."""
    here = (resolve(root, "HEAD") or "")[:12]
    running = registry.at_stage(root, model, "prod")
    stays = f"Production stays at {running.name}." if running else "Nothing runs in production yet."
    parts = [
        f"`main` at {here} was trained and judged again, and the gates say "
        f"**{found.verdict.value}**. Nothing was registered. {stays}",
        "### What did not pass", "\n".join(_checks(root, found)),
        "### What to revert", *_revert(merges),
    ]  # fmt: skip
    if found.verdict is Verdict.INCONCLUSIVE:
        parts.append("A merge cannot be accepted afterwards: revert it, propose it again, and put "
                     "the label `accept-inconclusive` on before it is merged.")  # fmt: skip
    if address := _run_address():
        parts.append(f"[The run that found this]({address})")
    return "\n\n".join(parts) + "\n"


def _checks(root: Path, found: StepVerdict) -> list[str]:
    """A line for each check that did not pass, the worst first, those of the steps by name."""
    lines: list[tuple[int, str]] = []
    steps = gate.read_all(root)
    for check in found.checks:
        if check.verdict is Verdict.PASS:
            continue
        step = steps.get(check.name)
        own: list[Check] = []
        if isinstance(step, StepVerdict) and check.value != gate.NOT_RUN:
            own = [c for c in step.checks if c.verdict is not Verdict.PASS]
        for one in own or [check]:
            place = f"`{check.name}` " if own else ""
            said = f"- {place}**{markdown(one.name, 80)}**: {one.verdict.value}. "
            lines.append((-ORDER.index(one.verdict), said + markdown(one.reason, 400)))
    return [line for _, line in sorted(lines, key=lambda pair: pair[0])][:MOST]


def _revert(merges: list[Suspect]) -> list[str]:
    if not merges:
        return ["No commit since the last version changed the model: run the workflow again."]
    first = merges[0]
    option = "-m 1 " if first.is_merge else ""
    short = first.commit[:12]
    parts = [
        f"The newest merge that changed the model or what judges it: {_said(first)}",
        f"```sh\ngit fetch origin\ngit switch --create revert-{short} origin/main\n"
        f"git revert {option}{first.commit}\ngit push origin revert-{short}\n```\n\n"
        "and open a pull request from that branch.",
    ]
    if len(merges) > 1:
        rest = "\n".join(f"- {_said(m)}" for m in merges[1:])
        parts.append("Each may have passed by itself. If main still fails without it, the next "
                     f"ones since the last version are:\n\n{rest}")  # fmt: skip
    return parts


def _said(one: Suspect) -> str:
    number = f" (#{one.pull})" if one.pull else ""
    return f"{one.commit[:12]}{number} {markdown(one.subject, 120)}"


def _run_address() -> str:
    keys = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    parts = [os.environ.get(k, "") for k in keys]
    return f"{parts[0]}/{parts[1]}/actions/runs/{parts[2]}" if all(parts) else ""
