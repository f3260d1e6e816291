"""The HTTP service, in this process: contract, headers, refusals, log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from mainline.data import schema
from mainline.serve.app import Service
from mainline.serve.batching import Answer
from mainline.serve.inputs import Refused, Row
from mainline.serve.log import PredictionLog
from mainline.serve.reading import read_log
from mainline.serve.records import Shape
from mainline.serve.web import Call, Limits, Route, arm_of

HOUSE = Path(__file__).parents[3]
DIGEST = "sha256:" + "ab" * 32
GOOD: dict[str, Any] = {
    "amount": 12.5, "amount_ratio": 1.0, "merchant_category": "grocery", "channel": "pos",
    "card_type": "debit", "country": "FR", "is_foreign": False, "hour": 3, "tx_count_1h": 0,
    "tx_count_24h": 1, "days_since_last_tx": 2.5, "is_new_device": True,
    "account_age_days": 200, "merchant_risk": 0.1,
}  # fmt: skip


class Fake:
    """Scores a row by its amount; 13 is unlucky."""

    name = "card-fraud"
    digest = DIGEST
    threshold = 0.5

    def __init__(self, golden: float = 0.1) -> None:
        self.golden = [{"row": GOOD, "scores": [golden]}]

    def score(self, rows: Sequence[Row]) -> list[Answer]:
        if any(row["amount"] == 13 for row in rows):
            raise RuntimeError("secret detail")
        return [([0.1], int(row["amount"] > 100)) for row in rows]


def service(log: Path | None = None, golden: float = 0.1, **limits: Any) -> Service:
    """A service around the fake model."""
    rules = schema.load(HOUSE)
    shape = Shape(
        Fake.name, DIGEST, Fake.threshold, tuple(c.name for c in rules.features), rules.row_id,
        rules.entity, "key",
    )  # fmt: skip
    return Service(
        Fake(golden), rules, version="v1.2.3", limits=Limits(**limits),
        log=PredictionLog(str(log) if log else None, shape=shape),
    )  # fmt: skip


def ask(app: Service, method: str, path: str, **more: Any) -> httpx.Response:
    """One request to `app`."""

    async def go() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://shop.example"
        ) as client:
            return await client.request(method, path, **more)

    return run(go())


def run(work: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
    """`work` to its end."""
    return asyncio.run(work)


def test_predict_answers_by_the_contract() -> None:
    """Each row has an id, scores and a decision; the answer says who gave it."""
    app = service()
    answer = ask(app, "POST", "/predict", json={"rows": [GOOD, {**GOOD, "amount": 500}]})
    found = answer.json()
    assert answer.status_code == 200
    assert [(p["scores"], p["decision"]) for p in found["predictions"]] == [([0.1], 0), ([0.1], 1)]
    assert len({p["prediction_id"] for p in found["predictions"]}) == 2
    assert (found["model"], found["version"], found["digest"]) == ("card-fraud", "v1.2.3", DIGEST)
    assert answer.headers["x-model-version"] == "abababababab"


def test_the_paths_beside_predict_answer() -> None:
    """Alive, ready, who, and what was counted; HEAD works, and no answer names the server."""
    app = service()
    assert ask(app, "GET", "/healthz").status_code == 200
    assert ask(app, "GET", "/readyz").status_code == 200
    assert ask(app, "GET", "/version").json() == {
        "name": "card-fraud", "version": "v1.2.3", "digest": DIGEST,
    }  # fmt: skip
    ask(app, "POST", "/predict", json=GOOD)
    ask(app, "GET", "/secret-path")
    text = ask(app, "GET", "/metrics").text
    assert 'mainline_requests_total{arm="stable",route="/predict",status="200"} 1.0' in text
    assert 'route="other",status="404"' in text
    assert "secret-path" not in text
    head = ask(app, "HEAD", "/healthz")
    assert (head.status_code, head.content) == (200, b"")
    assert "server" not in head.headers


def test_not_ready_while_golden_rows_score_otherwise_than_in_training() -> None:
    """A model that answers wrongly is alive and not ready."""
    app = service(golden=0.2)
    assert ask(app, "GET", "/healthz").status_code == 200
    answer = ask(app, "GET", "/readyz")
    assert answer.status_code == 503
    assert "other scores" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"method": "GET", "url": "/predict"}, 405),
        ({"method": "POST", "url": "/healthz"}, 405),
        ({"method": "GET", "url": "/docs"}, 404),
        ({"method": "POST", "url": "/predict", "data": {"a": "b"}}, 415),
        ({"method": "POST", "url": "/predict", "content": b"{}"}, 415),
        ({"method": "POST", "url": "/predict", "content": b"x",
          "headers": {"content-type": "application/json", "content-encoding": "gzip"}}, 415),
        ({"method": "POST", "url": "/predict", "content": b"x" * 2000,
          "headers": {"content-type": "application/json"}}, 413),
        ({"method": "POST", "url": "/predict", "json": {"rows": [GOOD] * 4}}, 413),
        ({"method": "POST", "url": "/predict", "json": {"a": 1}}, 422),
        ({"method": "POST", "url": "/predict", "content": b"{",
          "headers": {"content-type": "application/json; charset=utf-8"}}, 400),
    ],
)  # fmt: skip
def test_each_refusal_is_a_problem_document(request_: dict[str, Any], status: int) -> None:
    """A 4xx with its reason, as application/problem+json, with the headers of every answer."""
    app = service(max_rows=3, max_body_bytes=1900)
    answer = ask(app, request_.pop("method"), request_.pop("url"), **request_)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-model-version"] == "abababababab"
    assert answer.json()["status"] == status


def test_a_body_that_grows_beyond_its_claimed_length_is_cut_off() -> None:
    """Without a Content-Length the limit holds while the body arrives."""

    async def chunks() -> Any:
        for _ in range(1000):
            yield b" " * 1000

    app = service(max_body_bytes=5000)
    headers = {"content-type": "application/json"}
    assert ask(app, "POST", "/predict", content=chunks(), headers=headers).status_code == 413


def test_a_fault_of_ours_is_a_500_without_its_cause() -> None:
    """No stack trace and no message of an exception leaves the service."""
    answer = ask(service(), "POST", "/predict", json={**GOOD, "amount": 13})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_too_much_at_once_is_a_503_with_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told to come back."""
    from mainline.serve.batching import Overloaded

    app = service()

    async def full(rows: Sequence[Row]) -> list[Answer]:
        raise Overloaded

    monkeypatch.setattr(app.batcher, "submit", full)
    answer = ask(app, "POST", "/predict", json=GOOD)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_each_prediction_is_logged_with_who_asked(tmp_path: Path) -> None:
    """Request id, arm and generation come from the headers; personal ids are hashed."""
    app = service(tmp_path)
    row = {**GOOD, "transaction_id": "t-1", "customer_id": 42}
    headers = {"x-request-id": "req-1", "x-mainline-arm": "canary", "x-mainline-generation": "g7"}
    answer = ask(app, "POST", "/predict", json={"rows": [row, GOOD]}, headers=headers)
    app.close()
    frame = read_log(tmp_path)
    wanted = [p["prediction_id"] for p in answer.json()["predictions"]]
    assert sorted(frame["prediction_id"]) == sorted(wanted)
    first = frame[frame["row"] == "t-1"].iloc[0]
    assert (first["request_id"], first["arm"], first["generation"]) == ("req-1", "canary", "g7")
    assert (first["digest"], first["model"], first["status"]) == (DIGEST, "card-fraud", 200)
    assert first["amount"] == 12.5
    assert first["entity"] not in (None, "42")
    assert frame["row"].isna().sum() == 1
    assert "transaction_id" not in frame
    assert answer.headers["x-request-id"] == "req-1"


def test_a_refused_request_is_not_logged(tmp_path: Path) -> None:
    """The log holds predictions, not attempts."""
    app = service(tmp_path)
    ask(app, "POST", "/predict", json={"rows": [{}]})
    app.close()
    assert read_log(tmp_path).empty


def test_a_forged_request_id_is_replaced() -> None:
    """Spaces, controls and long texts do not reach the log or the answer."""
    answer = ask(service(), "GET", "/healthz", headers={"x-request-id": "a b" + "c" * 200})
    assert len(answer.headers["x-request-id"]) == 36


@pytest.mark.parametrize(
    ("headers", "arm"),
    [
        ({}, "stable"),
        ({b"x-mainline-arm": b"canary"}, "canary"),
        ({b"x-mainline-arm": b"evil"}, "stable"),
        ({b"host": b"shop.example-shadow", b"x-mainline-arm": b"canary"}, "shadow"),
        ({b"host": b"shop.example-shadow:8080"}, "shadow"),
        ({b"host": b"shop.example:8080-shadow"}, "shadow"),
        ({b"host": b"shop.example:8080"}, "stable"),
    ],
)
def test_the_arm_is_the_header_or_the_mark_of_a_mirror(
    headers: dict[bytes, bytes], arm: str
) -> None:
    """Envoy marks a mirrored request by the suffix of its host alone."""
    assert arm_of(headers) == arm


def test_more_requests_at_once_than_allowed_are_told_to_come_back() -> None:
    """The one beyond the limit is a 503 with Retry-After; the service stays alive and recovers."""
    app = service(max_requests=2)

    async def go() -> list[httpx.Response]:
        gate = asyncio.Event()

        async def slow() -> Any:
            await gate.wait()
            yield json.dumps(GOOD).encode()

        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://shop.example"
        ) as client:
            kind = {"content-type": "application/json"}
            waiting = [
                asyncio.ensure_future(client.post("/predict", content=slow(), headers=kind))
                for _ in range(2)
            ]
            while app.active < 2:
                await asyncio.sleep(0.001)
            found = [await client.post("/predict", json=GOOD), await client.get("/healthz")]
            gate.set()
            return [
                *found,
                *await asyncio.gather(*waiting),
                await client.post("/predict", json=GOOD),
            ]

    answers = asyncio.run(go())
    assert [a.status_code for a in answers] == [503, 200, 200, 200, 200]
    assert answers[0].headers["retry-after"] == "1"
    assert app.active == 0


def test_a_body_that_does_not_end_is_cut_off() -> None:
    """After serve.timeout_seconds a slow sender gets a 408 and its connection is closed."""

    async def drops() -> Any:
        yield b"{"
        await asyncio.sleep(30)

    app = service(timeout_seconds=0.05)
    headers = {"content-type": "application/json"}
    answer = ask(app, "POST", "/predict", content=drops(), headers=headers)
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")
    assert app.active == 0


def test_a_model_that_takes_too_long_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    """After serve.timeout_seconds the caller is told to come back."""
    app = service(timeout_seconds=0.05)

    async def never(rows: Sequence[Row]) -> list[Answer]:
        await asyncio.sleep(30)
        return []

    monkeypatch.setattr(app.batcher, "submit", never)
    answer = ask(app, "POST", "/predict", json=GOOD)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"].endswith(":timeout")


def test_a_guard_stands_before_the_body(tmp_path: Path) -> None:
    """Who may not ask is refused before a byte of the body is read; open routes stay open."""
    app = service()

    def guard(route: Route, call: Call) -> None:
        if route.group == "predict" and call.headers.get(b"authorization") != b"Bearer k":
            raise Refused(401, "key", "No key", "Send one", headers=((b"www-authenticate", b"B"),))

    app.guard = guard
    answer = ask(app, "POST", "/predict", content=b"x" * 2_000_000)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "B")
    assert ask(app, "GET", "/healthz").status_code == 200
    good = ask(app, "POST", "/predict", json=GOOD, headers={"authorization": "Bearer k"})
    assert good.status_code == 200


def test_a_path_is_added_once() -> None:
    """Another part may bring a path and never replace one; it is counted under its own name."""
    app = service()

    async def echo(content: bytes, call: Call) -> bytes:
        return content

    app.add("/echo", Route("POST", echo))
    assert ask(app, "POST", "/echo", json=[1]).json() == [1]
    assert 'route="/echo"' in ask(app, "GET", "/metrics").text
    with pytest.raises(ValueError, match="taken"):
        app.add("/predict", Route("POST", echo))


def test_rows_beyond_a_soft_limit_show_in_the_metrics() -> None:
    """They are answered, and counted without a label."""
    app = service()
    assert ask(app, "POST", "/predict", json={**GOOD, "amount": 50_000}).status_code == 200
    assert "mainline_soft_limit_rows_total 1.0" in ask(app, "GET", "/metrics").text


def test_an_answer_is_json_that_keeps_every_bit() -> None:
    """Scores are written so that they read back as the same float."""
    answer = ask(service(), "POST", "/predict", json=GOOD)
    assert json.loads(answer.content)["predictions"][0]["scores"] == [0.1]
