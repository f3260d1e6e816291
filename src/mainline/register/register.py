"""`mainline register`: an approved commit becomes a version, an annotated tag and nothing else.

Each run looks whether the commit of main that is checked out lacks a version, and makes one only
then: a run that was dropped, doubled or started again is harmless. Nobody pushes to main: where
`dvc.lock` on main is in step the tag stands on that commit, otherwise on a child of it, off the
branch, that adds only `dvc.lock` and the report files.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mainline import console, inputs, registry, settings
from mainline.data.store import locked_data, pointer
from mainline.errors import MainlineError, NotMeasured, RemoteError, UsageError
from mainline.files import digest_bytes, digest_tree, short, write_bytes
from mainline.git import dirty, git, head, on_main, require_history
from mainline.register import child, message, sbom, signature, statement, tags
from mainline.register.tags import View, Wanted
from mainline.register.version import following, same_inputs
from mainline.registry import Version
from mainline.report import gate, merged
from mainline.settings import Settings
from mainline.verdict import StepVerdict, Verdict


class NotApproved(MainlineError):
    """The gate did not pass, so nothing is registered; the status is that of its verdict."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(f"The gate says {verdict.value}: {reason}", "Nothing was registered")
        self.status = verdict.status


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
        found = standing(root, seen.versions, commit)
        if found is None:
            same = candidate.same(seen.versions)
            if same is None:
                return candidate.wanted(seen)
            found = same, f"The model {short(candidate.digest)} is {same.name} already"
        candidate.leave_again(found[0])
        return _document(found[0], created=False, text=f"{found[1]}; no new version")

    document = tags.settle(root, options.model.name, decide, push=push)
    _output(document)
    return document


def plan(root: Path) -> dict[str, Any]:
    """Whether `run` would have anything to do, without a model or a verdict.

    Returns `needed`, the `version` that this commit's model is already ("" for none) and one
    sentence as `reason`, and writes the three to GITHUB_OUTPUT. Raises like `run`.
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
    found = standing(root, seen.versions, commit)
    reason = found[1] if found else f"{commit[:12]} has no version, and may be another model"
    version = found[0].name if found else ""
    document = {"needed": found is None, "version": version, "reason": message.one_line(reason)}
    _write_output({**document, "needed": str(found is None).lower()})
    word = "To be registered" if found is None else "Nothing to register"
    return {**document, "text": f"{word}: {document['reason']}."}


def standing(root: Path, known: list[Version], commit: str) -> tuple[Version, str] | None:
    """The version that makes another one for `commit` needless, and why; None where none does.

    Its own, one of a later commit of main, or the newest one where both were trained on the same.
    """
    if not known:
        return None
    listed = git(root, "tag", "--list", "--contains", commit, f"{known[-1].model}@*")
    later = [v for v in known if v.tag in listed.splitlines()]
    own = next((v for v in reversed(later) if child.only_keeps(root, commit, v.commit)), None)
    if own is not None:
        return own, f"{commit[:12]} is {own.name} already"
    if later:
        after = later[-1]
        return after, f"Main has moved on from {commit[:12]}: {after.name} is of a later commit"
    newest = known[-1]
    if same_inputs(root, newest.commit, commit):
        return newest, f"Nothing that makes the model has changed since {newest.name}"
    return None


class Candidate:
    """What is to be registered: the bundle in models/ with its verdicts, for one commit of main."""

    def __init__(self, root: Path, options: Settings, commit: str) -> None:
        self.root, self.options, self.commit = root, options, commit

    @cached_property
    def digest(self) -> str:
        """The digest of the bundle in models/."""
        return digest_tree(self.root / "models")

    @cached_property
    def approved(self) -> StepVerdict:
        """The gate's verdict, a PASS of this very model; raises NotApproved for any other."""
        approved = gate.run(self.root)
        if approved.verdict is not Verdict.PASS:
            first = next(c for c in approved.checks if c.verdict is approved.verdict)
            raise NotApproved(approved.verdict, first.reason)
        if approved.inputs.get("model") != self.digest:
            reason = "the model in models/ is not the one that was judged"
            raise NotApproved(Verdict.ERROR, reason)
        _same_data(self.root, self.commit)
        return approved

    @cached_property
    def pull(self) -> int | None:
        """The pull request whose merge this is, where GitHub tells it."""
        return merged.pull_request(self.root)

    def same(self, known: list[Version]) -> Version | None:
        """The newest version of `known` that is this approved model, byte for byte."""
        assert self.approved
        return next((v for v in reversed(known) if v.digest == self.digest), None)

    def wanted(self, seen: View) -> Wanted:
        """The tag of the next version; leaves its card, SBOM and statement under reports/."""
        model = self.options.model.name
        name = following(self.root, seen.versions[-1] if seen.versions else None, self.commit)
        number = registry.VERSION.match(name)
        assert number is not None
        bill = self._bill(name)
        self._card(name)
        target = child.with_lock(self.root, self.commit, f"Keep the lock and the report of {name}")
        said = message.trailers(self.approved, self.digest, digest_bytes(bill), pull=self.pull)
        version = Version(model, (int(number[1]), int(number[2]), int(number[3])), target, said)
        stated = self._state(version)
        mine = next((v for v in registry.versions_in(model, seen.only_here)
                     if v.signature and statement.of(v) == stated), None)  # fmt: skip
        if mine is not None:  # registered here before, and signed: that very tag is pushed
            signed = signature.Signed(mine.trailers["Signed-By"], (mine.signature or b"").decode())
        else:
            signed = signature.sign(self.root, self.options, self.root / "models", stated, bill,
                                    os.environ)  # fmt: skip
        said["Signed-By"] = signed.by
        text = message.write("Registered by the gate", message.compared(self.root), said,
                             signed.block)  # fmt: skip
        if digest_tree(self.root / "models") != self.digest:
            raise NotApproved(Verdict.ERROR, "models/ was changed while it was registered")
        # Left by a run that ended before it pushed: the same model under what may be no number.
        stale = [v.tag for v in registry.versions_in(model, seen.only_here)
                 if v.digest == self.digest]  # fmt: skip
        where = f"model {short(self.digest)} on {target[:12]}, {_seal(signed)}"
        done = _document(version, created=True, text=f"{version.tag} registered: {where}")
        return Wanted(version.tag, target, text, done, tuple(stale))

    def leave_again(self, version: Version) -> None:
        """Write what a registration leaves under reports/, where `version` is the model in models/.

        So a run that was ended after its push can still publish.
        """
        if not (self.root / "models").is_dir() or version.digest != self.digest:
            return
        self._bill(version.name)
        self._state(version)
        if (self.root / "reports" / "model_card.md").is_file():
            return
        with contextlib.suppress(MainlineError):
            self._card(version.name)

    def _card(self, name: str) -> None:
        from mainline.register import card  # reads the rows, for which most runs have no need

        card.write(self.root, name, self.commit, self.approved)

    def _bill(self, name: str) -> bytes:
        bill = sbom.document(self.root, self.options.model.name, name, self.digest)
        write_bytes(self.root / "reports" / sbom.FILE, bill)
        return bill

    def _state(self, version: Version) -> dict[str, Any]:
        # As the tag will say it: its values are one line each.
        said = {k: message.one_line(v) for k, v in version.trailers.items()}
        stated = statement.of(replace(version, trailers=said))
        write_bytes(self.root / "reports" / statement.FILE, statement.content(stated))
        return stated


def _seal(signed: signature.Signed) -> str:
    return "UNSIGNED" if signed.by == signature.NONE else f"signed by the {signed.by}"


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
    git(root, "fetch", "--quiet", "--no-tags", "origin",
        "+refs/heads/main:refs/remotes/origin/main", check=False)  # fmt: skip
    return on_main(root)


def _same_data(root: Path, commit: str) -> None:
    """Raise unless the model was trained on the data that `data.dvc` of `commit` points to."""
    asked = pointer(git(root, "show", f"{commit}:data.dvc", check=False))
    lock = root / "dvc.lock"
    if not lock.exists():
        raise NotMeasured("There is no dvc.lock", "Run `./mainline pipeline` first")
    used = locked_data(lock.read_text("utf-8"))
    if asked is not None and used is not None and asked != used:
        raise UsageError(
            "The model was trained on other data than data.dvc of this commit points to",
            "Run `./mainline data pull` and the pipeline again, or commit the new data.dvc",
        )


def _document(version: Version, *, created: bool, text: str) -> dict[str, Any]:
    return {"version": version.name, "tag": version.tag, "created": created,
            "commit": version.commit, "reason": "" if created else text, "text": text}  # fmt: skip


def _output(document: dict[str, Any]) -> None:
    """Tell the workflow: `version` and `tag` are empty where nothing new was registered."""
    created = bool(document["created"])
    _write_output({
        "created": str(created).lower(), "registered": document["version"],
        "version": document["version"] if created else "",
        "tag": document["tag"] if created else "",
    })  # fmt: skip


def _write_output(values: dict[str, Any]) -> None:
    path = os.environ.get("GITHUB_OUTPUT")
    if path:
        with Path(path).open("a", encoding="utf-8") as out:
            out.writelines(f"{key}={message.one_line(str(v))}\n" for key, v in values.items())
