"""Files: written whole or not at all, and digests over their bytes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mainline.errors import DataError


def remove(path: Path) -> None:
    """Remove a file that may be gone already; DataError when the folder is not writable."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{path.name} cannot be written anew ({error.strerror or error})",
            f"Make the folder {path.parent.name}/ one that you may write to",
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; rename it over `path` when the block succeeds.

    A reader sees the old file or the new one. When the block or the disk fails, nothing of the
    new one is left behind. Raises DataError when the disk is full or the folder not writable.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Keeps the suffix, by which pandas and matplotlib choose a format.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise DataError(
            f"{path.name} could not be written ({error.strerror or error})",
            "Make room or make the folder writable; nothing was changed",
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` by atomic rename."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` with `\\n` line ends to `path` by atomic rename."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, document: Any) -> None:
    """Write `document` as sorted, indented JSON to `path` by atomic rename."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def digest_bytes(content: bytes) -> str:
    """`sha256:<hex>` of `content`."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def digest_json(document: Any) -> str:
    """`sha256:<hex>` of the canonical JSON of `document`."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return digest_bytes(text.encode("utf-8"))


def digest_file(path: Path) -> str:
    """`sha256:<hex>` of the bytes of `path`."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def digest_files(files: Iterable[Path], root: Path) -> str:
    """One digest over many files: of the sorted lines `path sha256`, paths relative to `root`."""
    lines = sorted(
        f"{f.relative_to(root).as_posix()} {digest_file(f).removeprefix('sha256:')}\n"
        for f in files
        if f.is_file()
    )
    return digest_bytes("".join(lines).encode("utf-8"))


def digest_tree(folder: Path) -> str:
    """The digest of all files below `folder`: over the sorted lines `path sha256`."""
    return digest_files(visible_files(folder), folder)


def visible_files(folder: Path) -> list[Path]:
    """All files below `folder` but hidden ones and caches (editors and DVC leave such)."""
    return [
        f
        for f in folder.rglob("*")
        if f.is_file()
        and not any(p.startswith(".") or p == "__pycache__" for p in f.relative_to(folder).parts)
    ]


def short(digest: str | None) -> str:
    """Twelve digits of a digest, for a screen."""
    return (digest or "-").removeprefix("sha256:")[:12]
