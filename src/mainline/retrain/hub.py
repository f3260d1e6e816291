"""GitHub's side of retraining: when the last pull request was closed."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from mainline.errors import MainlineError
from mainline.github import GitHub


def last_closed(branch: str, environ: Mapping[str, str]) -> pd.Timestamp | None:
    """When the last pull request of `branch` was merged or closed; None where nobody knows."""
    try:
        github = GitHub.of(environ)
        owner = github.repository.split("/")[0]
        listed = github.get_all("pulls", state="closed", head=f"{owner}:{branch}")
    except MainlineError:
        return None
    days = [pd.Timestamp(p["closed_at"]) for p in listed if p.get("closed_at")]
    return max((d.tz_convert("UTC").tz_localize(None) for d in days), default=None)
