"""POST /explain: contributions that sum to the score, in a process that can come to no harm."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mainline.data.schema import Schema
from mainline.serve import explain
from mainline.serve.batching import Overloaded
from mainline.serve.explain import Broken, Child, Explain, document
from mainline.serve.explaining import Explainer
from mainline.serve.inputs import Inputs, Refused

ABOUT = {"model": "m", "version": "v1.0.0", "digest": "sha256:0"}
COLUMNS = """
- {name: a, type: number, role: feature, max_missing: 0.5}
- {name: b, type: number, role: feature, max_missing: 0.5}
- {name: kind, type: category, role: feature, max_missing: 0.5, categories: [x, y]}
- {name: bad, type: integer, role: target}
"""
ROW = {"a": 3.0, "b": 1.0, "kind": "y"}
GOLDEN = [{"a": 0.0, "b": 0.0, "kind": "x"}, {"a": 1.0, "b": None, "kind": "y"}]


def model(rows: list[dict[str, Any]]) -> np.ndarray:
    """An interaction, a category and a missing value, for two scores."""
    first = [(r.get("a") or 0) * (2 if r["kind"] == "y" else 1) for r in rows]
    second = [5.0 if r.get("b") is None else r["b"] for r in rows]
    return np.array([first, second]).T


def inputs() -> Inputs:
    """The inputs of the columns above."""
    columns = yaml.safe_load(COLUMNS)
    return Inputs(Schema.model_validate({"version": 1, "target": "bad", "columns": columns}))


def handle(handler: Explain, body: Any) -> dict[str, Any]:
    """What the handler answers."""
    return json.loads(asyncio.run(handler(json.dumps(body).encode(), None)))


class Scripted(Child):
    """A child without a process: it does what a function says."""

    def __init__(self, act: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        super().__init__(Path(), Path(), "")
        self.act = act

    def ask(self, row: dict[str, Any], seconds: float) -> dict[str, Any]:
        return self.act(row)


@pytest.fixture
def handler() -> Iterator[Callable[..., Explain]]:
    """Handlers around a scripted child, closed at the end."""
    made: list[Explain] = []

    def make(act: Callable[[dict[str, Any]], dict[str, Any]], **more: Any) -> Explain:
        made.append(Explain(inputs(), Scripted(act), ABOUT, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


# ---- the contributions -------------------------------------------------------------------------


def test_contributions_and_base_sum_to_each_score() -> None:
    """With an interaction, a category and a missing value, for each of two scores."""
    found = Explainer(model, ["a", "b", "kind"], GOLDEN)(ROW)
    assert found["scores"] == [6.0, 1.0]
    assert found["base"] == [1.0, 2.5]
    for i, score in enumerate(found["scores"]):
        total = found["base"][i] + sum(v[i] for v in found["contributions"].values())
        assert total == pytest.approx(score, abs=1e-12)


def test_contributions_are_the_shapley_values_of_the_columns() -> None:
    """By hand: v(S) over all subsets of {a, kind}; b moves the second score alone."""
    by = Explainer(model, ["a", "b", "kind"], GOLDEN)(ROW)["contributions"]
    v = {"": 1.0, "a": 4.5, "k": 1.0, "ak": 6.0}
    a = ((v["a"] - v[""]) + (v["ak"] - v["k"])) / 2
    kind = ((v["k"] - v[""]) + (v["ak"] - v["a"])) / 2
    assert by["a"] == pytest.approx([a, 0])
    assert by["kind"] == pytest.approx([kind, 0])
    assert by["b"] == pytest.approx([0, 1.0 - 2.5])


def test_the_same_row_has_the_same_explanation_and_the_largest_comes_first() -> None:
    """Nothing is drawn by chance, so an answer can be shown again."""
    explainer = Explainer(model, ["a", "b", "kind"], GOLDEN)
    assert json.dumps(explainer(ROW)) == json.dumps(explainer(ROW))
    sizes = [max(map(abs, v)) for v in explainer(ROW)["contributions"].values()]
    assert sizes == sorted(sizes, reverse=True)


def test_missing_values_and_a_row_of_the_background_itself_are_explained() -> None:
    """A field that was left out is missing; nothing differs from nothing."""
    found = Explainer(model, ["a", "b", "kind"], GOLDEN)({"kind": "x"})
    assert found["scores"] == [0.0, 5.0]
    same = Explainer(model, ["a", "b", "kind"], [ROW])(ROW)
    assert set(map(tuple, same["contributions"].values())) == {(0.0, 0.0)}


def test_a_model_that_answers_by_chance_is_not_explained() -> None:
    """Contributions that do not sum to the score are an error and no answer."""
    with pytest.raises(ArithmeticError):
        document(["a"], [1.0], [0.5], [[0.4]])
    drawn = np.random.default_rng(0)
    with pytest.raises(ArithmeticError):
        Explainer(lambda rows: drawn.normal(size=(len(rows), 1)), ["a"], GOLDEN)(ROW)


# ---- the handler -------------------------------------------------------------------------------


def test_the_answer_says_who_gave_it(handler: Callable[..., Explain]) -> None:
    """Explanation, model, version and digest; a row may stand alone or as the only one."""
    answer = document(["a"], [1.0], [0.5], [[0.5]])
    made = handler(lambda row: answer)
    assert handle(made, ROW) == {"explanation": answer, **ABOUT}
    assert handle(made, {"rows": [ROW]}) == {"explanation": answer, **ABOUT}


def test_a_bad_row_and_two_rows_are_refused_before_the_child_is_asked(
    handler: Callable[..., Explain],
) -> None:
    """The same check as /predict, and one row at a time."""
    asked: list[Any] = []
    made = handler(lambda row: asked.append(row) or {})
    for body, status in (({"a": "x"}, 422), ({"rows": [ROW, ROW]}, 400), ([], 400)):
        with pytest.raises(Refused) as caught:
            handle(made, body)
        assert caught.value.http == status
    assert asked == []


def test_without_shap_the_remedy_is_named(
    handler: Callable[..., Explain], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A serving image without it answers 501 and works in every other respect."""
    monkeypatch.setattr(explain.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Refused, match="pip install shap") as caught:
        handle(handler(lambda row: {}), ROW)
    assert caught.value.http == 501


def test_an_error_of_the_forkers_code_tells_its_name_to_the_log_and_nothing_to_the_caller(
    handler: Callable[..., Explain], caplog: pytest.LogCaptureFixture
) -> None:
    """What an error says may be personal."""

    def fail(row: dict[str, Any]) -> dict[str, Any]:
        raise Broken("ValueError")

    with pytest.raises(Refused) as caught:
        handle(handler(fail), ROW)
    assert caught.value.http == 500
    assert "ValueError" not in json.dumps(caught.value.document())
    assert "ValueError" in caplog.text


def test_more_than_a_few_at_once_are_told_to_come_back(handler: Callable[..., Explain]) -> None:
    """Explanations are dear: eight wait, a ninth does not."""
    import threading

    gate = threading.Event()

    def wait(row: dict[str, Any]) -> dict[str, Any]:
        gate.wait(20)
        return document(["a"], [1.0], [0.5], [[0.5]])

    made = handler(wait)

    async def many() -> list[Any]:
        body = json.dumps(ROW).encode()
        tasks = [asyncio.create_task(made(body, None)) for _ in range(explain.WAITING)]
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded):
            await made(body, None)
        gate.set()
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(many())) == explain.WAITING


# ---- the process -------------------------------------------------------------------------------


@pytest.fixture
def child(project: Path) -> Iterator[Callable[..., Child]]:
    """Children for the project's model, ended at the end."""
    from mainline.files import digest_tree

    made: list[Child] = []

    def make(digest: str | None = None, **more: Any) -> Child:
        models = project / "models"
        made.append(Child(models, project, digest or digest_tree(models), **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def golden(project: Path) -> dict[str, Any]:
    """A row that the project's model knows."""
    row = json.loads((project / "models" / "model.json").read_text())["golden"][1]["row"]
    return {**row, "foreign": row["foreign"] == "true"}


def gone(pid: int) -> bool:
    """Whether the process ended."""
    import psutil

    end = time.monotonic() + 20
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_trained_model_is_explained_over_its_raw_columns(
    project: Path, child: Callable[..., Child], in_project: Callable[[str], str]
) -> None:
    """Trees, a derived feature, a missing value, an unlisted category: it sums to the score."""
    one = child()
    for change in ({}, {"risk": None}, {"country": "IT"}, {"amount": 1e6}, {"country": None}):
        row = {**golden(project), **change}
        found = one.ask(row, 60)
        total = found["base"][0] + sum(v[0] for v in found["contributions"].values())
        assert total == pytest.approx(found["scores"][0], abs=1e-6)
        assert set(found["contributions"]) == {
            "amount", "hour", "risk", "channel", "country", "foreign"
        }  # fmt: skip
    code = (
        "import json, pandas as pd; from pathlib import Path; "
        "from mainline.train.bundle import load; "
        f"row = json.loads({json.dumps(row)!r}); "
        "print(load(Path('models')).predict(pd.DataFrame([row])).tolist()[0])"
    )
    assert json.loads(in_project(code)) == found["scores"]


def test_a_child_that_was_killed_is_started_again(
    project: Path, child: Callable[..., Child]
) -> None:
    """kill -9 costs nothing but the time of a start."""
    one = child()
    first = one.ask(golden(project), 60)
    pid = one.pid
    assert pid is not None
    os.kill(pid, 9)
    assert one.ask(golden(project), 60) == first
    assert one.pid not in (None, pid)


def test_a_child_ends_when_it_is_idle(project: Path, child: Callable[..., Child]) -> None:
    """It holds no memory while nobody asks."""
    one = child(idle=0.3)
    one.ask(golden(project), 60)
    pid = one.pid
    assert pid is None or gone(pid)


def test_an_explanation_that_takes_too_long_is_ended(
    project: Path, child: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing goes on behind the time limit; a start has a limit of its own."""
    one = child()
    one.ask(golden(project), 60)
    with pytest.raises(TimeoutError):
        one.ask(golden(project), 0.001)
    assert one.pid is None
    monkeypatch.setattr(explain, "START", 0.05)
    with pytest.raises(TimeoutError):
        one.ask(golden(project), 60)
    assert one.pid is None


def test_another_model_than_the_one_that_is_served_is_not_explained(
    project: Path, child: Callable[..., Child]
) -> None:
    """models/ may have been changed on the disk since the service started."""
    with pytest.raises(Broken, match="ValueError"):
        child(digest="sha256:" + "0" * 64).ask(golden(project), 60)


def test_the_child_ends_when_its_service_was_killed(project: Path) -> None:
    """Its input ends with the service, even when it is killed in the middle of its work."""
    import signal
    import subprocess
    import sys

    code = (
        "import sys, time; from pathlib import Path; from mainline.files import digest_tree; "
        "from mainline.serve.explain import Child; "
        "m = Path('models'); c = Child(m, Path('.'), digest_tree(m)); "
        f"c.ask({golden(project)!r}, 60); print(c.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=project, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(project / "src")},
    ) as service:  # fmt: skip
        assert service.stdout is not None
        pid = int(service.stdout.readline())
        service.send_signal(signal.SIGKILL)
        service.wait(10)
    assert gone(pid)
