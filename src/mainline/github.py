"""GitHub's API, as far as the house needs it. Standard library only."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mainline.errors import MainlineError, RemoteError, UsageError

PAGE = 100
MOST_PAGES = 50
SECONDS = 30


@dataclass(frozen=True)
class GitHub:
    """One repository (`owner/name`) at an API address, with a token."""

    api: str
    repository: str
    token: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> GitHub:
        """The repository of a workflow's environment.

        Raises UsageError outside a workflow, RemoteError where there is no token.
        """
        repository = environ.get("GITHUB_REPOSITORY", "")
        if not repository:
            raise UsageError(
                "GITHUB_REPOSITORY is not set, so there is no pull request to post to",
                "Run this in a workflow, or read reports/report.md",
            )
        token = environ.get("GITHUB_TOKEN", "")
        if not token:
            raise RemoteError("GITHUB_TOKEN is not set", "Give it to this step through `env:`")
        api = environ.get("GITHUB_API_URL") or "https://api.github.com"
        if not api.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise RemoteError("GITHUB_API_URL is not an https address", "Correct or unset it")
        return cls(api.rstrip("/"), repository, token)

    def get_all(self, path: str, **query: str) -> list[dict[str, Any]]:
        """All pages of the list at `path` (below the repository). Raises RemoteError."""
        found: list[dict[str, Any]] = []
        for page in range(1, MOST_PAGES + 1):
            words = urllib.parse.urlencode({**query, "per_page": PAGE, "page": page})
            answer = self.call("GET", f"{path}?{words}")
            # Some lists come bare, others under a key beside their count.
            items = answer.get("workflow_runs") if isinstance(answer, dict) else answer
            if not isinstance(items, list):
                raise RemoteError(f"GitHub answered no list to GET {path}", "Try again")
            found += items
            if len(items) < PAGE:
                break
        return found

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer to one request below the repository. Raises RemoteError."""
        request = urllib.request.Request(  # noqa: S310 - `of` allows http only to this machine
            f"{self.api}/repos/{self.repository}/{path}",
            data=None if body is None else json.dumps(body).encode("utf-8"),
            method=method,
            headers={
                "Authorization": f"Bearer {self.token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
                "Content-Type": "application/json",
                "User-Agent": "mainline",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
                return json.loads(answer.read().decode("utf-8"))
        except urllib.error.HTTPError as error:
            raise _named(error, f"{method} {path.partition('?')[0]}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise RemoteError(f"GitHub could not be asked ({reason})", "Try again") from error


def _permission(what: str) -> str:
    """The permission that a request needs, by its path."""
    path = what.partition(" ")[2]
    if path.startswith("actions/"):
        return "actions"
    return "issues" if path.endswith("/events") else "pull-requests"


def _named(error: urllib.error.HTTPError, what: str) -> MainlineError:
    with error:
        try:
            said = json.loads(error.read().decode("utf-8")).get("message", "")
        except (ValueError, AttributeError, OSError):
            said = ""
    cause = f"GitHub answered {error.code} to {what}" + (f" ({said})" if said else "")
    if error.code in (401, 403):
        kind = "write" if not what.startswith("GET ") else "read"
        return RemoteError(cause, f"Give the job `permissions: {_permission(what)}: {kind}`")
    if error.code == 404:
        return RemoteError(cause, "Check that the token may see this repository")
    return RemoteError(cause, "Try again")


@dataclass(frozen=True)
class Opened:
    """One sentence for people, and the address where there is one."""

    note: str
    url: str | None = None


def open_issue(title: str, body: str, environ: Mapping[str, str]) -> Opened:
    """Open the issue, or bring the open one with the same title up to date.

    Without a repository or a token that is said and is no error; a refusal is RemoteError.
    """
    try:
        github = GitHub.of(environ)
    except MainlineError as error:
        return Opened(f"No issue was opened: {error.cause}")
    content = {"title": title, "body": body}
    same = [
        i
        for i in github.get_all("issues", state="open")
        if i.get("title") == title and "pull_request" not in i
    ]
    if same:
        number = int(same[0]["number"])
        answer = github.call("PATCH", f"issues/{number}", content)
        return Opened(f"Issue #{number} is up to date", answer.get("html_url"))
    answer = github.call("POST", "issues", content)
    return Opened(f"Issue #{answer['number']} was opened", answer.get("html_url"))
