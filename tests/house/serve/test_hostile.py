"""Hostile callers against the service that was started from the built Bento."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import hostile
import psutil
import pytest
from hostile import CASES, GOOD, TEXT, Answer, Case, post, send

from mainline.serve.client import Client

MEGABYTE = 1024 * 1024


class Running(Protocol):
    """A service that runs."""

    url: str
    process: Any
    folder: Path
    output: str


Launch = Callable[..., AbstractContextManager[Running]]


@pytest.fixture(scope="module")
def target(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for all that is sent here; at its end it must still be the same process."""
    labels = tmp_path_factory.mktemp("labels")
    with launch(MAINLINE_LABELS=str(labels)) as running:
        before = workers(running)
        yield running
        assert workers(running) == before, running.output


@pytest.fixture(scope="module")
def address(target: Running) -> tuple[str, int]:
    """Where it listens."""
    parts = urllib.parse.urlsplit(target.url)
    return str(parts.hostname), int(parts.port or 0)


@pytest.fixture(scope="module")
def exact(target: Running) -> tuple[float, ...]:
    """What a good row's score is before anything hostile was sent."""
    return scores(target)


def scores(target: Running) -> tuple[float, ...]:
    """The scores of the good row."""
    return Client(target.url).predict([GOOD]).predictions[0].scores


def workers(target: Running) -> list[int]:
    """The processes of the service."""
    return sorted(p.pid for p in psutil.Process(target.process.pid).children(recursive=True))


def memory(target: Running) -> int:
    """What all of them hold, in bytes; pages that they share are counted once."""
    family = [psutil.Process(target.process.pid)]
    family += family[0].children(recursive=True)
    return sum(p.memory_full_info().uss for p in family)


def check(answer: Answer, case: Case) -> None:
    """An answer of those that are allowed; a refusal gives its reason and nothing of ours."""
    assert answer.status in case.wanted, (answer.status, answer.body[:300])
    assert "server" not in answer.headers
    assert "x-powered-by" not in answer.headers
    for secret in (b"Traceback", b'File "', b".py", b"uvicorn", b"python", b"httptools"):
        assert secret not in answer.body, answer.body[:300]
    if answer.status >= 400 and not case.sent.startswith(b"HEAD"):
        assert answer.headers["content-type"] == "application/problem+json"
        document = json.loads(answer.body)
        assert document["status"] == answer.status
        assert document["title"]
        assert document["detail"]
        assert document["type"].startswith("urn:mainline:problem:")


def test_there_are_enough_cases() -> None:
    """At least 200, each with a name of its own."""
    names = Counter(case.name for case in CASES)
    assert len(names) >= 200
    assert [n for n, count in names.items() if count > 1] == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_hostile_is_refused_with_its_reason(
    address: tuple[str, int], exact: tuple[float, ...], case: Case
) -> None:
    """No 5xx, no hang, no second answer to what was one request."""
    answers = send(address, case)
    for answer in answers:
        check(answer, case)
    if len(answers) > 1:
        # A request behind another may be answered; one inside it must not be.
        assert all(b"smuggled" not in a.body and a.status != 404 for a in answers)


def test_requests_in_one_go_are_answered_in_their_order(address: tuple[str, int]) -> None:
    """Pipelining: each answer belongs to its own request, a bad one in the middle included."""
    ids = [b"n%d" % i for i in range(20)]
    sent = b"".join(
        post(TEXT if i % 3 else "{", b"x-request-id: " + name) for i, name in enumerate(ids)
    )
    answers = send(address, Case("pipeline", sent, (200, 400)), least=len(ids))
    assert [a.headers["x-request-id"].encode() for a in answers] == ids
    assert [a.status for a in answers] == [200 if i % 3 else 400 for i in range(20)]


def slowly(address: tuple[str, int], parts: list[bytes], pause: float, out: list[Any]) -> None:
    """Send `parts` with pauses until the service closes; what it said and how long it took."""
    began = time.monotonic()
    content = b""
    with socket.create_connection(address, timeout=40) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                connection.settimeout(pause)
                try:
                    got = connection.recv(65536)
                    content += got
                    if not got:
                        break
                except TimeoutError:
                    continue
            else:
                connection.settimeout(40)
                while got := connection.recv(65536):
                    content += got
        except OSError:
            pass
    out.append((time.monotonic() - began, content))


def test_slow_callers_are_cut_off_and_hold_up_nobody(
    target: Running, address: tuple[str, int], exact: tuple[float, ...]
) -> None:
    """A head or a body that drips, one that stops, and a connection that says nothing at all."""
    head = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    body = head + b"content-length: 1000\r\n\r\n"
    kinds: dict[str, tuple[list[bytes], tuple[int, ...]]] = {
        "head drips": ([head, *[b"x-%d: y\r\n" % i for i in range(90)]], (408,)),
        "head stops": ([head], (408,)),
        "body drips": ([body, *[b" "] * 200], (408,)),
        "body stops": ([body + b"{"], (408,)),
        "chunks drip": ([head + b"transfer-encoding: chunked\r\n\r\n", *[b"1\r\n \r\n"] * 200],
                        (408,)),
        "no continue": ([head + b"expect: 100-continue\r\ncontent-length: 9\r\n\r\n"], (408,)),
        "says nothing": ([b""], ()),
        "new lines drip": ([b"\r\n"] * 200, (408, 400)),
    }  # fmt: skip
    out: dict[str, list[Any]] = {name: [] for name in kinds}
    threads = [
        threading.Thread(target=slowly, args=(address, parts, 0.3, out[name]))
        for name, (parts, _) in kinds.items()
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    while any(t.is_alive() for t in threads):
        assert scores(target) == exact  # with 80 of them waiting
        time.sleep(0.2)
    for name, (_, wanted) in kinds.items():
        assert len(out[name]) == 10, name
        for seconds, content in out[name]:
            answers, _ = hostile.parse(content)
            assert seconds < 35, name
            assert [a.status for a in answers] in ([[s] for s in wanted] or [[]]), (name, content)


def test_callers_that_vanish_leave_nothing_behind(
    target: Running, address: tuple[str, int], exact: tuple[float, ...]
) -> None:
    """Resets in the head, in the body, and before the answer."""
    whole = post(TEXT)
    for _ in range(50):
        for size in (0, 10, len(whole) - 20, len(whole)):
            connection = socket.create_connection(address, timeout=10)
            connection.sendall(whole[:size])
            hostile.reset(connection)
    assert scores(target) == exact
    end = time.monotonic() + 20
    while time.monotonic() < end and open_connections(target, address[1]) > 2:
        time.sleep(0.1)
    assert open_connections(target, address[1]) <= 2


def open_connections(target: Running, port: int) -> int:
    """Accepted connections that are still open on the side of the service."""
    found = set()
    for pid in workers(target):
        for c in psutil.Process(pid).net_connections("tcp"):
            if c.status == psutil.CONN_ESTABLISHED and c.laddr.port == port:
                found.add(c.raddr)
    return len(found)


def test_a_caller_that_does_not_read_its_answers_stops_being_read(
    target: Running, address: tuple[str, int], exact: tuple[float, ...]
) -> None:
    """Answers for a caller that only sends must not pile up in memory."""
    before = memory(target)
    with socket.create_connection(address, timeout=2) as connection:
        request = b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n" * 50
        sent = 0
        try:
            for _ in range(20_000):
                sent += connection.send(request)
        except OSError:  # it is not read any more, or it was cut off
            pass
        assert scores(target) == exact
        assert memory(target) - before < 40 * MEGABYTE, sent


def test_memory_does_not_grow(target: Running, address: tuple[str, int]) -> None:
    """All cases over and over: after the first rounds the service holds no more than before."""

    def round_() -> None:
        for case in CASES:
            send(address, case)

    for _ in range(2):
        round_()
    before = memory(target)
    for _ in range(4):
        round_()
    assert memory(target) - before < 8 * MEGABYTE


def test_no_line_of_any_log_was_forged(target: Running, address: tuple[str, int]) -> None:
    """Each line of the prediction log is one record; the service's own output is not flooded."""
    injected = 'r9"\n{"v": 1, "prediction_id": "forged"}\r\n\u2028\u2029\x1b[31mred'
    for header in (b"x-request-id: forged\x1b[31m", b"x-mainline-generation: forged\tx"):
        send(address, Case("forged", post(json.dumps({**GOOD, "id": injected}), header), (200,)))
    time.sleep(1.5)
    lines = [
        line
        for path in (target.folder / "log").rglob("*.jsonl")
        for line in path.read_bytes().split(b"\n")
        if line
    ]
    records = [json.loads(line) for line in lines]
    assert any(r["row"] == injected for r in records)
    assert all(r["prediction_id"] != "forged" for r in records)
    assert not any("forged" in str(r["request_id"]) + str(r["generation"]) for r in records)
    assert "Traceback" not in target.output, target.output[-5000:]
    assert "forged" not in target.output
    assert "smuggled" not in target.output
    assert "\x1b" not in target.output.replace("\x1b[0m", "")


def test_after_all_of_it_a_good_row_has_its_exact_answer(
    target: Running, exact: tuple[float, ...]
) -> None:
    """The same bits as before, ready, and no answer was a fault of the service."""
    assert scores(target) == exact
    with urllib.request.urlopen(target.url + "/readyz", timeout=10) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(target.url + "/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert 'status="500"' not in text
    routes = {line.split('route="')[1].split('"')[0] for line in text.splitlines()
              if line.startswith("mainline_requests_total")}  # fmt: skip
    assert routes <= {"/predict", "/explain", "/feedback", "/healthz", "/readyz", "/version",
                      "/metrics", "/openapi.json", "other"}  # fmt: skip
