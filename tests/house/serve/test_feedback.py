"""Feedback: what is refused, what is written, and what comes twice, late or in contradiction."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pandas as pd
import pytest

from mainline.data import schema
from mainline.serve import feedback
from mainline.serve import known_labels as monitored
from mainline.serve.app import Service
from mainline.serve.batching import Answer
from mainline.serve.feedback import Feedback
from mainline.serve.ids import timestamp, uuid7
from mainline.serve.inputs import Refused, Row
from mainline.serve.labels import Rules, label_of, made, parse
from mainline.serve.log import PredictionLog
from mainline.serve.records import Shape
from mainline.serve.web import Limits

DIGEST = "sha256:" + "ab" * 32
HOUSE = Path(__file__).parents[3]
META = {"task": "binary", "classes": ["0", "1"]}
NOW = datetime.now(UTC)
RULES = Rules(("0", "1"), maturity_days=30, max_labels=5)


GOOD: dict[str, Any] = {
    "amount": 12.5, "amount_ratio": 1.0, "merchant_category": "grocery", "channel": "pos",
    "card_type": "debit", "country": "FR", "is_foreign": False, "hour": 3, "tx_count_1h": 0,
    "tx_count_24h": 1, "days_since_last_tx": 2.5, "is_new_device": True,
    "account_age_days": 200, "merchant_risk": 0.1,
}  # fmt: skip


class Fake:
    """A model that says 0.1."""

    name = "card-fraud"
    digest = DIGEST
    threshold = 0.5
    golden: ClassVar[list[dict[str, Any]]] = [{"row": GOOD, "scores": [0.1]}]

    def score(self, rows: Sequence[Row]) -> list[Answer]:
        return [([0.1], 0) for _ in rows]


def ask(app: Service, method: str, path: str, **more: Any) -> httpx.Response:
    """One request to `app`."""

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.request(method, path, **more)

    return asyncio.run(go())


def service(folder: Path | None, log: bool = True, **limits: Any) -> Service:
    """A service around the fake model that takes feedback."""
    place = str(folder / "labels") if folder else None
    shape = Shape(Fake.name, DIGEST, 0.5, ("amount",))
    made = Service(
        Fake(), schema.load(HOUSE), version="v1.0.0", limits=Limits(**limits),
        log=PredictionLog(
            str(folder / "log") if folder and log else None, labels=place, shape=shape
        ),
    )  # fmt: skip
    feedback.add(made, META, maturity_days=30)
    return made


def tell(app: Service, *labels: dict[str, Any]) -> httpx.Response:
    """Post labels."""
    return ask(app, "POST", "/feedback", json={"labels": list(labels)})


def predicted(app: Service) -> str:
    """The id of a prediction."""
    answer = ask(app, "POST", "/predict", json=GOOD)
    return str(answer.json()["predictions"][0]["prediction_id"])


def written(app: Service, folder: Path) -> list[dict[str, Any]]:
    """The lines of labels, after the service has ended."""
    app.close()
    lines = [p.read_bytes().splitlines() for p in sorted((folder / "labels").rglob("*.jsonl"))]
    return [json.loads(line) for file in lines for line in file]


def metric(app: Service, **labels: str) -> float:
    """The sum of the labels of feedback that the metrics count, with these labels."""
    found = 0.0
    for line in ask(app, "GET", "/metrics").text.splitlines():
        wanted = all(f'{k}="{v}"' in line for k, v in labels.items())
        if wanted and line.startswith("mainline_feedback_labels_total{"):
            found += float(line.rsplit(" ", 1)[1])
    return found


def test_one_label_is_written_in_the_form_of_the_monitor(tmp_path: Path) -> None:
    """prediction_id, label, known_at (now, where it does not say), source."""
    app = service(tmp_path)
    name = predicted(app)
    answer = ask(app, "POST", "/feedback", json={"prediction_id": name.upper(), "label": 1})
    assert answer.status_code == 200
    assert answer.json() == {
        "accepted": 1, "duplicates": 0, "contradictions": 0, "unverified": 0, "late": 0
    }  # fmt: skip
    (line,) = written(app, tmp_path)
    assert line == {"prediction_id": name, "label": 1, "known_at": line["known_at"],
                    "source": "feedback"}  # fmt: skip
    known = datetime.fromisoformat(line["known_at"])
    assert abs(known - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_same_twice_is_written_once_and_counted(tmp_path: Path) -> None:
    """A client that tries again after a lost answer changes nothing."""
    app = service(tmp_path)
    name = predicted(app)
    label = {"prediction_id": name, "label": 1}
    assert tell(app, label, label).json()["duplicates"] == 1
    assert tell(app, label).json()["duplicates"] == 1
    at = {**label, "known_at": timestamp(datetime.now(UTC) - timedelta(minutes=1))}
    assert tell(app, at).json()["accepted"] == 1  # says when it became known: that is news
    assert tell(app, at).json()["duplicates"] == 1
    assert (metric(app, outcome="duplicate"), metric(app, outcome="accepted")) == (3, 2)
    assert len(written(app, tmp_path)) == 2


def test_of_a_contradiction_the_last_known_wins_and_it_is_counted(tmp_path: Path) -> None:
    """Both are written; the monitor reads the one that became known last, whichever came last."""
    app = service(tmp_path)
    name = predicted(app)
    early, late = (timestamp(datetime.now(UTC) - timedelta(minutes=m)) for m in (9, 1))
    tell(app, {"prediction_id": name, "label": 1, "known_at": late})
    answer = tell(app, {"prediction_id": name, "label": 0, "known_at": early})
    assert answer.json()["contradictions"] == answer.json()["accepted"] == 1
    for label, at in ((1, late), (0, early), (1, late)):
        again = tell(app, {"prediction_id": name, "label": label, "known_at": at})
        assert (again.json()["duplicates"], again.json()["accepted"]) == (1, 0)
    assert metric(app, outcome="contradiction", id="known") == 1
    assert len(written(app, tmp_path)) == 2
    labels = monitored.at_address(str(tmp_path / "labels"))
    known = monitored.known_by(labels, pd.Timestamp.now())
    assert known["label"].tolist() == [1]


def test_late_and_unknown_are_taken_and_counted(tmp_path: Path) -> None:
    """Another worker may have made it; and what is late is still true."""
    app = service(tmp_path)
    ms = int((datetime.now(UTC) - timedelta(days=40)).timestamp() * 1000)
    old = f"{ms:012x}"
    old = f"{old[:8]}-{old[8:]}-7000-8000-000000000000"
    assert abs(made(old) - (datetime.now(UTC) - timedelta(days=40))) < timedelta(minutes=1)
    answer = tell(app, {"prediction_id": old, "label": 0}, {"prediction_id": uuid7(), "label": 0})
    assert {k: answer.json()[k] for k in ("accepted", "unverified", "late")} == {
        "accepted": 2, "unverified": 2, "late": 1
    }  # fmt: skip
    assert metric(app, id="unknown", time="late") == 1
    assert metric(app, id="unknown", time="in_time") == 1
    assert len(written(app, tmp_path)) == 2


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"label": 1}, "prediction_id"),
        ({"prediction_id": 7, "label": 1}, "prediction_id"),
        ({"prediction_id": "x", "label": 1}, "prediction_id"),
        ({"prediction_id": "01a1fd92-0000-4000-8000-000000000000", "label": 1}, "prediction_id"),
        ({"prediction_id": "01a1fd92-0000-7000-8000-00000000000\n", "label": 1}, "prediction_id"),
        ({"prediction_id": "ffffffff-ffff-7fff-8fff-ffffffffffff", "label": 1}, "prediction_id"),
        ({"prediction_id": "ID"}, "label"),
        ({"prediction_id": "ID", "label": None}, "label"),
        ({"prediction_id": "ID", "label": 2}, "label"),
        ({"prediction_id": "ID", "label": True}, "label"),
        ({"prediction_id": "ID", "label": [1]}, "label"),
        ({"prediction_id": "ID", "label": {"1": 1}}, "label"),
        ({"prediction_id": "ID", "label": "1\n"}, "label"),
        ({"prediction_id": "ID", "label": 10**400}, "label"),
        ({"prediction_id": "ID", "label": 1, "known_at": 5}, "known_at"),
        ({"prediction_id": "ID", "label": 1, "known_at": "tomorrow"}, "known_at"),
        ({"prediction_id": "ID", "label": 1, "known_at": "9999-01-01"}, "known_at"),
        ({"prediction_id": "ID", "label": 1, "known_at": "0001-01-01T00:00+23:59"}, "known_at"),
        ({"prediction_id": "ID", "label": 1, "known_at": "1969-12-31"}, "known_at"),
        ({"prediction_id": "ID", "label": 1, "source": 5}, "source"),
        ({"prediction_id": "ID", "label": 1, "source": "x" * 201}, "source"),
        ({"prediction_id": "ID", "label": 1, "more": 1}, "more"),
        (5, None),
    ],
)
def test_a_label_that_breaks_a_rule_is_refused_with_its_field(item: Any, field: str | None) -> None:
    """422 names label and field, and never repeats a value; nothing of the request is taken."""
    name = uuid7()
    if isinstance(item, dict) and item.get("prediction_id") == "ID":
        item = {**item, "prediction_id": name}
    good = {"prediction_id": name, "label": 1}
    with pytest.raises(Refused) as caught:
        parse(json.dumps({"labels": [good, item]}).encode(), RULES, datetime.now(UTC))
    assert caught.value.http == 422
    assert (caught.value.errors[0]["row"], caught.value.errors[0]["field"]) == (1, field)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b"null", 400), (b'{"labels": []}', 400),
        (b'{"labels": {}}', 400), (b'{"labels": [1], "x": 1}', 400), (b'{"labels": "x"}', 400),
        (b'{"label": NaN}', 400), (b"\xff", 400), (b'{"labels": [1,1,1,1,1,1]}', 413), (b"{}", 422),
    ],
)  # fmt: skip
def test_a_body_that_holds_no_labels_is_refused(body: bytes, status: int) -> None:
    """400 for what is no such JSON, 413 for too many at once."""
    with pytest.raises(Refused) as caught:
        parse(body, RULES, NOW)
    assert caught.value.http == status


@pytest.mark.parametrize(
    ("value", "classes", "wanted"),
    [
        (1, ("0", "1"), 1), (1.0, ("0", "1"), 1), ("1", ("0", "1"), 1),
        (True, ("false", "true"), "true"),
        ("grün", ("grün", "rot"), "grün"), ("007", ("007", "x"), "007"), (7, ("007", "x"), None),
        (2.5, ("1.5", "2.5"), "2.5"), (2.5, None, 2.5), (-3, None, -3), (True, None, None),
        ("3", None, None), (2**60, None, None),
    ],
)  # fmt: skip
def test_a_label_is_a_class_by_its_name_or_a_finite_number(
    value: Any, classes: tuple[str, ...] | None, wanted: Any
) -> None:
    """A caller may send a class as it stands in the table; what is written is one form of it."""
    found, fault = label_of(value, classes)
    assert (fault is None) == (wanted is not None)
    if wanted is not None:
        assert (found, type(found)) == (wanted, type(wanted))


def test_without_a_place_for_labels_there_is_no_such_path(tmp_path: Path) -> None:
    """No 5xx for a setting, which would count against the version that answers: 404."""
    assert ask(service(None), "POST", "/feedback", json={}).status_code == 404


def test_a_place_that_is_one_file_takes_no_feedback(tmp_path: Path) -> None:
    """The monitor can read it and nobody can add to it: better no path than labels that vanish."""
    (tmp_path / "labels").write_text("")
    assert ask(service(tmp_path), "POST", "/feedback", json={}).status_code == 404


def test_feedback_is_taken_where_predictions_are_not_logged(tmp_path: Path) -> None:
    """The two places are set one by one; ids that were given out are known all the same."""
    app = service(tmp_path, log=False)
    name = predicted(app)
    assert tell(app, {"prediction_id": name, "label": 0}).json()["unverified"] == 0
    assert len(written(app, tmp_path)) == 1
    assert not (tmp_path / "log").exists()


def test_labels_that_cannot_be_kept_are_refused_so_that_they_are_sent_again(tmp_path: Path) -> None:
    """503 with Retry-After, and the same label later is no duplicate."""
    app = service(tmp_path)
    label = {"prediction_id": uuid7(), "label": 1}
    take, app.log.label = app.log.label, lambda records: False  # type: ignore[method-assign]
    answer = tell(app, label)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    app.log.label = take  # type: ignore[method-assign]
    assert tell(app, label).json()["accepted"] == 1
    assert len(written(app, tmp_path)) == 1


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither ids nor labels grow with the number of requests."""
    monkeypatch.setattr(feedback, "REMEMBERED", 10)
    app = service(tmp_path, max_rows=50)
    handler = app.routes["/feedback"].handle
    assert isinstance(handler, Feedback)
    for _ in range(4):
        tell(app, *({"prediction_id": uuid7(), "label": 1} for _ in range(25)))
    assert len(handler._before) == 10
    recent = app.log.recent
    for _ in range(100):
        recent.add([uuid7() for _ in range(1000)])
    assert len(recent._now) + len(recent._before) <= 40_000
    app.close()


def test_text_in_a_label_forges_no_line(tmp_path: Path) -> None:
    """A source with line ends in it is one value of one line."""
    app = service(tmp_path)
    forged = 'x"}\n{"prediction_id": "y", "label": 1}\r\n\u2028'
    tell(app, {"prediction_id": uuid7(), "label": 1, "source": forged})
    (line,) = written(app, tmp_path)
    assert line["source"] == forged


def test_a_torn_line_of_labels_costs_itself_only(tmp_path: Path) -> None:
    """A writer that lost power does not blind the monitor."""
    app = service(tmp_path)
    tell(app, *({"prediction_id": uuid7(), "label": i % 2} for i in range(4)))
    written(app, tmp_path)
    (path,) = (tmp_path / "labels").rglob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-20])
    labels = monitored.at_address(str(tmp_path / "labels"))
    assert (len(labels), labels.attrs["skipped"]) == (3, 1)


def test_many_at_once_are_each_taken_once(tmp_path: Path) -> None:
    """Concurrent requests with the same labels write each label once."""
    app = service(tmp_path)
    labels = [{"prediction_id": uuid7(), "label": 1} for _ in range(20)]

    async def go() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            await asyncio.gather(
                *(client.post("/feedback", json={"labels": labels}) for _ in range(10))
            )

    asyncio.run(go())
    assert (metric(app, outcome="accepted"), metric(app, outcome="duplicate")) == (20, 180)
    assert len(written(app, tmp_path)) == 20


@pytest.mark.slow
def test_feedback_to_a_running_service_changes_what_the_monitor_sees(
    project: Path, launch: Callable[..., Any], tmp_path: Path
) -> None:
    """Predictions and labels over HTTP; the monitor joins them, and counts what it cannot."""
    from mainline.files import digest_tree
    from mainline.monitor import production
    from mainline.serve.reading import read_log
    from mainline.train.bundle import read_meta

    row = {"amount": 12.5, "hour": 3, "risk": 0.4, "channel": "web", "country": "FR",
           "foreign": False}  # fmt: skip
    with launch(MAINLINE_LABELS=str(tmp_path)) as running:
        client = httpx.Client(base_url=running.url)
        answer = client.post("/predict", json={"rows": [row] * 6}).json()
        ids = [p["prediction_id"] for p in answer["predictions"]]
        labels = [{"prediction_id": name, "label": i % 2} for i, name in enumerate(ids[:4])]
        told = client.post("/feedback", json={"labels": labels}).json()
        assert (told["accepted"], told["unverified"]) == (4, 0)
        strange = {"prediction_id": uuid7(), "label": 1}
        assert client.post("/feedback", json=strange).json()["unverified"] == 1
        mended = {**labels[0], "label": 1}
        assert client.post("/feedback", json=mended).json()["contradictions"] == 1
        text = client.get("/metrics").text
        assert "mainline_feedback_labels_total" in text
    log = read_log(running.folder / "log")
    every = monitored.at_address(str(tmp_path))
    labels = monitored.known_by(every, pd.Timestamp.now())
    meta = read_meta(project / "models")
    seen = production.read(log, meta, digest_tree(project / "models"), labels)
    by_id = dict(zip(log["prediction_id"], seen.outcomes["y"], strict=True))
    assert [by_id[name] for name in ids[:4]] == [1, 1, 0, 1]
    assert seen.outcomes["y"].isna().sum() == 2
    assert monitored.feedback(log, every) == {"unmatched": 1, "contradicted": 1, "skipped_lines": 0}
