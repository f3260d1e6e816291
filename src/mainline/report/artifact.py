"""What a run that is not trusted left behind, read as hostile data and made fit to be shown."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from mainline.errors import DataError
from mainline.report import markdown, reread
from mainline.report.blocks import Section
from mainline.report.escape import NOTHING

REPORT = "report.md"
NAMES = frozenset({REPORT, "report.html"})
MAX_BYTES = 20_000_000
WHERE = "it is in the artifact `report` of the run"
MAX_COMMENT = 65_536  # characters in a comment on GitHub
ROOM = 600  # of them, for the watermark and what a forge may add

# What might be taken for the mark of a comment.
MARK = re.compile(r"(?i)(CML)(\s+watermark)")

FORK = """\
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


def harmless(text: str, most: int = MAX_COMMENT - ROOM) -> str:
    """`text` written anew in at most `most` characters, without what acts on others when shown.

    No mention, link, image, HTML, reference or diagram is left of its author's; a report of the
    house comes out as it was. Too long a report loses whole sections, and says which.
    """
    parts = reread.parse(text)
    if not parts:
        return "The report is empty.\n"
    first = parts[0]
    rest = [p.section() for p in parts[1:]]
    top = "" if not first.level else f"{'#' * first.level} {markdown.heading(first.title)}\n\n"
    top += _whole_blocks(first.section(), most // 2)
    return MARK.sub(rf"\1{NOTHING}\2", markdown.fit(top, rest, most, WHERE)).rstrip() + "\n"


def _whole_blocks(section: Section, most: int) -> str:
    """The first blocks of a section, as many as there is room for."""
    said, left = [], most
    for number, block in enumerate(section.blocks):
        text = markdown.block(block)
        left -= len(text) + 2
        if left < 0:
            more = len(section.blocks) - number
            said.append(f"Cut here ({more:,} more paragraphs): {WHERE}.")
            break
        said.append(text)
    return "\n\n".join(filter(None, said)) + "\n"


def comment(report: str, *, fork: bool, run: str, cautions: Sequence[str] = ()) -> str:
    """The body of a comment: cautions, the report made harmless and short enough, the run.

    `run` is the address of the run that made it; `fork` puts a banner on top; `cautions` are
    Markdown of our own.
    """
    banners = "\n".join([*([FORK] if fork else []), *cautions])
    footer = f"\n[The run, its page and its model]({run})\n" if run else ""
    around = f"{banners}\n" if banners else ""
    text = harmless(report, MAX_COMMENT - ROOM - len(around) - len(footer))
    return f"{around}{text}{footer}"
