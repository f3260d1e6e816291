"""`mainline verify VERSION`: is a version what its tag says, by the clone and the remote alone.

`require` is the part of it that is asked before a model is loaded: to serve, to build, to roll out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainline import registry, settings
from mainline.errors import DataError, MainlineError
from mainline.files import short
from mainline.git import is_repository, require_history
from mainline.register import contents, place, sbom, signature, statement, trust
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
    with contents.found_model(root, version) as found:
        models = found if isinstance(found, Path) else None
        md5 = contents.md5(models)
        checks.append(place.lock(root, version, md5))
        checks.append(failed("model", found.cause) if isinstance(found, DataError)
                      else contents.model(version, models))  # fmt: skip
        if models is not None and checks[-1].verdict is Verdict.PASS:
            checks.append(contents.origins(root, version, models))
        bill = contents.made_bill(root, version)
        checks.append(contents.bill(root, version, bill, contents.kept_bill(root, version)))
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
    bill = contents.made_bill(root, version)
    checks.append(contents.bill(root, version, bill, sbom))
    if models is not None:
        locked = place.lock(root, version, contents.md5(models))
        checks += [contents.model(version, models), locked]
    if models is not None or version.signature is None:
        checks.append(_signature(root, version, trusted, models, bill))
    bad = next((c for c in checks if c.verdict in (Verdict.FAIL, Verdict.ERROR)), None)
    if bad is not None:
        raise NotTrusted(f"{version.tag} is refused: {bad.reason}", REFUSED)


def require_bento(
    root: Path, bento: Path, record: Mapping[str, Any], *, named: str | None = None,
    trial: bool = False,
) -> bool:  # fmt: skip
    """Like `require` for what a built Bento holds, by the version that its `record` names.

    Whether there was a version to hold it against: outside a repository there is none, and what was
    not registered has only its own record. Where main refuses what nobody signed, that is only let
    through as a `trial`. `named` is the version that it is to be called by; it must not be another
    model's. Raises NotTrusted.
    """
    if not is_repository(root):
        return False
    known = {v.name: v for v in registry.versions(root, str(record.get("name")))}
    other = known.get(named or "")
    if other is not None and other.digest != record.get("digest"):
        raise NotTrusted(f"This Bento does not hold the model of {other.tag}", REFUSED)
    version = known.get(str(record.get("version")))
    if version is None:
        if trust.of(root).release.unsigned == "refuse" and not trial:
            raise NotTrusted(
                f"This Bento names no registered version ({record.get('version')}), and main "
                "refuses what nobody signed", "Register it, or build it from a version",
            )  # fmt: skip
        return False
    bill = bento / "src" / sbom.FILE
    content = bill.read_bytes() if bill.is_file() else None
    require(root, version, bento / "src" / "models", content)
    wanted = {statement.FILE: statement.content(statement.of(version)),
              signature.FILE: version.signature, sbom.FILE: content or b""}  # fmt: skip
    for name, wants in wanted.items():
        path = bento / "src" / name
        if (path.read_bytes() if path.is_file() else None) != wants:
            raise NotTrusted(f"{name} in this Bento is not that of {version.tag}", REFUSED)
    return True


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
