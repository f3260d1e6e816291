"""Drift that a person accepted: retrain pull requests closed with the label `drift-accepted`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mainline.errors import MainlineError
from mainline.github import GitHub
from mainline.train.bundle import read_meta

LABEL = "drift-accepted"
COLUMNS = re.compile(r"<!-- mainline:retrain ([0-9a-f,]*) -->")


def accepted_columns(root: Path, model: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The columns accepted since the present model was trained; none where GitHub is not there.

    A newer model has a newer reference, so what was accepted before it no longer matters. When
    GitHub cannot be asked nothing counts as accepted: an alarm too many, never one too few.
    """
    if not (environ.get("GITHUB_REPOSITORY") and environ.get("GITHUB_TOKEN")):
        return ()
    with contextlib.suppress(MainlineError):
        github = GitHub.of(environ)
        owner = github.repository.split("/")[0]
        closed = github.get_all("pulls", state="closed", head=f"{owner}:retrain/{model}")
        return columns_of(closed, read_meta(root / "models").get("trained_until"))
    return ()


def columns_of(closed: Iterable[Mapping[str, Any]], trained_until: str | None) -> tuple[str, ...]:
    """The columns named in closed, unmerged pull requests that bear the label."""
    names: set[str] = set()
    for one in closed:
        labelled = any(label.get("name") == LABEL for label in one.get("labels") or ())
        if one.get("merged_at") or not labelled or not one.get("closed_at"):
            continue
        when = pd.Timestamp(one["closed_at"]).tz_convert("UTC").tz_localize(None)
        if trained_until is not None and when < pd.Timestamp(trained_until):
            continue
        for listed in COLUMNS.findall(str(one.get("body") or "")):
            names |= {bytes.fromhex(h).decode("utf-8", "replace") for h in listed.split(",") if h}
    return tuple(sorted(names))
