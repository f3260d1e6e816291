"""The message of a tag: title, reason, trailers, and the signature where there is one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from mainline import settings
from mainline.errors import NotMeasured
from mainline.report import gate
from mainline.verdict import StepVerdict, read_verdict

CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
LONGEST = 500
NONE = "none"


def write(title: str, reason: str, trailers: Mapping[str, str], block: str = "") -> str:
    """The message; every value is one line, so that no text becomes a trailer of its own."""
    lines = "\n".join(f"{key}: {one_line(value)}" for key, value in trailers.items())
    # A reason that looks like the first line of a signature would swallow the trailers.
    texts = (one_line(text).replace("-----", "--") for text in (title, reason))
    return "\n\n".join(p for p in (*texts, lines, block) if p)


def one_line(text: str) -> str:
    """`text` on one line of readable length, without control characters."""
    clean = " ".join(CONTROL.sub(" ", text).split())
    return clean if len(clean) <= LONGEST else clean[: LONGEST - 1] + "…"


def trailers(
    approved: StepVerdict, digest: str, sbom: str, environ: Mapping[str, str] = os.environ,
    pull: int | None = None,
) -> dict[str, str]:  # fmt: skip
    """What was approved, on what, by whom: all trailers but Signed-By, which comes last.

    `digest` is that of the bundle and `sbom` that of the SBOM; `pull` is the pull request that was
    merged, where the one that was accepted is not known.
    """
    accepted, number = gate.accepted_by(approved) or (NONE, pull)
    given = approved.inputs
    return {
        "Model-Digest": digest,
        "Data-Digest": given.get("data") or NONE,
        "Split-Digest": given.get("split") or NONE,
        "Policy-Digest": given.get("policy") or NONE,
        "Base": given.get("base") or NONE,
        "Verdict": approved.verdict.value,
        "Accepted-By": environ.get("MAINLINE_ACCEPTED_BY") or accepted,
        "Pull-Request": environ.get("MAINLINE_PULL_REQUEST") or (f"#{number}" if number else NONE),
        "Run": run_address(environ),
        "SBOM-Digest": sbom,
    }


def compared(root: Path) -> str:
    """What the comparison said of the gate's metric, or else last; empty where there is none."""
    try:
        checks = read_verdict(root / "reports" / "verdicts" / "compare.json").checks
    except NotMeasured:
        return ""
    metric = settings.load(root).gate.metric
    said = [c.reason for c in checks if c.name == metric] or [c.reason for c in checks]
    return said[-1] if said else ""


def run_address(environ: Mapping[str, str] = os.environ) -> str:
    """The address of the workflow's run, or `local`."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, repository, number = (environ.get(n, "") for n in names)
    known = server and repository and number
    return f"{server}/{repository}/actions/runs/{number}" if known else "local"
