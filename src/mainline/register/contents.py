"""What a version holds: its bundle, the origins that the bundle records, its SBOM.

Found, looked at byte by byte, and not loaded.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mainline import inputs, registry, settings
from mainline.data.store import locked_model
from mainline.errors import DataError, MainlineError
from mainline.files import digest_bytes, digest_file, digest_tree, short
from mainline.git import git, worktree
from mainline.register import sbom
from mainline.register.place import failed, passed, unsure
from mainline.registry import Version
from mainline.verdict import Check, Verdict


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
    from mainline.compare.cache import dvc_md5, from_cache

    wanted = locked_model(git(root, "show", f"{version.commit}:dvc.lock", check=False))
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
    from mainline.compare import base as bases

    with worktree(root, version.commit) as tree:
        bases.lend_cache(root, tree)
        base = bases.Base("version", version.commit, version)
        try:
            fetched = bases.fetch_model(tree, Path(sys.executable), base)
        except DataError as error:
            yield error
        else:
            yield tree / "models" if fetched else None


def md5(models: Path | None) -> str | None:
    """DVC's digest of a bundle, as a lock names it."""
    from mainline.compare.cache import dvc_md5

    return dvc_md5(models) if models is not None else None


def model(version: Version, models: Path | None) -> Check:
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


def origins(root: Path, version: Version, models: Path) -> Check:
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


def kept_bill(root: Path, version: Version) -> bytes | None:
    """The SBOM that the registration left in its child commit; None where it left none."""
    name = f"reports/{sbom.FILE}"
    if not git(root, "diff-tree", "-r", "--name-only", version.commit, "--", name, check=False):
        return None
    kept = git(root, "show", f"{version.commit}:{name}", check=False)
    # Git's output comes without its last line end.
    return (kept + "\n").encode("utf-8") if kept else None


def made_bill(root: Path, version: Version) -> bytes | None:
    """The SBOM of the version, which follows from its commit's lock, its name and its digest."""
    try:
        return sbom.of_lock(_lock(root, version), version.model, version.name, version.digest or "")
    except MainlineError:
        return None


def bill(root: Path, version: Version, made: bytes | None, given: bytes | None = None) -> Check:
    """The SBOM that the tag names lists what the commit's serving lock locks; so does `given`."""
    wanted = version.trailers.get("SBOM-Digest")
    if made is None:
        return failed("sbom", f"{sbom.LOCK} of its commit is missing or damaged")
    if given is not None and given != made:
        wrong = sbom.differences(given, _lock(root, version), version.model, version.name,
                                 version.digest or "")  # fmt: skip
        return failed("sbom", f"The SBOM is not that of the lock: {wrong[0]}")
    if wanted is None:
        return unsure("sbom", "The tag names no SBOM")
    if digest_bytes(made) != wanted:
        return failed("sbom", "The SBOM that the tag names is not that of the commit's lock")
    count = made.count(b'"type":"library"')
    return passed("sbom", f"The SBOM lists the {count} locked packages")
