"""A small client of the service. Standard library only: this one file may be copied anywhere.

A request is tried again when its connection broke or the service said 503, at most `tries` times
and never beyond `timeout` seconds in all. That is safe: a prediction changes nothing, feedback that
comes twice is counted once, and each try carries the same `x-request-id`.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import urllib.parse
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
PAUSE = 0.1  # seconds before the second try; doubled for each one after it
LONGEST = 5.0
AGAIN = (ConnectionError, TimeoutError, http.client.HTTPException)


@dataclass(frozen=True)
class Fault:
    """One fault of a refused request: the number of the row, the field, and why."""

    row: int
    field: str | None
    reason: str


class Problem(Exception):
    """The service refused (RFC 9457): `status`, `kind`, `title`, `detail`, and `faults` of rows."""

    def __init__(
        self, status: int, document: Mapping[str, Any], retry_after: float | None = None
    ) -> None:
        self.status = status
        self.retry_after = retry_after  # seconds
        self.kind = str(document.get("type", "")).rpartition(":")[2]
        self.title = str(document.get("title", ""))
        self.detail = str(document.get("detail", ""))
        self.faults = tuple(
            Fault(int(e["row"]), e.get("field"), str(e["reason"]))
            for e in document.get("errors") or ()
        )
        super().__init__(f"{status} {self.title}: {self.detail}")


class Unreachable(Exception):
    """The service did not answer within the tries and the time that were allowed."""


@dataclass(frozen=True)
class Prediction:
    """The answer to one row; `id` is what feedback is given by."""

    id: str
    scores: tuple[float, ...]
    decision: float


@dataclass(frozen=True)
class Predictions:
    """The answer to a request: a prediction a row, in their order, and which model gave them."""

    predictions: tuple[Prediction, ...]
    model: str
    version: str
    digest: str
    request_id: str


@dataclass(frozen=True)
class Explanation:
    """Contributions to each score by column, the largest first; with `base` they sum to it."""

    scores: tuple[float, ...]
    base: tuple[float, ...]
    contributions: dict[str, tuple[float, ...]]
    model: str
    version: str
    digest: str


@dataclass(frozen=True)
class Version:
    """Which model answers."""

    name: str
    version: str
    digest: str


class Client:
    """Asks one service. Safe to use from several threads; each keeps a connection of its own.

    `url` such as `http://127.0.0.1:3000`, `key` a bearer key where the service wants one,
    `timeout` seconds for a call with all its tries. Raises Problem where the service refuses,
    Unreachable where it does not answer.
    """

    def __init__(
        self, url: str, key: str | None = None, *, timeout: float = 10.0, tries: int = 4
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http address")
        self._parts = parts
        self._key = key
        self._timeout = timeout
        self._tries = max(1, tries)
        self._local = threading.local()
        self._sleep = time.sleep

    def predict(self, rows: Sequence[Row]) -> Predictions:
        """Scores and decision of each of `rows`."""
        found, request_id = self._post("/predict", {"rows": list(rows)})
        made = tuple(
            Prediction(p["prediction_id"], tuple(p["scores"]), p["decision"])
            for p in found["predictions"]
        )
        return Predictions(made, found["model"], found["version"], found["digest"], request_id)

    def explain(self, row: Row) -> Explanation:
        """What each column contributed to the row's scores."""
        found, _ = self._post("/explain", {"rows": [row]})
        it = found["explanation"]
        by = {name: tuple(values) for name, values in it["contributions"].items()}
        return Explanation(tuple(it["scores"]), tuple(it["base"]), by,
                           found["model"], found["version"], found["digest"])  # fmt: skip

    def feedback(
        self, prediction_id: str, label: Any, *, known_at: str | None = None,
        source: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Tell the label of a prediction; `known_at` is an ISO 8601 time, now where not given."""
        told = {"prediction_id": prediction_id, "label": label, "known_at": known_at,
                "source": source}  # fmt: skip
        return self._post("/feedback", {k: v for k, v in told.items() if v is not None})[0]

    def version(self) -> Version:
        """Which model answers."""
        found = self._ask("GET", "/version", None)[0]
        return Version(found["name"], found["version"], found["digest"])

    def ready(self) -> bool:
        """Whether it answers as it should; False too where nothing answers. Tries once."""
        try:
            self._ask("GET", "/readyz", None, tries=1)
        except (Problem, Unreachable):
            return False
        return True

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- one call and its tries ----------------------------------------------------------------

    def _post(self, path: str, document: Any) -> tuple[dict[str, Any], str]:
        # A number that JSON does not have is the caller's mistake and never leaves here.
        return self._ask("POST", path, json.dumps(document, allow_nan=False).encode())

    def _ask(
        self, method: str, path: str, body: bytes | None, tries: int | None = None
    ) -> tuple[dict[str, Any], str]:
        end = time.monotonic() + self._timeout
        request_id = str(uuid.uuid4())
        failure: Exception = Unreachable("no time was left")
        for number in range(tries or self._tries):
            if number and not self._pause(number, failure, end):
                break
            try:
                return self._once(method, path, body, request_id, end), request_id
            except Problem as problem:
                if problem.status != 503:
                    raise
                failure = problem
            except AGAIN as error:
                self.close()
                failure = error
            except OSError as error:  # a name that is not known, a certificate that is not good
                self.close()
                raise Unreachable(f"{self._parts.netloc}: {error}") from error
        if isinstance(failure, Problem):
            raise failure
        raise Unreachable(f"{self._parts.netloc} did not answer: {failure!r}") from failure

    def _pause(self, number: int, failure: Exception, end: float) -> bool:
        """Wait before the next try; False when there is no time for one."""
        asked = getattr(failure, "retry_after", None)
        wait = min(LONGEST, PAUSE * 2 ** (number - 1) if asked is None else asked)
        # Callers that were refused together must not come back together.
        wait *= 1 + random.random() / 2
        if time.monotonic() + wait >= end:
            return False
        self._sleep(wait)
        return True

    def _once(
        self, method: str, path: str, body: bytes | None, request_id: str, end: float
    ) -> dict[str, Any]:
        headers = {"x-request-id": request_id, "accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        connection = self._connection(max(0.001, end - time.monotonic()))
        connection.request(method, self._parts.path.rstrip("/") + path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.will_close:
            self.close()
        found = _object(content)
        if answer.status == 200 and found is not None:
            return found
        wait = _seconds(answer.getheader("retry-after"))
        raise Problem(answer.status, found or {"title": answer.reason}, wait)

    def _connection(self, seconds: float) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            secure = self._parts.scheme == "https"
            kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            connection = kind(str(self._parts.hostname), self._parts.port, timeout=seconds)
            self._local.connection = connection
        connection.timeout = seconds
        if connection.sock is not None:
            connection.sock.settimeout(seconds)
        return connection


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _seconds(value: str | None) -> float | None:
    return float(value) if value is not None and value.isdigit() and len(value) < 6 else None
