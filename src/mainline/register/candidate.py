"""What is to be registered: a bundle, its verdicts, and the tag that they make."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from mainline import registry
from mainline.data.store import locked_data, pointer
from mainline.errors import MainlineError, NotMeasured, UsageError
from mainline.files import digest_bytes, digest_tree, short, write_bytes
from mainline.git import git
from mainline.register import child, message, sbom, signature, statement
from mainline.register.tags import View, Wanted
from mainline.register.version import following
from mainline.registry import Version
from mainline.report import gate, merged
from mainline.settings import Settings
from mainline.verdict import StepVerdict, Verdict


class NotApproved(MainlineError):
    """The gate did not pass, so nothing is registered; the status is that of its verdict."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(f"The gate says {verdict.value}: {reason}", "Nothing was registered")
        self.status = verdict.status


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
        done = document(version, created=True, text=f"{version.tag} registered: {where}")
        return Wanted(version.tag, target, text, done, tuple(stale))

    def leave_again(self, version: Version) -> None:
        """Write what a registration leaves under reports/, where `version` is the model in models/.

        So a run that was ended after its push can still publish.
        """
        if not (self.root / "models").is_dir() or version.digest != self.digest:
            return
        with contextlib.suppress(MainlineError):  # of a version that stands already
            bill = self._bill(version.name)
            if digest_bytes(bill) != version.trailers.get("SBOM-Digest"):
                return
            self._state(version)
            if not (self.root / "reports" / "model_card.md").is_file():
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


def document(version: Version, *, created: bool, text: str) -> dict[str, Any]:
    """What the command says of `version`; `reason` is why it was not made now."""
    return {"version": version.name, "tag": version.tag, "created": created,
            "commit": version.commit, "reason": "" if created else text, "text": text}  # fmt: skip
