"""GitHub's API, as far as the house needs it. Standard library only."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainline.errors import MainlineError, RemoteError, UsageError
from mainline.git import git

PAGE = 100
MOST_PAGES = 50
SECONDS = 30
API = "https://api.github.com"
# Where GitHub takes files; on another forge or in a test that is the API's own machine.
UPLOADS = "https://uploads.github.com/"
ORIGIN = re.compile(r"(?:https://|ssh://git@|git@)github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?")


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
        return cls(_api(environ), repository, token)

    @classmethod
    def near(cls, root: Path, environ: Mapping[str, str]) -> GitHub | None:
        """The repository of the environment, else of the remote `origin`; None where neither is.

        Without GITHUB_TOKEN it can read what anybody may. Raises RemoteError for a bad address.
        """
        repository = environ.get("GITHUB_REPOSITORY", "")
        if not repository:
            found = ORIGIN.fullmatch(git(root, "remote", "get-url", "origin", check=False))
            repository = found[1] if found else ""
        if not repository:
            return None
        return cls(_api(environ), repository, environ.get("GITHUB_TOKEN", ""))

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
        """The JSON answer to one request below the repository, None for an empty one.

        Raises RemoteError.
        """
        content = None if body is None else json.dumps(body).encode("utf-8")
        said = self._send(method, self._below(path), content, "application/json")
        try:
            return json.loads(said.decode("utf-8")) if said else None
        except ValueError as error:
            raise RemoteError(f"GitHub could not be asked ({error})", "Try again") from error

    def private(self) -> bool:
        """Whether only its members see the repository. Raises RemoteError."""
        address = f"{self.api}/repos/{self.repository}"
        return bool(json.loads(self._send("GET", address, None, "").decode("utf-8")).get("private"))

    def dispatch(self, workflow: str, ref: str, inputs: Mapping[str, str]) -> None:
        """Start `workflow` (a file name) as it is on the branch `ref`. Raises RemoteError."""
        body = {"ref": ref, "inputs": dict(inputs)}
        self.call("POST", f"actions/workflows/{self.quoted(workflow)}/dispatches", body)

    def upload(self, address: str, name: str, content: bytes) -> Any:
        """Add a file to a release whose `upload_url` is `address`. Raises RemoteError.

        The token goes to GitHub's own machine for files or to the API's, and nowhere else.
        """
        place = address.partition("{")[0]
        if not place.startswith((UPLOADS, f"{self.api}/")):
            raise RemoteError("The release names a place for its files that is not GitHub's")
        query = urllib.parse.urlencode({"name": name})
        said = self._send("POST", f"{place}?{query}", content, "application/octet-stream")
        return json.loads(said.decode("utf-8"))

    def download(self, asset: int, most: int) -> bytes:
        """The content of an asset of a release, of at most `most` bytes. Raises RemoteError."""
        path = self._below(f"releases/assets/{asset}")
        content = self._send("GET", path, None, "", accept="application/octet-stream", most=most)
        if len(content) > most:
            raise RemoteError(f"The asset {asset} holds more than {most:,} bytes")
        return content

    @staticmethod
    def quoted(text: str) -> str:
        """`text` as one part of a path."""
        return urllib.parse.quote(text, safe="")

    def _below(self, path: str) -> str:
        return f"{self.api}/repos/{self.repository}/{path}"

    def _send(
        self, method: str, address: str, content: bytes | None, kind: str,
        accept: str = "application/vnd.github+json", most: int | None = None,
    ) -> bytes:  # fmt: skip
        """The bytes that one request is answered with, of which at most `most` + 1 are read."""
        request = urllib.request.Request(  # noqa: S310 - `_api` allows http only to this machine
            address, data=content, method=method,
            headers={"Accept": accept, "X-GitHub-Api-Version": "2022-11-28",
                     "User-Agent": "mainline", **({"Content-Type": kind} if kind else {})},
        )  # fmt: skip
        if self.token:
            # A redirection (to where assets are stored) does not get the token.
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        what = f"{method} {address.removeprefix(self._below('')).partition('?')[0]}"
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
                said: bytes = answer.read() if most is None else answer.read(most + 1)
                return said
        except urllib.error.HTTPError as error:
            raise _named(error, what) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise RemoteError(f"GitHub could not be asked ({reason})", "Try again") from error


def _api(environ: Mapping[str, str]) -> str:
    api = environ.get("GITHUB_API_URL") or API
    if not api.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        raise RemoteError("GITHUB_API_URL is not an https address", "Correct or unset it")
    return api.rstrip("/")


def _permission(what: str) -> str:
    """The permission that a request needs, by its path."""
    path = what.partition(" ")[2]
    if path.startswith("actions/"):
        return "actions"
    if "releases" in path:
        return "contents"
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


def write_output(values: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Set outputs of the workflow's step, one line each; outside a workflow nothing happens."""
    path = environ.get("GITHUB_OUTPUT")
    if path:
        with Path(path).open("a", encoding="utf-8") as out:
            out.writelines(f"{key}={value}\n" for key, value in values.items())


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
    number = _open_issue(github, title)
    if number is not None:
        answer = github.call("PATCH", f"issues/{number}", content)
        return Opened(f"Issue #{number} is up to date", answer.get("html_url"))
    answer = github.call("POST", "issues", content)
    return Opened(f"Issue #{answer['number']} was opened", answer.get("html_url"))


def close_issue(title: str, environ: Mapping[str, str]) -> Opened:
    """Close the open issue with this title, where there is one; a refusal is RemoteError."""
    try:
        github = GitHub.of(environ)
    except MainlineError as error:
        return Opened(f"No issue was looked for: {error.cause}")
    number = _open_issue(github, title)
    if number is None:
        return Opened("No issue is open about this")
    github.call("PATCH", f"issues/{number}", {"state": "closed"})
    return Opened(f"Issue #{number} was closed")


def _open_issue(github: GitHub, title: str) -> int | None:
    """The number of the open issue with this title, the oldest where there are several."""
    found = github.get_all("issues", state="open")
    same = [int(i["number"]) for i in found if i.get("title") == title and "pull_request" not in i]
    return min(same, default=None)
