"""GitHub with state, as far as the house asks it, on a free port of this machine, for tests.

Pulls and their files, comments, labels and events, who may write, workflow runs, dispatches.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from releases import Releases

COMMENTS = re.compile(r"/repos/([^/]+/[^/]+)/issues/(\d+)/comments")
COMMENT = re.compile(r"/repos/([^/]+/[^/]+)/issues/comments/(\d+)")
PULLS = re.compile(r"/repos/([^/]+/[^/]+)/pulls")
DISPATCHES = re.compile(r"/repos/([^/]+/[^/]+)/actions/workflows/([\w.]+)/dispatches")
REPOSITORY = re.compile(r"/repos/([^/]+/[^/]+)")
PULL = re.compile(r"/repos/([^/]+/[^/]+)/pulls/(\d+)")
FILES = re.compile(r"/repos/([^/]+/[^/]+)/pulls/(\d+)/files")
EVENTS = re.compile(r"/repos/([^/]+/[^/]+)/issues/(\d+)/events")
LABELS = re.compile(r"/repos/([^/]+/[^/]+)/issues/(\d+)/labels")
PERMISSION = re.compile(r"/repos/([^/]+/[^/]+)/collaborators/([^/]+)/permission")
RUNS = re.compile(r"/repos/([^/]+/[^/]+)/actions/runs")
RUN = re.compile(r"/repos/([^/]+/[^/]+)/actions/runs/(\d+)")
WORKFLOW_RUNS = re.compile(r"/repos/([^/]+/[^/]+)/actions/workflows/([\w.]+)/runs")
OF_COMMIT = re.compile(r"/repos/([^/]+/[^/]+)/commits/([0-9a-f]+)/pulls")


@dataclass
class Hub:
    """The state: open pull requests, what belongs to each by its number, and what was asked.

    `permissions` is what each user may do (none where it is not there); `refused` maps the begin
    of a path below the repository to the status with which it is answered.
    """

    url: str = ""
    token: str = "may-write"
    pulls: list[dict[str, Any]] = field(default_factory=list)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    dispatched: list[tuple[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    events: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    permissions: dict[str, str] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    private: bool = False
    releases: Releases = field(default_factory=Releases)

    def open(
        self, number: int, branch: str, sha: str, repository: str = "acme/fraud", title: str = "",
        author: str = "ann",
    ) -> None:  # fmt: skip
        """Open a pull request from `branch` of `repository`."""
        owner = repository.partition("/")[0]
        head = {"ref": branch, "sha": sha, "label": f"{owner}:{branch}",
                "repo": {"full_name": repository}}  # fmt: skip
        self.pulls.append({
            "number": number, "state": "open", "title": title, "head": head, "labels": [],
            "user": {"login": author, "type": "User"}, "base": {"ref": "main"},
        })  # fmt: skip
        self.comments[number], self.events[number], self.files[number] = [], [], []

    def pull(self, number: int) -> dict[str, Any]:
        """The pull request; change it as a push or a merge would."""
        return next(p for p in self.pulls if p["number"] == number)

    def merge(self, number: int, sha: str, at: str) -> None:
        """Merge a pull request as a commit, at a time."""
        more = {"state": "closed", "merge_commit_sha": sha, "merged_at": at}
        self.pull(number).update(more)

    def label(self, number: int, name: str, by: str, at: str, kind: str = "User") -> None:
        """`by` (a `User` or a `Bot`) puts a label on at a time such as 2026-01-01T12:00:00Z."""
        self._labelled(number, name, by, at, kind, "labeled")
        kept = [one for one in self.pull(number)["labels"] if one["name"] != name]
        self.pull(number)["labels"] = [*kept, {"name": name}]

    def unlabel(self, number: int, name: str, by: str, at: str) -> None:
        """`by` takes a label off."""
        self._labelled(number, name, by, at, "User", "unlabeled")
        pull = self.pull(number)
        pull["labels"] = [one for one in pull["labels"] if one["name"] != name]

    def _labelled(self, number: int, name: str, by: str, at: str, kind: str, what: str) -> None:
        made = {"id": 5000 + sum(map(len, self.events.values())), "event": what,
                "actor": {"login": by, "type": kind}, "created_at": at,
                "label": {"name": name}}  # fmt: skip
        self.events[number].append(made)

    def began(
        self, sha: str, branch: str, at: str, repository: str = "acme/fraud",
        workflow: str = "train.yml", event: str = "pull_request",
    ) -> int:  # fmt: skip
        """A run of a workflow on a commit began at a time; returns its id."""
        number = 9000 + len(self.runs)
        self.runs.append({
            "id": number, "head_sha": sha, "head_branch": branch, "created_at": at,
            "run_started_at": at, "event": event, "path": f".github/workflows/{workflow}",
            "workflow_id": sum(map(ord, workflow)), "head_repository": {"full_name": repository},
            "pull_requests": [], "html_url": f"{self.url}/runs/{number}",
        })  # fmt: skip
        return number

    def change(self, number: int, *names: str, status: str = "modified") -> None:
        """Name files that a pull request changes."""
        self.files[number] += [{"filename": name, "status": status} for name in names]

    def say(self, number: int, body: str) -> dict[str, Any]:
        """Add a comment; returns it."""
        made = {"id": 1000 + sum(map(len, self.comments.values())), "body": body,
                "html_url": f"{self.url}/{number}"}  # fmt: skip
        self.comments[number].append(made)
        return made

    def answer(self, method: str, target: str, token: str, body: Any) -> tuple[int, Any]:
        """Status and document for one request."""
        parts = urlsplit(target)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        self.asked.append(f"{method} {parts.path}")
        if token != f"Bearer {self.token}" and method != "GET":
            return 403, {"message": "Resource not accessible by integration"}
        below = "/".join(parts.path.split("/")[4:])
        for begin, status in self.refused.items():
            if below.startswith(begin):
                return status, {"message": "Resource not accessible by integration"}
        if match := DISPATCHES.fullmatch(parts.path):
            self.dispatched.append((match[2], body))
            return 204, None
        if PULLS.fullmatch(parts.path) and method == "POST":
            self.open(len(self.pulls) + 1, body["head"], "", title=body["title"])
            return 201, self.pulls[-1]
        if PULLS.fullmatch(parts.path):
            found = [
                p
                for p in self.pulls
                if (p["head"]["label"], p["state"]) == (query.get("head"), query.get("state"))
            ]
            return 200, paged(found, query)
        if match := COMMENTS.fullmatch(parts.path):
            number = int(match[2])
            if method == "POST":
                return 201, self.say(number, body["body"])
            return 200, paged(self.comments[number], query)
        if (match := COMMENT.fullmatch(parts.path)) and method == "PATCH":
            for comment in (c for each in self.comments.values() for c in each):
                if comment["id"] == int(match[2]):
                    comment["body"] = body["body"]
                    return 200, comment
        return self._told(method, parts.path, query, body)

    def _told(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """What is asked about pull requests, labels, people and runs."""
        numbered = {PULL: None, FILES: self.files, EVENTS: self.events}
        for pattern, lists in numbered.items():
            if (match := pattern.fullmatch(path)) and method == "GET":
                number = int(match[2])
                if number not in self.comments:
                    return 404, {"message": "Not Found"}
                return 200, self.pull(number) if lists is None else paged(lists[number], query)
        if match := LABELS.fullmatch(path):
            for name in (body or {}).get("labels", ()) if method == "POST" else ():
                self.label(int(match[2]), name, "ann", "2026-01-01T12:00:00Z")
            return 200, self.pull(int(match[2]))["labels"]
        if match := PERMISSION.fullmatch(path):
            return 200, {"permission": self.permissions.get(unquote(match[2]), "none"),
                         "user": {"login": unquote(match[2])}}  # fmt: skip
        if match := OF_COMMIT.fullmatch(path):
            own = [p for p in self.pulls
                   if match[2] in (p["head"]["sha"], p.get("merge_commit_sha"))]  # fmt: skip
            # A fork's pull request is told for the commit that it was merged as.
            return 200, [p for p in own if p["head"]["repo"]["full_name"] == match[1]
                         or p.get("merge_commit_sha") == match[2]]  # fmt: skip
        if match := RUN.fullmatch(path):
            found = [r for r in self.runs if r["id"] == int(match[2])]
            return (200, found[0]) if found else (404, {"message": "Not Found"})
        if RUNS.fullmatch(path) or WORKFLOW_RUNS.fullmatch(path):
            found = self._runs(path, query)
            return 200, {"total_count": len(found), "workflow_runs": paged(found, query)}
        if match := REPOSITORY.fullmatch(path):
            return 200, {"full_name": match[1], "private": self.private, "default_branch": "main"}
        return 404, {"message": "Not Found"}

    def _runs(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        """Runs, newest first, by the words of the query."""
        match = WORKFLOW_RUNS.fullmatch(path)
        keys = {"head_sha": "head_sha", "branch": "head_branch", "event": "event"}
        return [
            run
            for run in reversed(self.runs)
            if all(run[key] == query[word] for word, key in keys.items() if word in query)
            and (match is None
                 or match[2] in (run["path"].rpartition("/")[2], str(run["workflow_id"])))
        ]  # fmt: skip


def paged(items: list[Any], query: dict[str, str]) -> list[Any]:
    """One page as GitHub cuts it: thirty where nothing is asked."""
    size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
    return items[size * (page - 1) : size * page]


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """A hub that answers at `hub.url` until the block ends."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("Authorization", "")
            status, content = self._released(raw, token) or self._told(raw, token)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _released(self, raw: bytes, token: str) -> tuple[int, bytes] | None:
            parts = urlsplit(self.path)
            query = {k: v[0] for k, v in parse_qs(parts.query).items()}
            writes = token == f"Bearer {hub.token}"
            return hub.releases.answer(self.command, parts.path, query, raw, writes=writes)

        def _told(self, raw: bytes, token: str) -> tuple[int, bytes]:
            body = json.loads(raw) if raw else None
            status, document = hub.answer(self.command, self.path, token, body)
            return status, json.dumps(document).encode()

        do_GET = do_POST = do_PATCH = do_DELETE = _do

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = hub.releases.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
