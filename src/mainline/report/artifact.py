"""What a run that is not trusted left behind, read as hostile data and made fit to be shown."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from mainline.errors import DataError

REPORT = "report.md"
NAMES = frozenset({REPORT, "report.html"})
MAX_BYTES = 20_000_000
MAX_COMMENT = 65_536  # characters in a comment on GitHub
ROOM = 1_500  # of them, for banner, footer, watermark and the note that the rest was cut off

# A mention would call a person; a character without width keeps it from being one.
MENTION = re.compile(r"(?<!\w)@(?=\w)")
MARK = re.compile(r"(?i)(CML)(\s+watermark)")
IMAGE = re.compile(r"!(?=\[)|<(?=\s*(?:img|picture|svg)\b)", re.IGNORECASE)
FENCE = re.compile(r"^\s*(`{3,}|~{3,})", re.MULTILINE)
NOT_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
NOTHING = "\u200b"

BANNER = """\
> [!CAUTION]
> This pull request comes from a fork. What follows was measured by its author's code, and is \
its author's word.

"""


def read_report(folder: Path) -> str | None:
    """The text of `report.md` in `folder`; None where the folder is absent or empty.

    Nothing in it is opened before all of it was looked at: only the files of `NAMES`, regular
    ones, of `MAX_BYTES` together. Raises DataError that names the first thing that is not so.
    """
    if not folder.is_dir():
        return None
    size = 0
    names = set()
    for entry in os.scandir(folder):
        names.add(entry.name)
        facts = entry.stat(follow_symlinks=False)
        if entry.name not in NAMES:
            raise _refused(f"it holds {entry.name[:80]!r}")
        if not stat.S_ISREG(facts.st_mode):
            raise _refused(f"{entry.name} is not a regular file")
        size += facts.st_size
    if size > MAX_BYTES:
        raise _refused(f"it is larger than {MAX_BYTES // 1_000_000} MB")
    if not names:
        return None
    if REPORT not in names:
        raise _refused(f"it has no {REPORT}")
    try:
        return (folder / REPORT).read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(f"{REPORT} is not UTF-8") from error


def _refused(reason: str) -> DataError:
    return DataError(
        f"The report that the run left is refused: {reason}",
        "Nothing was posted; look at the run's own summary",
    )


def harmless(text: str) -> str:
    """`text` without what acts on others when it is shown.

    Mentions call nobody, images (which tell a third party who looked) become links, and nothing
    can be taken for the watermark of a comment.
    """
    text = NOT_TEXT.sub("", text.replace("\r\n", "\n"))
    text = MENTION.sub("@" + NOTHING, text)
    text = MARK.sub(rf"\1{NOTHING}\2", text)
    return IMAGE.sub(lambda found: "" if found[0] == "!" else "&lt;", text)


def comment(report: str, *, fork: bool, run: str) -> str:
    """The body of a comment: the report made harmless, cut to what a comment holds.

    `run` is the address of the run that made it; `fork` puts a banner on top.
    """
    text = harmless(report).rstrip()
    cut = ""
    if len(text) > MAX_COMMENT - ROOM:
        text = text[: MAX_COMMENT - ROOM].rpartition("\n")[0]
        cut = "\n\nThe report is longer than a comment; the rest is in the run."
    if len(FENCE.findall(text)) % 2:
        text += "\n```"
    footer = f"\n\n[The run, its page and its model]({run})" if run else ""
    return f"{BANNER if fork else ''}{text}{cut}{footer}\n"
