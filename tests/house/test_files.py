"""Files appear whole or not at all, and their digests depend on names and bytes alone."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mainline.errors import DataError
from mainline.files import (
    digest_bytes,
    digest_file,
    digest_json,
    digest_tree,
    replacing,
    short,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(f.name for f in folder.iterdir())


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """An exception in the middle of writing is as if nothing had been tried."""
    path = tmp_path / "report.md"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert (path.read_text(), names(tmp_path)) == ("old", ["report.md"])


@pytest.mark.parametrize("step", ["write_bytes", "fsync", "replace"])
def test_a_full_disk_is_told_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Wherever the disk turns out to be full, the old file stays and no temporary one does."""
    path = tmp_path / "report.md"
    write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os if step == "fsync" else Path, step, full)
    with pytest.raises(DataError, match="No space left") as caught:
        write_text(path, "new")
    monkeypatch.undo()
    assert caught.value.status == 20
    assert (path.read_text(), names(tmp_path)) == ("old", ["report.md"])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    """One sentence with the file's name, status 20."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DataError, match=r"report\.md could not be written"):
            write_text(tmp_path / "report.md", "new")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    """A file where a folder is needed is one sentence too."""
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(DataError, match="could not be written"):
        write_text(tmp_path / "reports" / "report.md", "new")


def test_text_has_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """UTF-8 and line feeds, whatever the platform; readable by all who share the folder."""
    path = tmp_path / "a.txt"
    write_text(path, "é\n")
    assert path.read_bytes() == b"\xc3\xa9\n"
    assert os.name == "nt" or path.stat().st_mode & 0o777 == 0o644


def test_json_is_sorted_and_refuses_nan(tmp_path: Path) -> None:
    """Equal documents give equal bytes; NaN is no JSON and is not written."""
    write_json(tmp_path / "a.json", {"b": 1, "a": 2})
    write_json(tmp_path / "b.json", {"a": 2, "b": 1})
    assert digest_file(tmp_path / "a.json") == digest_file(tmp_path / "b.json")
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "c.json", {"a": float("nan")})
    assert names(tmp_path) == ["a.json", "b.json"]


def test_the_digest_of_a_folder_is_over_sorted_lines_of_path_and_digest(tmp_path: Path) -> None:
    """As the interfaces pin it; hidden files and caches do not count."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"1")
    (tmp_path / "a").write_bytes(b"2")
    (tmp_path / ".hidden").write_bytes(b"3")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_bytes(b"4")
    one, two = (digest_bytes(b).removeprefix("sha256:") for b in (b"1", b"2"))
    assert digest_tree(tmp_path) == digest_bytes(f"a {two}\nb/x {one}\n".encode())
    (tmp_path / "a").rename(tmp_path / "c")
    assert digest_tree(tmp_path) != digest_bytes(f"a {two}\nb/x {one}\n".encode())


def test_digests_are_full_in_files_and_short_on_a_screen() -> None:
    """`sha256:` and 64 digits; twelve for people."""
    assert digest_json({}) == (
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )
    assert (short(digest_json({})), short(None)) == ("44136fa355b3", "-")
