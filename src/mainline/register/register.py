"""`mainline register`: an approved commit becomes a version, an annotated tag and nothing else.

Each run looks whether the commit of main that is checked out lacks a version, and makes one only
then: a run that was dropped, doubled or started again is harmless. Nobody pushes to main: where
`dvc.lock` on main is in step the tag stands on that commit, otherwise on a child of it, off the
branch, that adds only `dvc.lock` and the report files.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from mainline import console, inputs, registry, settings
from mainline.errors import RemoteError, UsageError
from mainline.files import short
from mainline.git import dirty, git, head, on_main, require_history
from mainline.github import write_output
from mainline.register import child, message, tags
from mainline.register.candidate import Candidate, document
from mainline.register.tags import View, Wanted
from mainline.register.version import same_inputs
from mainline.registry import Version


def run(root: Path, *, push: bool = False) -> dict[str, Any]:
    """Register the commit that is checked out, when it is on main, has no version and its gate
    passes.

    Running it again changes nothing and says why. With `push` the tag is written to origin first.
    Raises NotApproved (10, 11, 12), UsageError for uncommitted changes or a commit off main,
    RaceError (24) when others were faster again and again, RemoteError (21) where origin refuses.
    """
    require_history(root)
    options = settings.load(root)
    commit = _commit_on_main(root, push)
    candidate = Candidate(root, options, commit)

    def decide(seen: View) -> Wanted | dict[str, Any]:
        found = standing(root, seen, commit)
        if found is None:
            same = candidate.same(seen.versions)
            if same is None:
                return candidate.wanted(seen)
            found = Standing(same, f"The model {short(candidate.digest)} is {same.name} already")
        candidate.leave_again(found.version)
        return document(found.version, created=False, text=f"{found.why}; no new version")

    done = tags.settle(root, options.model.name, decide, push=push)
    _output(done)
    return done


def plan(root: Path) -> dict[str, Any]:
    """Whether `run` would have anything to do, without a model or a verdict.

    Returns `needed`, the `version` that this commit's model is already ("" for none, and for one
    that was put away), whether it is a `revert` to it, and one sentence as `reason`, and writes the
    four to GITHUB_OUTPUT. Raises like `run`.
    """
    require_history(root)
    model = settings.load(root).model.name
    asked = "origin" in git(root, "remote").split()
    commit = _commit_on_main(root, asked)
    try:
        seen = tags.look(root, model, push=asked)
    except RemoteError as error:
        console.progress(f"{error.cause} The tags of this clone are looked at.")
        seen = tags.look(root, model, push=False)
    found = standing(root, seen, commit)
    reason = found.why if found else f"{commit[:12]} has no version, and may be another model"
    version = found.version.name if found else ""
    if away := registry.put_away(seen.moves).get(version):
        reason += (f", which is {away}: `./mainline promote {version} --to staging --push` lifts "
                   "that, and then it can be deployed")  # fmt: skip
    said: dict[str, Any] = {"version": "" if away else version,
                            "reason": message.one_line(reason)}  # fmt: skip
    flags = {"needed": found is None, "revert": found is not None and found.revert}
    write_output({**said, **{k: str(v).lower() for k, v in flags.items()}}, os.environ)
    word = "To be registered" if found is None else "Nothing to register"
    return {**said, **flags, "text": f"{word}: {said['reason']}."}


class Standing(NamedTuple):
    """A version that is there already, why no other is needed, and whether main went back to it."""

    version: Version
    why: str
    revert: bool = False


def standing(root: Path, seen: View, commit: str) -> Standing | None:
    """The version that makes another one for `commit` needless, and why; None where none does.

    Its own, one of a later commit of main, the newest one where both were trained on the same, or
    where the tree is a revert an earlier one that was healthy in production.
    """
    known = seen.versions
    if not known:
        return None
    listed = git(root, "tag", "--list", "--contains", commit, f"{known[-1].model}@*")
    later = [v for v in known if v.tag in listed.splitlines()]
    own = next((v for v in reversed(later) if child.only_keeps(root, commit, v.commit)), None)
    if own is not None:
        return Standing(own, f"{commit[:12]} is {own.name} already")
    if later:
        why = f"Main has moved on from {commit[:12]}: {later[-1].name} is of a later commit"
        return Standing(later[-1], why)
    newest = known[-1]
    if same_inputs(root, newest.commit, commit):
        return Standing(newest, f"Nothing that makes the model has changed since {newest.name}")
    for version in registry.healthy(seen.moves):
        if same_inputs(root, version.commit, commit):
            said = f"{commit[:12]} is a revert to what made {version.name}"
            return Standing(version, f"{said}, which was healthy in production", revert=True)
    return None


def _commit_on_main(root: Path, asked: bool) -> str:
    """HEAD, which must be committed as it stands and on main; `asked` lets origin be asked."""
    changed = [f for f in dirty(root, *inputs.TRAINING, *inputs.POLICY) if "__pycache__" not in f]
    if changed:
        raise UsageError(f"{changed[0]} is not committed", "Commit it and run the pipeline again")
    commit = head(root)
    assert commit is not None
    if not on_main(root) and not (asked and _merged_meanwhile(root)):
        raise UsageError(f"The commit {commit[:12]} is not on main", "Merge its pull request first")
    return commit


def _merged_meanwhile(root: Path) -> bool:
    """Whether HEAD is on origin's main by now: this clone may have looked long ago."""
    tags.fetch_main(root)
    return on_main(root)


def _output(done: dict[str, Any]) -> None:
    """Tell the workflow: `version` and `tag` are empty where nothing new was registered."""
    created = bool(done["created"])
    write_output({
        "created": str(created).lower(), "registered": done["version"],
        "version": done["version"] if created else "", "tag": done["tag"] if created else "",
    }, os.environ)  # fmt: skip
