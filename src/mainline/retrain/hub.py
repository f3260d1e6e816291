"""GitHub's side of retraining: one pull request, kept up to date in place."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

import pandas as pd

from mainline.errors import MainlineError, RemoteError
from mainline.github import SECONDS, GitHub, Opened
from mainline.retrain.pull_request import Text

WORKFLOW = "train.yml"


def open_pull_request(
    branch: str, base: str, text: Text, moved: bool, environ: Mapping[str, str]
) -> Opened:
    """Open the pull request of `branch`, or bring the open one up to date, and have it trained.

    A push with a workflow's own token starts no workflow, so `train.yml` is dispatched. Without a
    repository or a token that is said in one line and is no error; a refusal is RemoteError.
    """
    try:
        github = GitHub.of(environ)
    except MainlineError as error:
        return Opened(f"No pull request was opened: {error.cause}")
    owner = github.repository.split("/")[0]
    listed = github.get_all("pulls", state="open", head=f"{owner}:{branch}", base=base)
    content = {"title": text.title, "body": text.body}
    if listed:
        number = int(listed[0]["number"])
        answer = github.call("PATCH", f"pulls/{number}", content)
        note = f"Pull request #{number} is up to date"
    else:
        answer = _create(github, {**content, "head": branch, "base": base})
        number = int(answer["number"])
        note = f"Pull request #{number} was opened"
    if moved or not listed:
        note += _dispatch(github, branch, number)
    return Opened(note, answer.get("html_url"))


def _create(github: GitHub, content: Mapping[str, Any]) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = github.call("POST", "pulls", content)
        return answer
    except RemoteError as error:
        raise RemoteError(
            error.cause,
            "Allow GitHub Actions to create pull requests (Settings, Actions, General)",
        ) from error


def _dispatch(github: GitHub, branch: str, number: int) -> str:
    """Start the workflow on the branch; says so, or why not."""
    request = urllib.request.Request(  # noqa: S310 - GitHub.of allows http only to this machine
        f"{github.api}/repos/{github.repository}/actions/workflows/{WORKFLOW}/dispatches",
        data=json.dumps({"ref": branch, "inputs": {"pr": str(number)}}).encode("utf-8"),
        method="POST",
        headers={
            "Authorization": f"Bearer {github.token}",
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
            "User-Agent": "mainline",
        },
    )
    try:
        # Its answer has no body.
        urllib.request.urlopen(request, timeout=SECONDS).close()  # noqa: S310
    except OSError as error:
        return f"; {WORKFLOW} could not be started ({error}), start it by hand"
    return f"; {WORKFLOW} was started on it"


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
