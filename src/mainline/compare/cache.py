"""DVC's cache, read without DVC, which takes a second to start: digests, and the files behind."""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any


def from_cache(root: Path, digest: str | None, target: Path, copy: bool = False) -> bool:
    """Fill `target` with links to the files of a folder in DVC's cache, or with copies of them.

    False where one is gone. A folder's digest names a list of the digests and paths of its files.
    """
    cache = cache_dir(root) / "files" / "md5"
    try:
        listed = json.loads(_cached(cache, digest or "").read_text("utf-8"))
        files = {target / entry["relpath"]: _cached(cache, entry["md5"]) for entry in listed}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    inside = all(p.resolve().is_relative_to(target.resolve()) for p in files)
    if not inside or not all(f.is_file() for f in files.values()):
        return False
    for path, source in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if copy:
            shutil.copyfile(source, path)
        else:
            path.symlink_to(source.resolve())
    return True


def cache_dir(root: Path) -> Path:
    """DVC's cache of this clone, by its configuration."""
    found = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(configparser.Error, UnicodeError):
        found.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], "utf-8")
    name = found.get("cache", "dir", fallback="cache").strip('"')
    return root / ".dvc" / name


def _cached(cache: Path, digest: str) -> Path:
    if not digest.removesuffix(".dir").isalnum():
        raise ValueError(digest)
    return cache / digest[:2] / digest[2:]


def dvc_md5(path: Path) -> str | None:
    """The digest that DVC records of a file, or of a folder (`.dir`); None where nothing is.

    A folder's is the MD5 of the list of its files with their digests, as JSON. What .dvcignore
    of the template leaves out is left out here.
    """
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, _md5).hexdigest()
    if not path.is_dir():
        return None
    files = (f for f in path.rglob("*") if f.is_file() and not _ignored(f.relative_to(path)))
    listed = [{"md5": dvc_md5(f), "relpath": f.relative_to(path).as_posix()} for f in files]
    listed.sort(key=lambda entry: str(entry["relpath"]))
    return _md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


def _md5(content: bytes = b"") -> Any:
    return hashlib.md5(content, usedforsecurity=False)


def _ignored(path: Path) -> bool:
    return "__pycache__" in path.parts or path.suffix == ".pyc" or path.name == ".DS_Store"
