"""A run's report is data: what it may be, and what is taken out before it is shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mainline.errors import DataError
from mainline.report.artifact import MAX_BYTES, MAX_COMMENT, comment, harmless, read_report


def write(folder: Path, name: str = "report.md", content: bytes = b"# Fine\n") -> None:
    """Put one file into the artifact."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)


def test_a_report_is_read(tmp_path: Path) -> None:
    """The Markdown beside its page is what is posted."""
    write(tmp_path / "a")
    write(tmp_path / "a", "report.html")
    assert read_report(tmp_path / "a") == "# Fine\n"


@pytest.mark.parametrize("made", [True, False])
def test_a_run_that_left_nothing_is_no_error(tmp_path: Path, made: bool) -> None:
    """An artifact that is absent or empty is told from one that is bad."""
    if made:
        (tmp_path / "a").mkdir()
    assert read_report(tmp_path / "a") is None


@pytest.mark.parametrize("name", ["pr.txt", "verdict.json", ".git", "report.md.sh", "rëport.md"])
def test_another_name_is_refused(tmp_path: Path, name: str) -> None:
    """Whatever is not on the list is refused, and with it the rest."""
    write(tmp_path / "a")
    write(tmp_path / "a", name)
    with pytest.raises(DataError, match="it holds") as refused:
        read_report(tmp_path / "a")
    assert refused.value.status == 20


def test_a_link_is_refused(tmp_path: Path) -> None:
    """A symbolic link could publish a file of the runner."""
    write(tmp_path, "secret", b"key")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "report.md").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="not a regular file"):
        read_report(tmp_path / "a")


def test_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    """Only regular files are opened: a pipe would be waited for without end."""
    (tmp_path / "a" / "report.md").mkdir(parents=True)
    with pytest.raises(DataError, match="not a regular file"):
        read_report(tmp_path / "a")
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "report.md")
    with pytest.raises(DataError, match="not a regular file"):
        read_report(tmp_path / "b")


def test_a_bomb_is_refused_unread(tmp_path: Path) -> None:
    """The size of all files together is looked at before one is opened."""
    write(tmp_path / "a")
    write(tmp_path / "a", "report.html", b"")
    with (tmp_path / "a" / "report.html").open("r+b") as stream:
        stream.truncate(MAX_BYTES)
    with pytest.raises(DataError, match="larger than 20 MB"):
        read_report(tmp_path / "a")


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    """What is not UTF-8 is refused; a byte order mark is left out."""
    write(tmp_path / "a", content="# Grün".encode("utf-16"))
    with pytest.raises(DataError, match="not UTF-8"):
        read_report(tmp_path / "a")
    write(tmp_path / "b", content="# Grün".encode("utf-8-sig"))
    assert read_report(tmp_path / "b") == "# Grün"


def test_a_page_without_a_report_is_refused(tmp_path: Path) -> None:
    """There is nothing to post in a page alone."""
    write(tmp_path / "a", "report.html")
    with pytest.raises(DataError, match=r"no report\.md"):
        read_report(tmp_path / "a")


def test_mentions_images_and_marks_do_nothing() -> None:
    """Nobody is called, no third party learns who looked, no comment is impersonated."""
    text = harmless(
        "@team hello\n![x](https://x.invalid/y.png) <img src=z> CML watermark a\x00\u202eb"
    )
    assert "@team" not in text
    assert "![" not in text
    assert "<img" not in text
    assert "CML watermark" not in text
    assert "\x00" not in text
    assert "\u202e" not in text


def test_an_ordinary_report_is_left_as_it_is() -> None:
    """Versions, tables, alerts, details and charts pass through."""
    text = (
        "> [!NOTE]\n> card-fraud@v1.0.0\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n"
        "<details>\n\n```mermaid\nx\n```\n"
    )
    assert harmless(text) == text


def test_a_megabyte_of_mentions_becomes_one_comment() -> None:
    """A report that is too long is cut where a line ends, and says so."""
    body = comment(
        "@you\n" * 250_000, fork=True, run="https://github.com/acme/fraud/actions/runs/1"
    )
    assert len(body) < MAX_COMMENT
    assert "@you" not in body
    assert "longer than a comment" in body
    assert body.startswith("> [!CAUTION]")


def test_a_fence_left_open_is_closed() -> None:
    """What stands below the report is not swallowed by its last block."""
    body = comment("```\nopen", fork=False, run="https://github.com/x")
    assert body.count("```") == 2
    assert not body.startswith("> [!CAUTION]")
