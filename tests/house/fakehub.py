"""GitHub's pulls, comments and dispatches with state, on a free port of this machine, for tests."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

COMMENTS = re.compile(r"/repos/([^/]+/[^/]+)/issues/(\d+)/comments")
COMMENT = re.compile(r"/repos/([^/]+/[^/]+)/issues/comments/(\d+)")
PULLS = re.compile(r"/repos/([^/]+/[^/]+)/pulls")
DISPATCHES = re.compile(r"/repos/([^/]+/[^/]+)/actions/workflows/([\w.]+)/dispatches")


@dataclass
class Hub:
    """The state: open pull requests, comments by pull request, and what was asked."""

    url: str = ""
    token: str = "may-write"
    pulls: list[dict[str, Any]] = field(default_factory=list)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    dispatched: list[tuple[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(
        self, number: int, branch: str, sha: str, repository: str = "acme/fraud", title: str = ""
    ) -> None:
        """Open a pull request from `branch` of `repository`."""
        owner = repository.partition("/")[0]
        head = {"ref": branch, "sha": sha, "label": f"{owner}:{branch}",
                "repo": {"full_name": repository}}  # fmt: skip
        self.pulls.append({"number": number, "state": "open", "title": title, "head": head})
        self.comments[number] = []

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
        return 404, {"message": "Not Found"}


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
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            token = self.headers.get("Authorization", "")
            status, document = hub.answer(self.command, self.path, token, body)
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = _do

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
