"""The registry that Git is: versions and stages, read from annotated tags (GTO's grammar).

<model>@v1.2.3      a version            card-fraud@v1.2.3
<model>#<stage>#<n> the n-th assignment  card-fraud#prod#4   (the version on the same commit)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mainline.errors import UsageError
from mainline.git import git

STAGES = ("dev", "staging", "prod", "archived")
TRAILERS = ("Model-Digest", "Data-Digest", "Split-Digest", "Policy-Digest", "Base", "Verdict",
            "Accepted-By", "Pull-Request", "Run")  # fmt: skip
VERSION = re.compile(r"^v(\d+)\.(\d+)\.(\d+)$")
SEPARATOR = "\x1e"


@dataclass(frozen=True)
class Version:
    """A registered version: its tag, the commit it stands on, and the trailers of the tag."""

    model: str
    number: tuple[int, int, int]
    commit: str
    trailers: Mapping[str, str] = field(default_factory=dict)

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


def tags(root: Path, pattern: str) -> list[tuple[str, str, str]]:
    """(name, commit, message) of the tags that match `pattern`."""
    form = f"%(refname:strip=2)%00%(objectname)%00%(*objectname)%00%(contents){SEPARATOR}"
    out = git(root, "for-each-ref", f"--format={form}", f"refs/tags/{pattern}", check=False)
    found = []
    for record in out.split(SEPARATOR):
        if record.strip():
            name, direct, peeled, message = record.lstrip("\n").split("\x00", 3)
            found.append((name, peeled or direct, message))
    return found


def parse_trailers(message: str) -> dict[str, str]:
    """The known trailers of a tag's message; unknown lines are left out."""
    found = {}
    for line in message.splitlines():
        key, colon, value = line.partition(": ")
        if colon and key in TRAILERS:
            found[key] = value.strip()
    return found


def versions(root: Path, model: str) -> list[Version]:
    """All versions of `model`, oldest number first."""
    found = []
    for name, commit, message in tags(root, f"{model}@*"):
        match = VERSION.match(name.partition("@")[2])
        if match:
            number = (int(match[1]), int(match[2]), int(match[3]))
            found.append(Version(model, number, commit, parse_trailers(message)))
    return sorted(found, key=lambda v: v.number)


def assignments(root: Path, model: str, stage: str) -> list[Version]:
    """The versions that were assigned to `stage`, first to last."""
    known = {v.commit: v for v in versions(root, model)}
    found = []
    for name, commit, _ in tags(root, f"{model}#{stage}#*"):
        count = name.rpartition("#")[2]
        if count.isdigit() and commit in known:
            found.append((int(count), known[commit]))
    return [v for _, v in sorted(found, key=lambda pair: pair[0])]


def at_stage(root: Path, model: str, stage: str) -> Version | None:
    """The version that stands at `stage` now."""
    found = assignments(root, model, stage)
    return found[-1] if found else None


def find(root: Path, model: str, version: str | None) -> Version:
    """The version called `v1.2.3`, `1.2.3` or `model@v1.2.3`; None is the newest.

    Raises UsageError when there is none.
    """
    known = versions(root, model)
    if not known:
        raise UsageError(
            f"No version of {model!r} is registered here",
            "Run `./mainline register`, or fetch the tags: `git fetch --tags`",
        )
    if version is None:
        return known[-1]
    wanted = version.rpartition("@")[2].removeprefix("v")
    for candidate in known:
        if candidate.name == f"v{wanted}":
            return candidate
    raise UsageError(
        f"There is no version {version!r} of {model!r}",
        f"Known: {', '.join(v.name for v in known[-5:])}",
    )
