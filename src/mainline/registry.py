"""The registry that Git is: versions and stages, read from annotated tags (GTO's grammar).

<model>@v1.2.3      a version        card-fraud@v1.2.3
<model>#<stage>#<n> an assignment    card-fraud#prod#4   (the version on the same commit)

`n` counts all assignments of a model, whatever their stage, as GTO counts them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mainline.errors import UsageError
from mainline.git import git

STAGES = ("dev", "staging", "prod", "archived", "rejected")
# A version whose last assignment is to one of these is not used: put away by a person, or
# rolled back by its own rollout. An assignment to another stage lifts it.
AWAY = ("archived", "rejected")
TRAILERS = ("Model-Digest", "Data-Digest", "Split-Digest", "Policy-Digest", "Base", "Verdict",
            "Accepted-By", "Pull-Request", "Run", "SBOM-Digest", "Signed-By")  # fmt: skip
# Of an assignment: its version, the one that stood there before, and whether that was taken back.
MOVED = ("Version", "Before", "Rolled-Back-From")
VERSION = re.compile(r"^v(\d+)\.(\d+)\.(\d+)$", re.ASCII)
COUNT = re.compile(r"^\d{1,18}$", re.ASCII)
BLOCK = re.compile(
    r"^-----BEGIN MODEL SIGNATURE-----\n.*?^-----END MODEL SIGNATURE-----$",
    re.DOTALL | re.MULTILINE,
)
FORM = "%00".join(("%(refname:strip=2)", "%(objectname)", "%(*objectname)", "%(contents)",
                   "%(creatordate:iso-strict)", "%(taggername)", ""))  # fmt: skip
FIELDS = FORM.count("%00")


@dataclass(frozen=True)
class Tag:
    """A tag: its name, its own object, the commit under it, message, time (ISO 8601) and tagger."""

    name: str
    object: str
    commit: str
    message: str
    when: str = ""
    by: str = ""


@dataclass(frozen=True)
class Version:
    """A registered version: its tag, the commit it stands on, and the trailers of the tag.

    `signature` is the block at the end of the tag, `when` (ISO 8601) and `by` say who registered.
    """

    model: str
    number: tuple[int, int, int]
    commit: str
    trailers: Mapping[str, str] = field(default_factory=dict)
    signature: bytes | None = None
    when: str = ""
    by: str = ""
    reason: str = ""

    @property
    def name(self) -> str:
        """Such as v1.2.3."""
        return "v" + ".".join(map(str, self.number))

    @property
    def tag(self) -> str:
        """Such as card-fraud@v1.2.3."""
        return f"{self.model}@{self.name}"

    @property
    def digest(self) -> str | None:
        """The digest of its model bundle."""
        return self.trailers.get("Model-Digest")


@dataclass(frozen=True)
class Move:
    """The assignment of a version to a stage: which, when (ISO 8601), by whom and why.

    `back_from` names the version that was rolled back by it, else it is empty.
    """

    stage: str
    count: int
    version: Version
    when: str = ""
    by: str = ""
    reason: str = ""
    back_from: str = ""

    @property
    def tag(self) -> str:
        """Such as card-fraud#prod#4."""
        return f"{self.version.model}#{self.stage}#{self.count}"


def read_tags(root: Path, *patterns: str) -> list[Tag]:
    """The tags of the clone that match one of `patterns`, globs."""
    names = (f"refs/tags/{pattern}" for pattern in patterns)
    out = git(root, "for-each-ref", f"--format={FORM}", *names, check=False)
    # Git ends a text at NUL, so a message cannot hold one, and no message can forge a field.
    parts = out.split("\0")
    found = []
    for start in range(0, len(parts) - FIELDS + 1, FIELDS):
        name, direct, peeled, message, when, by = parts[start : start + FIELDS]
        found.append(Tag(name.lstrip("\n"), direct, peeled or direct, message, when, by))
    return found


def parse_trailers(message: str, known: Iterable[str] = TRAILERS) -> dict[str, str]:
    """The `known` trailers of a tag's message: of its last paragraph, less the signature block.

    What looks like a trailer in the title or in the reason is text; so is an unknown key.
    """
    text = BLOCK.sub("", message.replace("\r\n", "\n")).strip()
    found: dict[str, str] = {}
    for line in text.rpartition("\n\n")[2].splitlines():
        key, colon, value = line.partition(": ")
        if colon and key in known:
            found.setdefault(key, value.strip())
    return found


def parse_signature(message: str) -> bytes | None:
    """The block with the signature, from its first line to its last; None where there is none."""
    found = BLOCK.search(message.replace("\r\n", "\n"))
    return found[0].encode("utf-8") if found else None


def reason_of(message: str) -> str:
    """What the message says in its second paragraph; empty where that is its trailers."""
    text = BLOCK.sub("", message.replace("\r\n", "\n")).strip()
    parts = [p for p in text.split("\n\n") if p.strip()]
    return " ".join(parts[1].split()) if len(parts) > 2 else ""


def versions(root: Path, model: str) -> list[Version]:
    """All versions of `model`, oldest number first."""
    return versions_in(model, read_tags(root, f"{model}@*"))


def versions_in(model: str, tags: Iterable[Tag]) -> list[Version]:
    """The versions of `model` among `tags`, oldest number first."""
    found = []
    for tag in tags:
        owner, _, name = tag.name.partition("@")
        match = VERSION.match(name) if owner == model else None
        if match:
            found.append(Version(
                model, (int(match[1]), int(match[2]), int(match[3])), tag.commit,
                parse_trailers(tag.message), parse_signature(tag.message), tag.when, tag.by,
                reason_of(tag.message),
            ))  # fmt: skip
    return sorted(found, key=lambda v: v.number)


def moves(root: Path, model: str) -> list[Move]:
    """All assignments of `model`, first to last."""
    return moves_in(model, read_tags(root, f"{model}@*", f"{model}#*"))


def moves_in(model: str, tags: Iterable[Tag]) -> list[Move]:
    """The assignments among `tags`, which hold the versions too, first to last.

    The version is that of the commit, as GTO reads it; of two versions on one commit it is the one
    that the assignment names.
    """
    tags = list(tags)
    on: dict[str, dict[str, Version]] = {}
    for version in versions_in(model, tags):
        on.setdefault(version.commit, {})[version.name] = version
    found = []
    for tag in tags:
        name, _, rest = tag.name.partition("#")
        stage, _, count = rest.partition("#")
        here = on.get(tag.commit)
        # Other stages are not of this house, such as GTO's `prod!`, which takes one back.
        if name != model or stage not in STAGES or not COUNT.match(count) or not here:
            continue
        said = parse_trailers(tag.message, MOVED)
        version = here.get(said.get("Version", "")) or list(here.values())[-1]
        found.append(Move(stage, int(count), version, tag.when, tag.by, reason_of(tag.message),
                          said.get("Rolled-Back-From", "")))  # fmt: skip
    return sorted(found, key=lambda m: m.count)


def assignments(root: Path, model: str, stage: str) -> list[Version]:
    """The versions that were assigned to `stage`, first to last."""
    return [m.version for m in moves(root, model) if m.stage == stage]


def at_stage(root: Path, model: str, stage: str) -> Version | None:
    """The version that stands at `stage` now."""
    found = assignments(root, model, stage)
    return found[-1] if found else None


def put_away(found: Iterable[Move]) -> dict[str, str]:
    """Name -> `archived` or `rejected` of each version whose last assignment is to that.

    Such a version is neither rolled out nor the aim of a rollback.
    """
    last = {m.version.name: m.stage for m in found}
    return {name: stage for name, stage in last.items() if stage in AWAY}


def healthy(found: Iterable[Move]) -> list[Version]:
    """The versions that stood at prod and were not found to be bad there, the last one first.

    Bad is what was put away, and what gave way to an older version: it was taken back. What stands
    at prod now is among them.
    """
    moved = list(found)
    away, stood = put_away(moved), [m.version for m in moved if m.stage == "prod"]
    good: dict[str, Version] = {}
    bad = set(away)
    for place, version in reversed(list(enumerate(stood))):
        if version.name in good or version.name in bad:
            continue
        if place + 1 == len(stood) or stood[place + 1].number > version.number:
            good[version.name] = version
        else:
            bad.add(version.name)
    return list(good.values())


def find(root: Path, model: str, version: str | None) -> Version:
    """The version called `v1.2.3`, `1.2.3` or `model@v1.2.3`; None is the newest.

    Raises UsageError when there is none.
    """
    return find_in(versions(root, model), model, version)


def find_in(known: list[Version], model: str, version: str | None) -> Version:
    """Like `find`, among `known`, oldest first."""
    if not known:
        raise UsageError(
            f"No version of {model!r} is registered here",
            "Run `./mainline register`, or fetch the tags: `git fetch --tags`",
        )
    if version is None:
        return known[-1]
    owner, _, wanted = version.rpartition("@")
    for candidate in known:
        if candidate.name == f"v{wanted.removeprefix('v')}" and owner in ("", model):
            return candidate
    raise UsageError(
        f"There is no version {version!r} of {model!r}",
        f"Known: {', '.join(v.name for v in known[-5:])}",
    )
