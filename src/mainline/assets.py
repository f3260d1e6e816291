"""The model of a released version as one file, and back: an asset of its GitHub release.

A release can be had by whoever can read the repository, without DVC. What is unpacked is believed
only when its digest is the one in the version's tag.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mainline.errors import DataError, MainlineError
from mainline.files import digest_tree, visible_files
from mainline.github import GitHub
from mainline.registry import Version

BUNDLE = "models.tar"
MOST_BYTES = 200_000_000  # of the bundle; a limit for what a stranger may make this machine hold
MOST_FILES = 64
# A plain name in one folder, never hidden: hidden files do not count in a digest.
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)


def pack(folder: Path) -> bytes:
    """The files of `folder` as a tar: the same bytes wherever and whenever it is made.

    Raises DataError for a file that `unpack` would refuse.
    """
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(visible_files(folder)):
            name = path.relative_to(folder).as_posix()
            if not NAME.fullmatch(name):
                raise DataError(f"models/ holds {name!r}, which cannot be part of a release")
            member = tarfile.TarInfo(name)  # mode 0644, time 0, no owner
            member.size = path.stat().st_size
            with path.open("rb") as stream:
                tar.addfile(member, stream)
    return made.getvalue()


def unpack(content: bytes, folder: Path) -> None:
    """Write the files of a bundle to `folder`, which is made.

    Only regular files with plain names in one folder, each once: no folder, link, device, hidden
    or sparse file, and no more than MOST_FILES. Raises DataError for anything else, before
    anything is written.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            members = list(_members(tar))
            folder.mkdir(parents=True)
            for member in members:
                source = tar.extractfile(member)
                assert source is not None  # `_members` lets regular files through alone
                (folder / member.name).write_bytes(source.read())
    # A broken number in a header is a ValueError of tarfile's own making.
    except (tarfile.TarError, ValueError, EOFError, OSError) as error:
        raise DataError(f"{BUNDLE} cannot be read ({error})", "Release it again") from error


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    seen: set[str] = set()
    for member in tar:
        # `isreg` would let a sparse file through, whose size is whatever it says.
        plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
        if not plain or not NAME.fullmatch(member.name):
            raise DataError(f"{BUNDLE} holds {member.name[:80]!r}, which is no plain file of it")
        if member.name.casefold() in seen:
            raise DataError(f"{BUNDLE} holds {member.name!r} twice")
        seen.add(member.name.casefold())
        if len(seen) > MOST_FILES or member.size > MOST_BYTES:
            raise DataError(f"{BUNDLE} holds more than {MOST_FILES} files, or too large a one")
        yield member


def check(content: bytes, version: Version) -> None:
    """Raise DataError unless `content` holds the model whose digest is in the version's tag."""
    with tempfile.TemporaryDirectory() as folder:
        _unpack_own(content, version, Path(folder) / "models")


def _unpack_own(content: bytes, version: Version, folder: Path) -> None:
    unpack(content, folder)
    if version.digest is None or digest_tree(folder) != version.digest:
        raise DataError(
            f"{BUNDLE} of {version.tag} holds another model than its tag names",
            "Do not use it; compare the release's history with the tag",
        )


def download(
    root: Path, version: Version, folder: Path, environ: Mapping[str, str] = os.environ
) -> bool:
    """Put the model of `version` from its GitHub release into `folder`; whether that was done.

    False where there is no GitHub, no such release or asset, or GitHub cannot be asked; `folder`
    is then as it was. Raises DataError for an asset that is not the model that the tag names.
    """
    if version.digest is None:
        return False
    try:
        content = _fetch(root, version, environ)
    except MainlineError:
        return False
    if content is None:
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tmp-") as near:
        made = Path(near) / "models"
        _unpack_own(content, version, made)
        shutil.rmtree(folder, ignore_errors=True)
        made.replace(folder)
    return True


def _fetch(root: Path, version: Version, environ: Mapping[str, str]) -> bytes | None:
    github = GitHub.near(root, environ)
    if github is None:
        return None
    found = github.call("GET", f"releases/tags/{github.quoted(version.tag)}")
    own = [a for a in found.get("assets") or () if a.get("name") == BUNDLE]
    return github.download(int(own[0]["id"]), MOST_BYTES) if own else None
