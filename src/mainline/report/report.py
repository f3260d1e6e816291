"""`mainline report`: Markdown for a comment and a summary, and one HTML page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mainline.errors import DataError
from mainline.files import write_text
from mainline.report import facts, html, markdown, verdicts
from mainline.report.blocks import Code, Report, Strong

REPORT = "reports/report.md"
PAGE = "reports/report.html"


def run(root: Path, summary: bool = False) -> dict[str, Any]:
    """Write `reports/report.md` and `reports/report.html` from whatever the steps left.

    Returns {text, report, page}: a few lines for people and the two paths. With `summary` the
    Markdown is added to the file that GITHUB_STEP_SUMMARY names, which is where a job shows it.
    A missing or failed step is told in the report and is no error; DataError when a file cannot
    be written. Decides nothing: that is the gate's.
    """
    found = verdicts.compose(facts.read(root))
    text = markdown.render(found)
    write_text(root / REPORT, text)
    title = f"{found.verdict.value}: {found.model}"
    footer = f"Written by <code>mainline report</code>; the same as Markdown is {REPORT}."
    body = f"{html.render(found)}\n<footer>{footer}</footer>"
    write_text(root / PAGE, html.page(title, body))
    lines = [f"{found.verdict.value}  {said(found)}", f"  {REPORT}", f"  {PAGE}"]
    if summary:
        lines.append(f"  {_summary(text)}")
    return {"text": "\n".join(lines), "report": REPORT, "page": PAGE}


def said(report: Report) -> str:
    """The sentence of the report as plain text."""
    return "".join(p.text if isinstance(p, Code | Strong) else str(p) for p in report.sentence)


def _summary(text: str) -> str:
    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        return "GITHUB_STEP_SUMMARY is not set, so there is no job summary to add it to"
    try:
        with Path(place).open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")
    except OSError as error:
        raise DataError(
            f"The job summary could not be written ({error.strerror or error})",
            "The report itself is in reports/",
        ) from error
    return "added to the job summary"
