"""The client: typed answers, refusals as exceptions, and tries that end."""

from __future__ import annotations

import ast
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mainline.serve import client as module
from mainline.serve.client import Client, Fault, Problem, Unreachable

HOUSE = Path(__file__).parents[3]
ANSWER = {
    "predictions": [{"prediction_id": "p1", "scores": [0.1 + 0.2], "decision": 1}],
    "model": "m", "version": "v1.0.0", "digest": "sha256:0",
}  # fmt: skip
Act = Callable[[socket.socket, bytes], None]


class Server:
    """Answers each connection's requests by a list of acts, one a request."""

    def __init__(self, acts: list[Act]) -> None:
        self.acts = list(acts)
        self.asked: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                while (request := self._read(connection)) and self.acts:
                    self.asked.append(request)
                    self.acts.pop(0)(connection, request)

    def _read(self, connection: socket.socket) -> bytes:
        content = b""
        while b"\r\n\r\n" not in content:
            try:
                got = connection.recv(65536)
            except OSError:
                return b""
            if not got:
                return b""
            content += got
        head, _, body = content.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        while length and len(body) < int(length[1]):
            body += connection.recv(65536)
        return head + b"\r\n\r\n" + body


def says(status: int, document: Any, *headers: str) -> Act:
    """An act that answers."""

    def act(connection: socket.socket, request: bytes) -> None:
        body = json.dumps(document).encode()
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode() + body)

    return act


def resets(connection: socket.socket, request: bytes) -> None:
    """An act that breaks the connection, as a killed worker does."""
    import struct

    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def half(connection: socket.socket, request: bytes) -> None:
    """An act that breaks it in the middle of the answer."""
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
    connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Servers that are closed at the end."""
    made: list[Server] = []

    def start(*acts: Act) -> Server:
        made.append(Server(list(acts)))
        return made[-1]

    yield start
    for one in made:
        one.listener.close()


def quick(url: str, **more: Any) -> tuple[Client, list[float]]:
    """A client that does not wait, and how long it would have."""
    made = Client(url, **more)
    waits: list[float] = []
    made._sleep = waits.append
    return made, waits


def test_answers_are_typed_and_keep_every_bit(serve: Callable[..., Server]) -> None:
    """Predictions, explanation, version and feedback as objects."""
    explained = {"scores": [0.5], "base": [0.25], "contributions": {"a": [0.25]}}
    about = {k: ANSWER[k] for k in ("model", "version", "digest")}
    server = serve(
        says(200, ANSWER), says(200, {"explanation": explained, **about}),
        says(200, {"name": "m", "version": "v1.0.0", "digest": "sha256:0"}),
        says(200, {"accepted": 1}), says(200, {"status": "ready"}),
    )  # fmt: skip
    client = Client(server.url)
    found = client.predict([{"a": 1}])
    assert found.predictions[0].scores == (0.1 + 0.2,)
    assert (found.predictions[0].id, found.predictions[0].decision) == ("p1", 1)
    assert (found.model, found.version, found.digest) == ("m", "v1.0.0", "sha256:0")
    assert f"x-request-id: {found.request_id}".encode() in server.asked[0]
    explanation = client.explain({"a": 1})
    assert explanation.base[0] + explanation.contributions["a"][0] == explanation.scores[0]
    assert client.version().version == "v1.0.0"
    assert client.feedback("p1", 1, source="desk") == {"accepted": 1}
    assert json.loads(server.asked[3].split(b"\r\n\r\n")[1]) == {
        "prediction_id": "p1", "label": 1, "source": "desk",
    }  # fmt: skip
    assert client.ready()
    assert server.connections == 1
    ids = {line for asked in server.asked for line in asked.split(b"\r\n") if b"request-id" in line}
    assert len(ids) == len(server.asked)


def test_a_refusal_is_an_exception_that_names_row_and_field(serve: Callable[..., Server]) -> None:
    """It is not tried again: it would be refused again."""
    fault = {"row": 3, "field": "hour", "reason": "must be at most 23"}
    document = {"type": "urn:mainline:problem:invalid-rows", "title": "Rows break the schema",
                "status": 422, "detail": "row 3", "errors": [fault]}  # fmt: skip
    server = serve(says(422, document))
    client, waits = quick(server.url)
    with pytest.raises(Problem, match="Rows break the schema") as caught:
        client.predict([{}])
    assert (caught.value.status, caught.value.kind) == (422, "invalid-rows")
    assert caught.value.faults == (Fault(3, "hour", "must be at most 23"),)
    assert waits == []


@pytest.mark.parametrize("break_", [resets, half])
def test_a_broken_connection_is_tried_again_with_the_same_id(
    serve: Callable[..., Server], break_: Act
) -> None:
    """A worker that was killed costs the caller nothing but a moment."""
    server = serve(break_, break_, says(200, ANSWER))
    client, waits = quick(server.url)
    found = client.predict([{"a": 1}])
    assert len(waits) == 2
    assert len(server.asked) == 3
    assert all(found.request_id.encode() in asked for asked in server.asked)
    assert 0.1 <= waits[0] <= 0.15
    assert 0.2 <= waits[1] <= 0.3


def test_a_503_is_tried_again_when_the_service_says(serve: Callable[..., Server]) -> None:
    """Retry-After is kept to, with a jitter, and never believed beyond five seconds."""
    busy = {"title": "Too much is waiting"}
    server = serve(says(503, busy, "retry-after: 1"), says(503, busy, "retry-after: 86400"),
                   says(503, busy, "retry-after: x"), says(200, ANSWER))  # fmt: skip
    client, waits = quick(server.url, timeout=60)
    assert client.predict([{"a": 1}]).version == "v1.0.0"
    assert 1 <= waits[0] <= 1.5
    assert 5 <= waits[1] <= 7.5
    assert waits[2] <= 1


def test_tries_end(serve: Callable[..., Server]) -> None:
    """After the fourth 503 it is raised; after the fourth reset the service is unreachable."""
    server = serve(*[says(503, {"title": "Not ready"})] * 5)
    client, _ = quick(server.url)
    with pytest.raises(Problem) as caught:
        client.predict([{"a": 1}])
    assert caught.value.status == 503
    assert len(server.asked) == 4
    server = serve(*[resets] * 5)
    with pytest.raises(Unreachable):
        quick(server.url)[0].predict([{"a": 1}])
    assert len(server.asked) == 4


def test_the_time_limit_holds_over_all_tries(serve: Callable[..., Server]) -> None:
    """A pause that would end after it is not begun; a server that says nothing is given up."""
    server = serve(*[says(503, {"title": "x"}, "retry-after: 5")] * 3)
    client, waits = quick(server.url, timeout=2)
    with pytest.raises(Problem):
        client.predict([{"a": 1}])
    assert waits == []
    silent = serve(lambda connection, request: threading.Event().wait(5))
    with pytest.raises(Unreachable):
        quick(silent.url, timeout=0.2)[0].predict([{"a": 1}])


def test_nothing_listens_and_a_bad_address(serve: Callable[..., Server]) -> None:
    """Unreachable, not ready, or a plain error at once."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    client, _ = quick(f"http://127.0.0.1:{port}")
    assert not client.ready()
    with pytest.raises(Unreachable):
        client.version()
    for url in ("ftp://x", "localhost:3000", ""):
        with pytest.raises(ValueError, match="no http address"):
            Client(url)


def test_the_key_goes_along_and_nan_does_not(serve: Callable[..., Server]) -> None:
    """The bearer header is sent; a number that JSON does not have is refused here."""
    server = serve(says(200, ANSWER))
    client, _ = quick(server.url, key="mlk_1_2")
    with pytest.raises(ValueError, match="JSON"):
        client.predict([{"a": float("nan")}])
    client.predict([{"a": 1}])
    assert b"authorization: Bearer mlk_1_2\r\n" in server.asked[0]
    assert len(server.asked) == 1


def test_an_answer_that_is_no_json_is_a_problem(serve: Callable[..., Server]) -> None:
    """A proxy's page of HTML does not break the caller."""

    def page(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\n\r\n<html>")

    with pytest.raises(Problem) as caught:
        quick(serve(page).url)[0].version()
    assert (caught.value.status, caught.value.title) == (502, "Bad Gateway")


def test_the_file_stands_alone() -> None:
    """It imports the standard library only, so it can be copied to a caller."""
    import sys

    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.partition(".")[0] in sys.stdlib_module_names, name
