"""What should run beside what does: missing parts are said and are no errors."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import vouched
from small import git

from mainline import status
from mainline.rollout import rollout


@pytest.fixture
def answering() -> Iterator[str]:
    """The address of a service that says it is v1.0.0."""

    class Says(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"version": "v1.0.0", "digest": "sha256:" + "a" * 64}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Says)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def tag(root: Path, name: str, message: str) -> None:
    """An annotated tag on HEAD."""
    git(root, "tag", "--annotate", "--message", message, name)


def test_nothing_is_an_answer(repository: Path) -> None:
    """Without versions, service or monitor each is said to be missing, and nothing fails."""
    found = status.status(repository)
    assert found["should_run"] is None and found["does_run"] is None
    assert "no version is at prod" in found["text"]
    assert "not looked yet" in found["text"]


def test_what_runs_is_held_against_the_tag(
    repository: Path, answering: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service with another digest than the version at prod is called out; the same one agrees."""
    monkeypatch.setattr(rollout, "status", lambda root: {"url": answering, "status": "promoted"})
    tag(repository, "card-fraud@v1.0.0", f"v\n\nModel-Digest: sha256:{'b' * 64}")
    tag(repository, "card-fraud#prod#1", "to prod")
    found = status.status(repository)
    assert not found["agree"]
    assert "What runs is not what should run." in found["text"]
    git(repository, "tag", "--delete", "card-fraud@v1.0.0")
    tag(repository, "card-fraud@v1.0.0", f"v\n\nModel-Digest: sha256:{'a' * 64}")
    assert status.status(repository)["agree"]


@pytest.mark.parametrize(
    ("now", "line"),
    [({"status": "running", "stage": "canary-5", "weight": 5}, "running, canary-5 at 5%"),
     ({"status": "running"}, "running, in no stage yet"),
     ({"status": "promoted", "stage": "promote", "weight": 0}, "promoted, v2 has all traffic"),
     ({"status": "settled", "stage": "promote", "weight": 0}, "settled, v2 has all traffic"),
     ({"status": "rolled-back", "stage": "canary-5"}, "rolled-back, v2 has all traffic"),
     ({"status": "settled", "up": False}, "settled"),
     ({"status": "settled", "stable": {"version": "v2", "digest": "sha256:b", "port": 0}},
      "settled")],
)  # fmt: skip
def test_who_has_the_traffic_is_said(now: dict[str, object], line: str) -> None:
    """A share only while two versions serve; what is promoted has it all, if anything runs."""
    stable = {"version": "v2", "digest": "sha256:b", "port": 9000}
    rollout = {"up": True, "stable": stable, "stage": None, **now}
    assert f"{rollout['status']}{status._traffic(rollout)}" == line


def test_who_vouches_for_production_is_said(repository: Path) -> None:
    """UNSIGNED aloud, or the key that the tag names; and what would be refused is said to be."""
    vouched.version(repository)
    tag(repository, "card-fraud#prod#1", "to prod")
    found = status.status(repository)
    assert found["should_run"]["signed_by"] == "none"
    assert "signed      UNSIGNED" in found["text"] and "refused" not in found["text"]
    private, public = vouched.pair()
    vouched.trust_keys(repository, public, unsigned="refuse")
    assert (
        "refused     card-fraud@v1.0.0 is refused: It is UNSIGNED"
        in (status.status(repository)["text"])
    )
    vouched.version(repository, "v1.0.1", pem=private)
    tag(repository, "card-fraud#prod#2", "to prod")
    text = status.status(repository)["text"]
    assert "signed      by the key " in text and "UNSIGNED" not in text
