"""GitHub for the workflows: `emulate` behind what it lacks, on free ports of this machine.

From `emulate` come repositories, forks, pull requests, labels and comments with their state, their
pages of thirty and the rights of a GitHub App's token, which is what `GITHUB_TOKEN` is. Added here:
the prefix `/api/v3` and TLS, which CML wants; events and files of a pull request, runs, GitHub's
words for what a collaborator may do, times in whole seconds, merges, dispatches (which are noted
and start nothing), releases with their files, and commits of a real Git repository as heads. A
token without the right for one of these is refused, as it is by `emulate`.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import tools
from releases import Releases

SLUG = "acme/fraud"
# Who is there, and what they may do in GitHub's words; `bob` has a fork.
PEOPLE = {"acme": "admin", "ann": "write", "tim": "triage", "bob": "read"}
# What a job may be given and an App's token cannot carry.
OF_JOBS = {"id-token", "attestations"}
WORDS = {"push": "write", "pull": "read"}
BELOW = rf"/repos/{SLUG}/"
FILES = re.compile(BELOW + r"pulls/(\d+)/files")
EVENTS = re.compile(BELOW + r"issues/(\d+)/events")
RUNS = re.compile(BELOW + r"actions/(?:workflows/train\.yml/)?runs")
DISPATCHES = re.compile(BELOW + r"actions/workflows/([\w.]+)/dispatches")
DEPLOYS = re.compile(BELOW + r"actions/workflows/deploy\.yml/runs")
PULLS = re.compile(BELOW + r"pulls")
PULL = re.compile(BELOW + r"pulls/(\d+)")
OF_COMMIT = re.compile(BELOW + r"commits/([0-9a-f]{40})/pulls")
RUN = re.compile(BELOW + r"actions/runs/(\d+)")
WHEN = re.compile(rb'("\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.\d+Z"')
SIGN = """
const c = require("crypto"), b = x => Buffer.from(JSON.stringify(x)).toString("base64url");
const now = Math.floor(Date.now() / 1000);
const text = b({alg: "RS256", typ: "JWT"}) + "." + b({iss: "15368", iat: now - 5, exp: now + 300});
const key = require("fs").readFileSync(0, "utf8");
console.log(text + "." + c.createSign("RSA-SHA256").update(text).sign(key).toString("base64url"));
"""
MAKE_KEY = """
const {privateKey} = require("crypto").generateKeyPairSync("rsa", {modulusLength: 2048});
console.log(privateKey.export({type: "pkcs1", format: "pem"}));
"""


@dataclass
class Forge:
    """The state that is added, and what a test does to the rest as a person."""

    port: int
    key: str
    url: str = ""
    rights: dict[str, Mapping[str, str]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    forks: set[str] = field(default_factory=set)
    events: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    merges: dict[int, dict[str, Any]] = field(default_factory=dict)
    releases: Releases = field(default_factory=Releases)
    dispatched: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    deploys: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None, who: str = "acme") -> Any:
        """One request to `emulate` as a person; returns the document. Fails on a refusal."""
        status, _, content = self.forward(
            method, path, {"Authorization": f"Bearer token-{who}"},
            None if body is None else json.dumps(body).encode(),
        )  # fmt: skip
        assert status < 400, (method, path, status, content[:300])
        return json.loads(content) if content else None

    def forward(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, dict[str, str], bytes]:
        """Hand a request on to `emulate`: status, headers, content."""
        upstream = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(upstream):
            upstream.request(method, path, body, {"Content-Type": "application/json", **headers})
            answer = upstream.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def token(self, permissions: Mapping[str, str]) -> str:
        """A token with these permissions and no others, as a job's `permissions:` names them."""
        given = {n.replace("-", "_"): r for n, r in permissions.items() if n not in OF_JOBS}
        signed = node(SIGN, self.key)
        status, _, content = self.forward(
            "POST", "/app/installations/1/access_tokens", {"Authorization": f"Bearer {signed}"},
            json.dumps({"permissions": {**given, "metadata": "read"}}).encode(),
        )  # fmt: skip
        assert status == 201, content
        made = str(json.loads(content)["token"])
        self.rights[made] = given
        return made

    def open(self, branch: str, sha: str, repository: str = SLUG) -> int:
        """Open a pull request from `branch`, whose head is at `sha`; returns its number."""
        owner = repository.partition("/")[0]
        if repository != SLUG and repository not in self.forks:
            self.ask("POST", f"/repos/{SLUG}/forks", {}, owner)
            self.forks.add(repository)
        tip = self.ask("GET", f"/repos/{repository}/branches/main", who=owner)["commit"]["sha"]
        self.ask("POST", f"/repos/{repository}/git/refs",
                 {"ref": f"refs/heads/{branch}", "sha": tip}, owner)  # fmt: skip
        content = base64.b64encode(f"{branch} {sha}".encode()).decode()
        self.ask("PUT", f"/repos/{repository}/contents/change.txt",
                 {"message": branch, "content": content, "branch": branch}, owner)  # fmt: skip
        what = {"title": branch, "head": f"{owner}:{branch}", "base": "main"}
        made = self.ask("POST", f"/repos/{SLUG}/pulls", what, owner)
        self.heads[made["head"]["sha"]] = sha
        self.events[made["number"]] = []
        return int(made["number"])

    def push(self, number: int, sha: str) -> None:
        """Let the head of a pull request be another commit."""
        self.heads[self.ask("GET", f"/repos/{SLUG}/pulls/{number}")["head"]["sha"]] = sha

    def label(self, number: int, who: str, name: str = "accept-inconclusive") -> None:
        """Put a label on, as somebody, now."""
        self.ask("POST", f"/repos/{SLUG}/issues/{number}/labels", {"labels": [name]})
        self._event(number, "labeled", who, name)

    def unlabel(self, number: int, who: str, name: str = "accept-inconclusive") -> None:
        """Take a label off, as somebody, now."""
        self.ask("DELETE", f"/repos/{SLUG}/issues/{number}/labels/{name}")
        self._event(number, "unlabeled", who, name)

    def _event(self, number: int, event: str, who: str, name: str) -> None:
        self.events[number].append({
            "id": 100 + sum(map(len, self.events.values())), "event": event, "created_at": now(),
            "actor": {"login": who, "type": "User"}, "label": {"name": name},
        })  # fmt: skip

    def ran(self, branch: str, sha: str, repository: str = SLUG, at: str = "") -> int:
        """Let a run of train.yml for a commit begin (now); returns its id."""
        number = 1 + len(self.runs)
        self.runs.append({
            "id": number, "event": "pull_request", "head_branch": branch, "head_sha": sha,
            "head_repository": {"full_name": repository}, "created_at": at or now(),
            "run_started_at": at or now(), "run_attempt": 1, "path": ".github/workflows/train.yml",
            "conclusion": None,
        })  # fmt: skip
        return number

    def ended(self, run: int, *, well: bool) -> None:
        """Let a run end."""
        self.runs[run - 1]["conclusion"] = "success" if well else "failure"

    def merge(self, number: int, sha: str) -> None:
        """Let a pull request be merged as a commit, now."""
        self.merges[number] = {"merge_commit_sha": sha, "merged_at": now(), "state": "closed"}

    def issues(self) -> list[dict[str, Any]]:
        """The open issues that are no pull requests."""
        found = self.ask("GET", f"/repos/{SLUG}/issues?state=open&per_page=100")
        return [i for i in found if "pull_request" not in i]

    def say(self, number: int, body: str) -> None:
        """Comment as a person."""
        self.ask("POST", f"/repos/{SLUG}/issues/{number}/comments", {"body": body}, "ann")

    def comments(self, number: int) -> list[str]:
        """The bodies of all comments on a pull request."""
        found = self.ask("GET", f"/repos/{SLUG}/issues/{number}/comments?per_page=100")
        return [comment["body"] for comment in found]

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, dict[str, str], bytes]:
        """What is added, else what `emulate` says, made to look as GitHub says it."""
        token = headers.get("Authorization", "").rpartition(" ")[2]
        parts = urlsplit(target.removeprefix("/api/v3"))
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        writes = self.rights.get(token, {}).get("contents") == "write"
        released = self.releases.answer(method, parts.path, query, body or b"", writes=writes)
        if released is not None:
            return released[0], {}, released[1]
        added = self._added(parts.path, parse_qs(parts.query), token) if method == "GET" else (
            self._dispatched(parts.path, body, token)
        )  # fmt: skip
        if added is not None:
            return added[0], {}, json.dumps(added[1]).encode() if added[1] is not None else b""
        if method == "POST" and PULLS.fullmatch(parts.path):
            self._know(json.loads(body or b"{}")["head"])
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        status, given, content = self.forward(method, path, headers, body)
        content = WHEN.sub(rb'\1Z"', content)
        for theirs, ours in self.heads.items():
            content = content.replace(theirs.encode(), ours.encode())
        if parts.path.endswith("/permission") and status == 200:
            found = json.loads(content)
            found["permission"] = WORDS.get(found["permission"], found["permission"])
            content = json.dumps(found).encode()
        if (match := PULL.fullmatch(parts.path)) and int(match[1]) in self.merges:
            content = json.dumps(json.loads(content) | self.merges[int(match[1])]).encode()
        return status, given, content

    def _dispatched(
        self, path: str, body: bytes | None, token: str
    ) -> tuple[int, Any] | None:  # fmt: skip
        """Note a dispatch, which a token without the right for it may not make."""
        match = DISPATCHES.fullmatch(path)
        if match is None:
            return None
        if self.rights.get(token, {}).get("actions") != "write":
            return 403, {"message": "Resource not accessible by integration"}
        self.dispatched.append((match[1], json.loads(body or b"{}")))
        return 204, None

    def _know(self, branch: str) -> None:
        """Let `emulate` know a branch that was pushed to the real repository."""
        path = f"/repos/{SLUG}/git/refs"
        tip = self.ask("GET", f"/repos/{SLUG}/branches/main")["commit"]["sha"]
        status, _, _ = self.forward("GET", f"/repos/{SLUG}/branches/{branch.replace('/', '%2F')}",
                                    {"Authorization": "Bearer token-acme"}, None)  # fmt: skip
        if status != 404:
            return
        self.ask("POST", path, {"ref": f"refs/heads/{branch}", "sha": tip})
        content = base64.b64encode(branch.encode()).decode()
        self.ask("PUT", f"/repos/{SLUG}/contents/reverted.txt",
                 {"message": branch, "content": content, "branch": branch})  # fmt: skip

    def pulls(self) -> list[dict[str, Any]]:
        """The open pull requests."""
        found: list[dict[str, Any]] = self.ask("GET", f"/repos/{SLUG}/pulls?state=open")
        return found

    def _added(
        self, path: str, query: Mapping[str, list[str]], token: str
    ) -> tuple[int, Any] | None:
        if match := EVENTS.fullmatch(path):
            needed, found = "issues", self.events.get(int(match[1]))
        elif match := FILES.fullmatch(path):
            needed, found = "pull_requests", self.files.get(int(match[1]), [])
        elif DEPLOYS.fullmatch(path):
            needed, found = "actions", {"workflow_runs": self.deploys}
        elif RUNS.fullmatch(path):
            chosen = [
                r for r in self.runs if query.get("branch", [None])[0] in (None, r["head_branch"])
            ]
            found, needed = {"total_count": len(chosen), "workflow_runs": chosen}, "actions"
        elif match := RUN.fullmatch(path):
            needed, found = (
                "actions",
                next((r for r in self.runs if r["id"] == int(match[1])), None),
            )
        elif match := OF_COMMIT.fullmatch(path):
            needed, found = (
                "pull_requests",
                [
                    {"number": n} | m
                    for n, m in self.merges.items()
                    if m["merge_commit_sha"] == match[1]
                ],
            )
        else:
            return None
        if needed not in self.rights.get(token, {}):
            return 403, {"message": "Resource not accessible by integration"}
        return (404, {"message": "Not Found"}) if found is None else (200, found)


def now() -> str:
    """This second, as GitHub writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def node(program: str, said: str = "") -> str:
    """What a few lines of JavaScript print."""
    done = subprocess.run([tools.emulate()[0], "-e", program], input=said, check=True, text=True,
                          capture_output=True)  # fmt: skip
    return done.stdout.strip()


@contextlib.contextmanager
def serving(folder: Path, *, private: bool = False) -> Iterator[Forge]:
    """A forge with the repository acme/fraud, until the block ends; `folder` is for its files."""
    key = node(MAKE_KEY)
    seed = folder / "seed.yaml"
    seed.write_text(json.dumps(_seed(key, private)), "utf-8")
    forge = Forge(_free_port(), key)
    with _listening(forge) as forge.url:
        forge.releases.url = forge.url
        command = [*tools.emulate(), "start", "--service", "github", "--port", str(forge.port),
                   "--seed", str(seed), "--base-url", forge.url]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
            try:
                _wait(child, forge.port)
                for person, may in PEOPLE.items():
                    words = {v: k for k, v in WORDS.items()}
                    forge.ask("PUT", f"/repos/{SLUG}/collaborators/{person}",
                              {"permission": words.get(may, may)})  # fmt: skip
                yield forge
            finally:
                child.terminate()


def _seed(key: str, private: bool) -> dict[str, Any]:
    rights = {"contents": "write", "issues": "write", "pull_requests": "write",
              "actions": "write", "metadata": "read"}  # fmt: skip
    place = {"installation_id": 1, "account": "acme", "repository_selection": "all"}
    return {
        "tokens": {f"token-{p}": {"login": p, "scopes": ["repo", "workflow"]} for p in PEOPLE},
        "github": {
            "users": [{"login": p, "email": f"{p}@example.invalid"} for p in PEOPLE],
            "repos": [{"owner": "acme", "name": "fraud", "private": private}],
            "apps": [{"app_id": 15368, "slug": "github-actions", "name": "GitHub Actions",
                      "private_key": key, "permissions": rights, "installations": [place]}],
        },
    }  # fmt: skip


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(child: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert child.poll() is None, f"emulate ended: {child.stderr.read()!r}"  # type: ignore[union-attr]
        time.sleep(0.05)
    raise AssertionError("emulate does not answer")


@contextlib.contextmanager
def _listening(forge: Forge, context: ssl.SSLContext | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            kept = {k: self.headers[k] for k in ("Authorization", "Accept") if self.headers[k]}
            status, headers, content = forge.answer(self.command, self.path, kept, body)
            forge.asked.append((self.command, urlsplit(self.path).path, status))
            self.send_response(status)
            if "link" in headers:
                self.send_header("Link", headers["link"])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _do

        def log_message(self, *_: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{'https://localhost' if context else 'http://127.0.0.1'}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def tls(forge: Forge, folder: Path) -> Iterator[tuple[str, Path]]:
    """The same forge over TLS, as CML wants it: its address and the certificate to trust."""
    certificate, key = folder / "forge.pem", folder / "forge.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with _listening(forge, context) as url:
        yield url, certificate
