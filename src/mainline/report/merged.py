"""What a person accepted on a pull request, looked up again when its merge is released.

The label is asked of GitHub as it stood at the merge: put on by a person who may write, after the
first run for the head commit began, and not taken off before the merge. It counts for what was
looked at then and for nothing else: the checks that were INCONCLUSIVE in the `verdicts` of the run
whose gate passed with it, over the same code, data, split, policy and base. The workflow fetches
that artifact into `$MAINLINE_ACCEPTED/<run>`; that of a fork is its author's word,
and is not believed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mainline import registry, settings
from mainline.errors import MainlineError, NotMeasured
from mainline.git import git, head, on_main
from mainline.github import GitHub, write_output
from mainline.report import acceptance
from mainline.report.acceptance import LABEL, WORKFLOW, Acceptance, Asked, Proposed
from mainline.verdict import StepVerdict, Verdict, read_verdict

STEPS = ("validate", "train", "evaluate", "compare")
# What an acceptance was for; the model's own digest carries its commit, which a merge changes.
BOUND = ("code", "data", "split", "policy", "base")
MOST_COMMITS = 30  # of main, looked through for the merge that was accepted
MOST_BYTES = 20_000_000
FOLDER = "MAINLINE_ACCEPTED"  # names the folder, below the checkout; only a release has it


@dataclass(frozen=True)
class Merge:
    """The pull request that put `commit` on main, as it was then; `run` is that of its gate."""

    pull: Proposed
    commit: str
    when: str
    run: int | None = None


def pull_request(root: Path, environ: Mapping[str, str] = os.environ) -> int | None:
    """The number of the pull request whose merge is checked out; None where GitHub tells none."""
    commit = head(root)
    try:
        github = GitHub.of(environ)
        merge = of_commit(github, commit) if commit else None
    except (MainlineError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return merge.pull.number if merge else None


def ask(root: Path, environ: Mapping[str, str] = os.environ) -> tuple[Asked, Merge | None]:
    """The acceptance of the newest merge since the last version that has one, and that merge.

    Raises nothing: whatever goes wrong is "not accepted", with the reason.
    """
    refused = Asked()
    try:
        github = GitHub.of(environ)
        for commit in _commits(root):
            merge = of_commit(github, commit)
            events = github.get_all(f"issues/{merge.pull.number}/events") if merge else []
            if merge is None or not any(acceptance.of_label(e) for e in events):
                continue
            put_on = acceptance.last_put_on(e for e in events if str(e["created_at"]) <= merge.when)
            if put_on is not None:
                return _asked(github, merge, put_on)
            refused = Asked(why=f"{LABEL!r} was not on #{merge.pull.number} when it was merged")
        return refused, None
    except MainlineError as error:
        return Asked(why=f"the label could not be read ({error.cause.rstrip('.')})"), None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Asked(why=f"GitHub's answer was not understood ({type(error).__name__})"), None


def since(root: Path, model: str) -> str | None:
    """The commit of main that the newest version before this one was made of; None without one.

    HEAD's own does not count: it is registered here before its tag is pushed.
    """
    for version in reversed(registry.versions(root, model)):
        below = git(root, "merge-base", version.commit, "HEAD", check=False)
        if below and below != head(root):
            return below
    return None


def _commits(root: Path) -> list[str]:
    """The commits of main since the last version, newest first, merges by their own alone."""
    last = since(root, settings.load(root).model.name)
    words = ("rev-list", "--first-parent", f"--max-count={MOST_COMMITS}")
    return git(root, *words, f"{last}..HEAD" if last else "HEAD").splitlines()


def of_commit(github: GitHub, commit: str) -> Merge | None:
    """The pull request that was merged as this very commit; None where there is none."""
    for found in github.call("GET", f"commits/{commit}/pulls?per_page=100") or ():
        # Others that only hold the commit are told too, open ones among them.
        if found.get("merge_commit_sha") != commit or not found.get("merged_at"):
            continue
        whole = github.call("GET", f"pulls/{int(found['number'])}")
        if whole.get("merge_commit_sha") == commit and whole["base"]["ref"] == "main":
            return Merge(acceptance.proposed(whole), commit, str(whole["merged_at"]))
    return None


def _asked(
    github: GitHub, merge: Merge, put_on: Mapping[str, Any]
) -> tuple[Asked, Merge | None]:  # fmt: skip
    """The rule of the label as of the merge, and the run whose gate passed with it."""
    pull = merge.pull
    if pull.repository != github.repository:
        why = f"#{pull.number} came from a fork, whose verdicts are its author's word"
        return Asked(why=why), None
    who = str(put_on["actor"]["login"])
    permission = github.call("GET", f"collaborators/{quote(who, safe='')}/permission")
    runs = [r for r in github.get_all(f"actions/workflows/{WORKFLOW}/runs", branch=pull.branch)
            if str(r["created_at"]) <= merge.when]  # fmt: skip
    asked = acceptance.decide(
        pull, put_on, str(permission["permission"]), acceptance.began(runs, pull)
    )
    if asked.acceptance is None:
        return asked, None
    run = _passed(runs, pull, asked.acceptance)
    if run is None:
        return Asked(
            why=f"no run of {WORKFLOW} for {pull.commit[:12]} passed with the label on"
        ), None
    return asked, Merge(pull, merge.commit, merge.when, run)


def _passed(
    runs: Iterable[Mapping[str, Any]], pull: Proposed, given: Acceptance
) -> int | None:  # fmt: skip
    """The newest run for the head commit that was green after the label was put on."""
    green = [
        r for r in runs
        if r["head_sha"] == pull.commit and r.get("conclusion") == "success"
        and (r.get("head_repository") or {}).get("full_name") == pull.repository
        and str(r.get("run_started_at") or r["created_at"]) >= given.when
    ]  # fmt: skip
    newest = max(green, key=lambda r: int(r["id"]), default=None)
    return int(newest["id"]) if newest else None


def holds(
    root: Path, verdicts: Mapping[str, StepVerdict | str], environ: Mapping[str, str] = os.environ
) -> Asked:
    """The acceptance of the newest merge that has one, where it was for what `verdicts` say now.

    Nothing is asked outside a release, nor where nothing is INCONCLUSIVE.
    """
    undecided = [v for v in verdicts.values()
                 if isinstance(v, StepVerdict) and v.verdict is Verdict.INCONCLUSIVE]  # fmt: skip
    if not environ.get(FOLDER) or not undecided or not on_main(root):
        return Asked()
    asked, merge = ask(root, environ)
    if asked.acceptance is None or merge is None:
        return asked
    why = bound(verdicts, merge, root / environ[FOLDER])
    return Asked(why=why) if why else asked


def bound(verdicts: Mapping[str, StepVerdict | str], merge: Merge, folder: Path) -> str:
    """Why what is INCONCLUSIVE in `verdicts` is not what was accepted; "" where it is."""
    number = merge.pull.number
    try:
        seen = _fetched(folder / str(merge.run), merge.run)
    except NotMeasured as error:
        return f"what was accepted on #{number} could not be read: {error.cause.rstrip('.')}"
    more = [s for s, v in verdicts.items() if s not in STEPS and not isinstance(v, str)
            and v.verdict is Verdict.INCONCLUSIVE]  # fmt: skip
    if more:
        return f"{more[0]} was not inconclusive when #{number} was accepted"
    for step in STEPS:
        now, then = verdicts.get(step), seen[step]
        if not isinstance(now, StepVerdict):
            return f"{step} has no verdict to compare with what was accepted on #{number}"
        for key in BOUND:
            if now.inputs.get(key) != then.inputs.get(key):
                return f"since #{number} was accepted, {step} is over another {key}"
        accepted = _undecided(then)
        new = [name for name, _ in _undecided(now) if (name, _) not in accepted]
        if new:
            return f"{step}: {new[0]!r} was not inconclusive when #{number} was accepted"
    return ""


def _undecided(found: StepVerdict) -> list[tuple[str, str]]:
    """(name, scope) of each check that a person had to decide on; a skipped step is one."""
    if found.skipped is not None:
        return [("skipped", found.skipped)]
    return [(c.name, c.scope) for c in found.checks if c.verdict is Verdict.INCONCLUSIVE]


def _fetched(folder: Path, run: int | None) -> dict[str, StepVerdict]:
    """The verdicts of that run, as the workflow fetched them: named regular files, no large one.

    Raises NotMeasured where one is missing or is no verdict of its step, or came with the checkout.
    """
    if git(folder.parents[1], "ls-files", "--", str(folder), check=False):
        raise NotMeasured("it is committed here: it is fetched, not brought along")
    found = {}
    for step in STEPS:
        path = folder / f"{step}.json"
        if path.is_symlink() or not path.is_file():
            raise NotMeasured(f"the run {run} left no verdict of {step}")
        if path.stat().st_size > MOST_BYTES:
            raise NotMeasured(f"the verdict of {step} is too large")
        found[step] = read_verdict(path)
        if found[step].step != step:
            raise NotMeasured(f"the verdict of {step} is of another step")
    return found


def tell(root: Path, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """`mainline gate --ask`: which run's verdicts were accepted, for the step that fetches them."""
    asked, merge = ask(root, environ) if _inconclusive(root) else (Asked(), None)
    run = str(merge.run) if merge else ""
    write_output({"run": run}, environ)
    said = (
        str(asked.acceptance)
        if asked.acceptance
        else asked.why or "There is nothing that was accepted"
    )
    return {"run": run, "text": said}


def _inconclusive(root: Path) -> bool:
    """Whether a step left something to be decided on."""
    for step in STEPS:
        with contextlib.suppress(NotMeasured):
            found = read_verdict(root / "reports" / "verdicts" / f"{step}.json")
            if found.verdict is Verdict.INCONCLUSIVE:
                return True
    return False
