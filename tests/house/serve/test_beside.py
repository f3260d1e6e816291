"""Keys, explanations, the OpenAPI document and the client, against the Bento as it is served."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from hostile import GOOD

from mainline.serve import keys
from mainline.serve.client import Client, Problem, Unreachable

HOUSE = Path(__file__).parents[3]
Launch = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Path:
    """A folder with the project's settings and a file of keys of its own."""
    folder = tmp_path_factory.mktemp("keys")
    text = (project / "params.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("serve: {", "serve: {keys: keys.json, "))
    return folder


@pytest.fixture(scope="module")
def token(root: Path) -> str:
    """A key for predictions."""
    return str(keys.add(root, "shop", ["predict"])["key"])


@pytest.fixture(scope="module")
def guarded(launch: Launch, root: Path, token: str) -> Iterator[Any]:
    """The Bento, served to those who have a key."""
    labels = root / "labels"
    labels.mkdir()
    with launch(MAINLINE_KEYS=str(root / "keys.json"), MAINLINE_LABELS=str(labels)) as running:
        yield running


def asked(client: Client, path: str) -> int:
    """The status of a GET."""
    try:
        client._ask("GET", path, None, tries=1)
    except Problem as problem:
        return problem.status
    return 200


def patient(call: Callable[[], Any]) -> Any:
    """Ask until what explains has started; each try is a 503 until then."""
    end = time.monotonic() + 150
    while True:
        try:
            return call()
        except (Problem, Unreachable) as problem:
            if getattr(problem, "status", 503) != 503 or time.monotonic() > end:
                raise
            time.sleep(1)


def test_only_a_key_of_the_right_kind_is_let_in(guarded: Any, token: str) -> None:
    """401 without one, 403 with another one; health, version and the document stay open."""
    nobody, shop = Client(guarded.url), Client(guarded.url, key=token)
    for call in (lambda: nobody.predict([GOOD]), lambda: nobody.explain(GOOD)):
        with pytest.raises(Problem) as caught:
            call()
        assert caught.value.status == 401
    assert shop.predict([GOOD]).predictions
    with pytest.raises(Problem) as caught:
        shop.feedback("01900000-0000-7000-8000-000000000000", 1)
    assert caught.value.status == 403
    assert asked(shop, "/metrics") == 403
    assert asked(nobody, "/metrics") == 401
    for path in ("/healthz", "/readyz", "/version", "/openapi.json"):
        assert asked(nobody, path) == 200


def test_keys_change_while_the_service_runs(guarded: Any, root: Path) -> None:
    """A new key opens and a removed one does not, within a moment and without a restart."""
    later = str(keys.add(root, "later", ["predict", "feedback"])["key"])
    client = Client(guarded.url, key=later)

    def status() -> int:
        try:
            client.predict([GOOD])
        except Problem as problem:
            return problem.status
        return 200

    def becomes(wanted: int) -> None:
        end = time.monotonic() + 20
        while status() != wanted:
            assert time.monotonic() < end
            time.sleep(0.1)

    becomes(200)
    made = client.predict([GOOD]).predictions[0]
    assert client.feedback(made.id, 1)["accepted"] == 1
    before = (root / "keys.json").read_bytes()
    (root / "keys.json").write_bytes(b"{")
    time.sleep(1.5)
    assert status() == 200
    (root / "keys.json").write_bytes(before)
    keys.remove(root, "later")
    becomes(401)


def test_the_document_is_served_and_its_example_works(guarded: Any, token: str) -> None:
    """Every path is in it, it is valid, and the row that it shows gets a prediction."""
    from schemathesis.specs.openapi.definitions import OPENAPI_31

    client = Client(guarded.url, key=token)
    document = client._ask("GET", "/openapi.json", None)[0]
    jsonschema.Draft202012Validator(OPENAPI_31).validate(document)
    assert set(document["paths"]) == {
        "/predict", "/explain", "/feedback", "/healthz", "/readyz", "/metrics", "/version",
        "/openapi.json",
    }  # fmt: skip
    assert "bearer" in document["components"]["securitySchemes"]
    (row,) = document["components"]["schemas"]["Row"]["examples"]
    found, _ = client._post("/predict", row)
    check = {"$ref": "#/components/schemas/Predictions", "components": document["components"]}
    jsonschema.Draft202012Validator(check).validate(found)


def test_a_row_is_explained_while_others_are_answered(guarded: Any, token: str) -> None:
    """Base and contributions sum to the score of /predict; its process is one and ends with it."""
    client = Client(guarded.url, key=token)
    found = patient(lambda: client.explain(GOOD))
    total = found.base[0] + sum(v[0] for v in found.contributions.values())
    assert total == pytest.approx(found.scores[0], abs=1e-6)
    assert found.scores == client.predict([GOOD]).predictions[0].scores
    assert set(found.contributions) == set(GOOD)
    for _ in range(5):
        assert patient(lambda: client.explain(GOOD)) == found
        assert client.predict([GOOD]).predictions[0].scores == found.scores
    family = psutil.Process(guarded.process.pid).children(recursive=True)
    assert sum("mainline.serve.explaining" in p.cmdline() for p in family) == 1


def test_the_client_of_the_guide_works(guarded: Any, token: str) -> None:
    """The Python in docs/serving.md runs as it stands, against this service."""
    text = (HOUSE / "docs" / "serving.md").read_text("utf-8")
    (code,) = [c for c in re.findall(r"```python\n(.*?)```", text, re.S) if "Client(" in c]
    code = code.replace("http://127.0.0.1:3000", guarded.url).replace("key=None", f"key={token!r}")
    done = subprocess.run(
        [sys.executable, "-c", f"import json; row = json.loads({json.dumps(GOOD)!r})\n{code}"],
        env={"PYTHONPATH": str(HOUSE / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("v1.0.0 (0.")
    assert second == "0 hour must be at most 23"
