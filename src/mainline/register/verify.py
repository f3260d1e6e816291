"""`mainline verify VERSION`: is a version what its tag says, by the clone and the remote alone.

`require` is the part of it that is asked before a model is loaded: to serve, to build, to roll out.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainline import registry, settings
from mainline.errors import DataError, MainlineError
from mainline.files import digest_bytes, digest_file, digest_tree, short
from mainline.git import git, is_repository, require_history
from mainline.register import place, sbom, signature, statement, trust
from mainline.register.place import failed, passed, unsure
from mainline.register.trust import NotTrusted, Trust
from mainline.registry import Version
from mainline.verdict import Check, StepVerdict, Verdict

REFUSED = "Do not use it; `./mainline verify` says more"


def run(root: Path, name: str | None) -> StepVerdict:
    """Every check on the version called `name` (the newest by default), as one verdict.

    Raises UsageError for an unknown version, RemoteError in a shallow clone, SettingsError where
    main's settings or its key cannot be read.
    """
    require_history(root)
    version = registry.find(root, settings.load(root).model.name, name)
    trusted = trust.of(root)
    checks = [place.tag(root, version), place.remote(root, version), place.history(root, version)]
    with found_model(root, version) as found:
        models = found if isinstance(found, Path) else None
        md5 = _dvc_md5(models)
        checks.append(place.lock(root, version, md5))
        checks.append(failed("model", found.cause) if isinstance(found, DataError)
                      else _model(version, models))  # fmt: skip
        if models is not None and checks[-1].verdict is Verdict.PASS:
            checks.append(_origins(root, version, models))
        bill = _bill(root, version)
        checks.append(_sbom(root, version, bill, _kept_bill(root, version)))
        checks.append(_signature(root, version, trusted, models, bill))
    return StepVerdict("verify", tuple(checks), {"model": version.digest})


def require(
    root: Path, version: Version, models: Path | None = None, sbom: bytes | None = None, *,
    ask: bool = False,
) -> None:  # fmt: skip
    """Raise NotTrusted (10) unless `version` may be used; nothing of it is loaded.

    Its tag, its commit and main's policy on signatures are looked at; with the bundle in `models`
    also its digest, its files and its signature; with the bytes of an SBOM also those. The remote
    is only asked with `ask`; one that does not answer stops nobody, or a rollback would need it.
    """
    trusted = trust.of(root)
    checks = [place.tag(root, version), place.history(root, version)]
    if ask and (theirs := place.remote(root, version)).verdict is Verdict.FAIL:
        checks.append(theirs)
    bill = _bill(root, version)
    checks.append(_sbom(root, version, bill, sbom))
    if models is not None:
        checks += [_model(version, models), place.lock(root, version, _dvc_md5(models))]
    if models is not None or version.signature is None:
        checks.append(_signature(root, version, trusted, models, bill))
    bad = next((c for c in checks if c.verdict in (Verdict.FAIL, Verdict.ERROR)), None)
    if bad is not None:
        raise NotTrusted(f"{version.tag} is refused: {bad.reason}", REFUSED)


def require_bento(root: Path, bento: Path, record: Mapping[str, Any]) -> None:
    """Like `require` for the model in a built Bento, by the version that its `record` names.

    The Bento of a candidate names no registered version, and outside a repository there is no tag
    to ask: then it is its own record that it was held against, and nothing more.
    """
    if not is_repository(root):
        return
    known = registry.versions(root, str(record.get("name")))
    version = next((v for v in known if v.name == record.get("version")), None)
    if version is None:
        return
    bill = bento / "src" / sbom.FILE
    content = bill.read_bytes() if bill.is_file() else None
    require(root, version, bento / "src" / "models", content)


@dataclass(frozen=True)
class Seal:
    """Who vouches for a version: Signed-By as its tag says it, and one sentence for people."""

    by: str
    text: str

    @property
    def unsigned(self) -> bool:
        """Whether nobody does."""
        return self.by == signature.NONE


def seal(version: Version) -> Seal:
    """What the tag of `version` says of its signature; `verify` says whether it holds."""
    by = version.trailers.get("Signed-By", signature.NONE)
    if by == signature.NONE:
        return Seal(by, "UNSIGNED: nobody vouches for this version but who may push tags")
    kind, _, who = by.partition(" ")
    return Seal(by, f"by the {kind} {short(who) if kind == 'key' else who}")


@contextlib.contextmanager
def found_model(root: Path, version: Version) -> Iterator[Path | DataError | None]:
    """The folder of the version's bundle: models/ where it is the one, else that of its lock.

    None where neither this clone nor a store has it; the error where its release has another. It is
    not looked into here.
    """
    own = root / "models"
    if own.is_dir() and digest_tree(own) == version.digest:
        yield own
        return
    from mainline.compare import base as bases
    from mainline.compare.cache import dvc_md5, from_cache

    wanted = bases.locked_model(git(root, "show", f"{version.commit}:dvc.lock", check=False))
    with tempfile.TemporaryDirectory(prefix="mainline-verify-") as temporary:
        folder = Path(temporary) / "models"
        # As the lock names it, whatever the tag says: a difference is to be seen.
        if from_cache(root, wanted, folder, copy=True) and dvc_md5(folder) == wanted:
            yield folder
            return
    with _fetched(root, version) as fetched:
        yield fetched


@contextlib.contextmanager
def _fetched(root: Path, version: Version) -> Iterator[Path | DataError | None]:
    """The registered bundle from the store or the release, in a throw-away worktree."""
    import sys

    from mainline.compare import base as bases
    from mainline.git import worktree

    with worktree(root, version.commit) as tree:
        bases.lend_cache(root, tree)
        base = bases.Base("version", version.commit, version)
        try:
            fetched = bases.fetch_model(tree, Path(sys.executable), base)
        except DataError as error:
            yield error
        else:
            yield tree / "models" if fetched else None


def _dvc_md5(models: Path | None) -> str | None:
    from mainline.compare.cache import dvc_md5

    return dvc_md5(models) if models is not None else None


def _model(version: Version, models: Path | None) -> Check:
    """The bundle has the digest of the tag, and its files are those that model.json says."""
    if models is None:
        reason = "Its model is neither here, nor in the store, nor with its release"
        return Check("model", Verdict.ERROR, reason)
    digest = digest_tree(models)
    if digest != version.digest:
        return failed("model", f"The model is {short(digest)} and the tag says "
                               f"{short(version.digest)}")  # fmt: skip
    try:
        listed = json.loads((models / "model.json").read_text("utf-8"))["files"]
        wrong = [n for n, wanted in listed.items() if digest_file(models / n) != wanted]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return failed("model", "Its model.json is damaged")
    if wrong:
        return failed("model", f"{wrong[0]} is not the file that model.json says")
    return passed("model", f"The model is {short(digest)}, file for file")


def _origins(root: Path, version: Version, models: Path) -> Check:
    """The digests of data, split and policy in the tag are those of the model and the commit."""
    recorded = json.loads((models / "model.json").read_text("utf-8")).get("digests") or {}
    for key in ("data", "split"):
        if recorded.get(key) != version.trailers.get(f"{key.title()}-Digest"):
            return failed("origins", f"The tag says other {key} than the model was made of")
    if version.trailers.get("Policy-Digest") not in set(_policies(root, version)):
        return unsure("origins", "The limits that it was judged by are not those of a version here")
    return passed("origins", "Data, split and limits are those of the tag")


def _policies(root: Path, version: Version) -> Iterator[str]:
    """The digests of the policies that could have judged it: its own limits, those of each base."""
    from mainline import inputs
    from mainline.git import worktree

    with worktree(root, version.commit) as tree:
        own = settings.load(tree)
        yield inputs.policy_digest(tree, own.gate.model_dump(mode="json"), own.split.salt)
        for other in reversed(registry.versions(root, version.model)):
            text = git(root, "show", f"{other.commit}:params.yaml", check=False)
            with contextlib.suppress(MainlineError):
                gate = settings.parse(text).gate
                yield inputs.policy_digest(tree, gate.model_dump(mode="json"), own.split.salt)


def _lock(root: Path, version: Version) -> str:
    return git(root, "show", f"{version.commit}:{sbom.LOCK}", check=False)


def _kept_bill(root: Path, version: Version) -> bytes | None:
    """The SBOM that the registration left in its child commit; None where it left none."""
    name = f"reports/{sbom.FILE}"
    if not git(root, "diff-tree", "-r", "--name-only", version.commit, "--", name, check=False):
        return None
    kept = git(root, "show", f"{version.commit}:{name}", check=False)
    # Git's output comes without its last line end.
    return (kept + "\n").encode("utf-8") if kept else None


def _bill(root: Path, version: Version) -> bytes | None:
    """The SBOM of the version, which follows from its commit's lock, its name and its digest."""
    try:
        return sbom.of_lock(_lock(root, version), version.model, version.name, version.digest or "")
    except MainlineError:
        return None


def _sbom(root: Path, version: Version, bill: bytes | None, given: bytes | None = None) -> Check:
    """The SBOM that the tag names lists what the commit's serving lock locks; so does `given`."""
    wanted = version.trailers.get("SBOM-Digest")
    if bill is None:
        return failed("sbom", f"{sbom.LOCK} of its commit is missing or damaged")
    if given is not None and given != bill:
        wrong = sbom.differences(given, _lock(root, version), version.model, version.name,
                                 version.digest or "")  # fmt: skip
        return failed("sbom", f"The SBOM is not that of the lock: {wrong[0]}")
    if wanted is None:
        return unsure("sbom", "The tag names no SBOM")
    if digest_bytes(bill) != wanted:
        return failed("sbom", "The SBOM that the tag names is not that of the commit's lock")
    count = bill.count(b'"type":"library"')
    return passed("sbom", f"The SBOM lists the {count} locked packages")


def _signature(
    root: Path, version: Version, trusted: Trust, models: Path | None, bill: bytes | None
) -> Check:
    """Somebody whom main trusts signed exactly this, or main allows that nobody did."""
    block, said = version.signature, seal(version)
    if block is None and not said.unsigned:
        return failed("signature", f"The tag says it is signed {said.text} and holds no signature")
    if block is None:
        return _unsigned(trusted)
    if models is None or bill is None:
        return Check("signature", Verdict.ERROR, "Without its files no signature can be checked")
    try:
        by = signature.check(root, block, models, statement.of(version), bill, trusted)
    except NotTrusted as error:
        return failed("signature", error.cause.rstrip("."))
    except MainlineError as error:
        return Check("signature", Verdict.ERROR, str(error), value=error.status)
    if by != said.by:
        return failed("signature", f"It is signed by {by} and the tag says {said.by}")
    return passed("signature", f"Signed {said.text}, over its files, its statement and its SBOM")


def _unsigned(trusted: Trust) -> Check:
    if trusted.release.unsigned == "refuse":
        return failed("signature", "It is UNSIGNED, which release.unsigned of main refuses")
    if trusted.someone:
        return unsure(
            "signature", "It is UNSIGNED, although main names who signs: look who made it"
        )
    return passed("signature", "It is UNSIGNED, which main allows")
