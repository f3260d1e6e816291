"""Matured labels of a rollout: pairs and arms, overall and by slice, and what they decide."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mainline.rollout import state
from mainline.rollout.labels import look
from mainline.rollout.local import LocalTarget
from mainline.rollout.state import Arm, Stage, State
from mainline.serve.ids import uuid7
from mainline.verdict import StepVerdict, Verdict

NEW, OLD = "sha256:" + "b" * 64, "sha256:" + "a" * 64
THEN, NOW = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 4, 10, tzinfo=UTC)
SCHEMA = """
version: 1
row_id: id
target: bad
columns:
  - {name: id, type: text, role: id, max_missing: 0}
  - {name: x, type: number, role: feature, max_missing: 0}
  - {name: channel, type: category, role: feature, max_missing: 0, categories: [pos, web]}
  - {name: bad, type: TARGET, role: target}
"""
PARAMS = """
model: {name: little, task: TASK, target: bad, positive: POSITIVE}
split: {kind: row, salt: s, tune: 0.2, test: 0.2}
features: {build: "own.features:build"}
train: {estimator: "own.model:build"}
evaluate: {slices: [channel]}
gate: {metric: METRIC, delta: DELTA}
monitor: {maturity_days: 30}
"""


class Place:
    """A checkout, a prediction log of one rollout, and the labels that came."""

    def __init__(self, root: Path, task: str = "binary", delta: float = 0.02) -> None:
        self.root, self.log, self.labels = root, root / "log", root / "labels"
        metric = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "mae"}[task]
        text = PARAMS.replace("TASK", task).replace("METRIC", metric).replace("DELTA", str(delta))
        positive = "1" if task == "binary" else "null"
        (root / "params.yaml").write_text(text.replace("POSITIVE", positive))
        kind = {"binary": "integer", "multiclass": "category", "regression": "number"}[task]
        (root / "schema.yaml").write_text(SCHEMA.replace("TARGET", kind))
        classes = {"binary": ["0", "1"], "multiclass": ["x", "y", "z"], "regression": None}[task]
        self.meta("a", classes)
        self.meta("b", classes)
        (self.log / "date=2025-03-01").mkdir(parents=True)
        self.labels.mkdir()
        self.moment = THEN
        self.lines: list[str] = []
        self.known: list[str] = []

    def meta(self, name: str, classes: list[str] | None) -> None:
        """The metadata in the Bento of version `name`."""
        folder = self.root / f"bento-{name}" / "src" / "models"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.json").write_text(json.dumps({"classes": classes}))

    def answer(self, request: str, arm: str, generation: int, scores: list[float], decision: Any,
               channel: str = "pos") -> str:  # fmt: skip
        """Log one answer; its prediction id."""
        made = uuid7()
        self.lines.append(json.dumps({
            "v": 1, "prediction_id": made, "request_id": request, "row": None, "arm": arm,
            "ts": self.moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "model": "little", "digest": OLD if arm == "stable" else NEW,
            "generation": f"gen-{generation}", "entity": None,
            "features": {"x": 1.0, "channel": channel}, "scores": scores, "decision": decision,
            "threshold": 0.5, "ms": 1.0, "status": 200,
        }))  # fmt: skip
        return made

    def label(self, prediction: str, label: Any) -> None:
        """The label of one answer, known ten days later."""
        moment = (THEN + timedelta(days=10)).isoformat()
        self.known.append(json.dumps({"prediction_id": prediction, "label": label,
                                      "known_at": moment, "source": "test"}))  # fmt: skip

    def binary(self, arm: str, generation: int, n: int, wrong: float, rng: np.random.Generator,
               channel: str = "pos", name: str = "") -> None:  # fmt: skip
        """`n` labelled answers of one arm, a share of them `wrong`."""
        for i in range(n):
            y = int(rng.random() < 0.3)
            said = 1 - y if rng.random() < wrong else y
            made = self.answer(f"{name}{generation}-{arm}-{channel}-{i}", arm, generation,
                               [0.8 if said else 0.2], said, channel)  # fmt: skip
            self.label(made, y)

    def promoted(self, started: int = 3) -> State:
        """Version b has all traffic, and a is warm; its files as they come to lie."""
        (self.log / "date=2025-03-01" / "h-1-1.jsonl").write_text("\n".join(self.lines) + "\n")
        (self.labels / "labels.jsonl").write_text("\n".join(self.known) + "\n")
        new = Arm("v2", NEW, 1, "b", str(self.root / "bento-b"))
        old = Arm("v1", OLD, 2, "a", str(self.root / "bento-a"))
        return State(
            status="promoted", stable=new, previous=old, started=started, hold_seconds=86400,
            plan=(Stage("shadow", 0, 100), Stage("promote", 100, 0)),
            entered=(THEN + timedelta(hours=2)).timestamp(),
        )  # fmt: skip

    def look(self, now: datetime = NOW, started: int = 3) -> StepVerdict:
        """What the labels say."""
        state = self.promoted(started)
        return look(self.root, state, log=str(self.log), labels=str(self.labels), now=now)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A binary task."""
    return Place(tmp_path)


def by_name(verdict: StepVerdict) -> dict[str, Any]:
    """The checks by name and scope."""
    return {c.name if c.scope == "all" else f"{c.name} {c.scope}": c for c in verdict.checks}


def test_without_a_place_for_labels_it_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody who has no labels is held up by them, and it is no PASS."""
    monkeypatch.delenv("MAINLINE_LABELS", raising=False)
    place = Place(tmp_path)
    state = State(status="promoted", stable=Arm("v2", NEW, 1, "b"), previous=Arm("v1", OLD, 2, "a"))
    found = look(place.root, state, log=str(place.log))
    assert found.skipped and found.verdict is Verdict.INCONCLUSIVE


def test_a_version_that_is_as_often_right_passes(place: Place) -> None:
    """Users of the canary stages, given to the arms at random."""
    rng = np.random.default_rng(1)
    place.binary("canary", 5, 4000, 0.05, rng)
    place.binary("stable", 5, 4000, 0.05, rng)
    found = place.look()
    assert found.verdict is Verdict.PASS, found.checks
    wrong = by_name(found)["wrong"]
    assert wrong.n == 8000 and wrong.low < wrong.value < wrong.high


def test_a_version_that_is_more_often_wrong_fails(place: Place) -> None:
    """Twelve in a hundred wrong against five, where two may be lost."""
    rng = np.random.default_rng(2)
    place.binary("canary", 5, 1500, 0.12, rng)
    place.binary("stable", 5, 3000, 0.05, rng)
    found = place.look()
    assert found.verdict is Verdict.FAIL
    assert by_name(found)["wrong"].verdict is Verdict.FAIL


def test_one_broken_slice_fails_though_the_mean_is_better(place: Place) -> None:
    """A tenth of the requests is answered wrong half of the time, the others better than before."""
    rng = np.random.default_rng(3)
    place.binary("canary", 5, 2700, 0.02, rng)
    place.binary("canary", 5, 300, 0.5, rng, "web")
    place.binary("stable", 5, 2700, 0.08, rng)
    place.binary("stable", 5, 300, 0.08, rng, "web")
    found = by_name(place.look())
    assert found["wrong"].verdict is Verdict.PASS
    assert found["slice wrong channel = web"].verdict is Verdict.FAIL
    assert not any("channel = pos" in name for name in found)


def test_pairs_see_more_than_arms(place: Place) -> None:
    """A mirrored request has one label and two answers, whatever the order of their rows."""
    rng = np.random.default_rng(4)
    for i in range(400):
        y = int(rng.random() < 0.3)
        old = 1 - y if rng.random() < 0.1 else y
        new = 1 - y if i % 10 == 0 else old
        place.answer(f"r{i}", "shadow", 4, [0.9 if new else 0.1], new)
        place.label(place.answer(f"r{i}", "stable", 4, [0.9 if old else 0.1], old), y)
    found = by_name(place.look())
    assert found["wrong"].n == 400
    assert found["wrong"].verdict is Verdict.FAIL
    # The two rates by themselves, of 400 each, would be this far from sure.
    assert found["wrong"].high < -0.02


def test_rows_of_one_request_are_paired_in_their_order(place: Place) -> None:
    """Three rows without an id of their own in each request: the n-th belongs to the n-th."""
    for i in range(200):
        labels = [0, 1, i % 2]
        for y in labels:
            place.answer(f"r{i}", "shadow", 4, [0.9 if y else 0.1], y)
        for y in labels:
            place.label(place.answer(f"r{i}", "stable", 4, [0.9 if y else 0.1], y), y)
    found = by_name(place.look())
    assert found["wrong"].n == 600 and found["wrong"].value == 0.0
    assert found["wrong"].verdict is Verdict.PASS


def test_generations_are_not_mixed(place: Place) -> None:
    """Later users are harder, and the canary has more of them: pooled, it would look worse."""
    rng = np.random.default_rng(5)
    place.binary("canary", 5, 300, 0.05, rng)
    place.binary("stable", 5, 5700, 0.05, rng)
    place.binary("canary", 6, 3000, 0.25, rng)
    place.binary("stable", 6, 3000, 0.25, rng)
    wrong = by_name(place.look())["wrong"]
    assert wrong.verdict is not Verdict.FAIL
    assert abs(wrong.value) < 0.02


def test_what_has_not_matured_does_not_count(place: Place) -> None:
    """A fraud is known early and an honest payment late: labels before their time mislead."""
    rng = np.random.default_rng(6)
    place.binary("canary", 5, 200, 0.5, rng)
    place.binary("stable", 5, 200, 0.0, rng)
    found = place.look(now=THEN + timedelta(days=29))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert by_name(found)["labels"].value == 0
    place.moment = THEN - timedelta(days=1)
    place.binary("canary", 5, 1, 0.0, rng, name="old")
    assert by_name(place.look(now=THEN + timedelta(days=29, hours=1)))["labels"].value == 1
    assert place.look().verdict is Verdict.FAIL


def test_no_labels_and_few_labels_are_no_pass(place: Place) -> None:
    """Missing data is never a PASS, and nothing wrong among a few is not never."""
    rng = np.random.default_rng(7)
    assert place.look().verdict is Verdict.INCONCLUSIVE
    place.binary("canary", 5, 29, 0.0, rng)
    place.binary("stable", 5, 400, 0.0, rng)
    assert by_name(place.look())["wrong"].verdict is Verdict.INCONCLUSIVE
    place.binary("canary", 5, 31, 0.0, rng, name="more")
    found = by_name(place.look())["wrong"]
    assert found.value == 0.0 and found.low < -0.02 and found.verdict is Verdict.INCONCLUSIVE


def test_a_few_pairs_without_a_difference_are_no_pass(place: Place) -> None:
    """Forty equal pairs say less than that one in fifty differs."""
    for i in range(40):
        place.answer(f"r{i}", "shadow", 4, [0.9], 1)
        place.label(place.answer(f"r{i}", "stable", 4, [0.9], 1), 1)
    found = by_name(place.look())["wrong"]
    assert found.value == 0.0 and found.verdict is Verdict.INCONCLUSIVE


def test_answers_of_other_rollouts_and_diverted_ones_do_not_count(place: Place) -> None:
    """Generations before this rollout, and a canary's share that stable answered."""
    rng = np.random.default_rng(8)
    place.binary("canary", 2, 300, 0.5, rng)
    place.binary("stable", 2, 300, 0.0, rng)
    found = place.look(started=3)
    assert by_name(found)["labels"].n == 0


def test_classes_in_another_order_are_told_by_their_names(tmp_path: Path) -> None:
    """The new model may order its classes otherwise than the old one; only the names count."""
    place = Place(tmp_path, "multiclass")
    place.meta("b", ["z", "y", "x"])
    names = {"stable": ["x", "y", "z"], "canary": ["z", "y", "x"]}
    for arm, own in names.items():
        for i in range(600):
            index = i % 3
            scores = [0.8 if k == index else 0.1 for k in range(3)]
            place.label(place.answer(f"{arm}{i}", arm, 5, scores, index), own[index])
    assert place.look().verdict is Verdict.PASS
    place.meta("b", ["x", "y", "z"])
    assert place.look().verdict is Verdict.FAIL


def test_classes_in_another_order_are_told_apart_in_pairs(tmp_path: Path) -> None:
    """Both answers to one request are right, each by its own order of the classes."""
    place = Place(tmp_path, "multiclass")
    place.meta("b", ["z", "y", "x"])
    for i in range(300):
        index = i % 3
        scores = [0.8 if k == index else 0.1 for k in range(3)]
        place.answer(f"r{i}", "shadow", 4, scores[::-1], 2 - index)
        place.label(place.answer(f"r{i}", "stable", 4, scores, index), ["x", "y", "z"][index])
    assert place.look().verdict is Verdict.PASS


@pytest.mark.parametrize(("spread", "verdict"), [(1.0, Verdict.PASS), (2.0, Verdict.FAIL)])
def test_a_regression_is_judged_by_its_absolute_error(
    tmp_path: Path, spread: float, verdict: Verdict
) -> None:
    """In the unit of the target, which is that of the gate's own metric."""
    place = Place(tmp_path, "regression", delta=0.2)
    rng = np.random.default_rng(9)
    for arm, sd in (("canary", spread), ("stable", 1.0)):
        for i in range(800):
            y = float(rng.normal(10, 3))
            said = y + float(rng.normal(0, sd))
            place.label(place.answer(f"{arm}{i}", arm, 5, [said], said), y)
    assert by_name(place.look())["absolute_error"].verdict is verdict


def test_torn_lines_and_a_label_without_an_answer_do_no_harm(place: Place) -> None:
    """What cannot be read is left out."""
    rng = np.random.default_rng(10)
    place.binary("canary", 5, 1500, 0.05, rng)
    place.binary("stable", 5, 3000, 0.05, rng)
    place.lines[7] = place.lines[7][:40]
    place.label(uuid7(), 1)
    place.known[9] = place.known[9][:20]
    assert place.look().verdict is Verdict.PASS


def test_a_target_asks_by_the_settings_that_came_with_the_version(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it serves no checkout need be: the Bento has settings and schema."""
    rng = np.random.default_rng(12)
    place.binary("canary", 5, 400, 0.3, rng)
    place.binary("stable", 5, 400, 0.05, rng)
    target = LocalTarget(place.root / "away" / "serving")
    for name in ("params.yaml", "schema.yaml"):
        shutil.copy(place.root / name, place.root / "bento-b" / "src")
    state.swap(target.folder, State(), place.promoted())
    monkeypatch.setenv("MAINLINE_LOG", str(place.log))
    monkeypatch.delenv("MAINLINE_LABELS", raising=False)
    assert target.labels()["skipped"]
    monkeypatch.setenv("MAINLINE_LABELS", str(place.labels))
    assert target.labels()["verdict"] == "FAIL"


def test_equal_versions_are_not_taken_back_however_often_one_looks() -> None:
    """A thousand looks at growing numbers of labels of two equal models."""
    from mainline.rollout.labelled import Counts, Mean, Measured, judge_labels

    rng = np.random.default_rng(11)
    failed = passed = 0
    for _ in range(100):
        new, old = (rng.random(4000) < 0.05).astype(float), (rng.random(4000) < 0.05).astype(float)
        ids = np.arange(4000).astype(str)
        for n in range(400, 4001, 400):
            arms = [(Mean.of(new[:n], ids[:n]), Mean.of(old[:n], ids[:n]))]
            one = Measured("wrong", "all", 0.01, False, Mean(), Mean(), arms)
            verdict = judge_labels(Counts(2 * n, 2 * n, (one,))).verdict
            failed += verdict is Verdict.FAIL
        passed += verdict is Verdict.PASS
    assert failed <= 1
    assert passed >= 55
