"""Live answers against the version's own model: what is caught, what is missing, what is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rollout import bentos
from rollout.fake_target import FakeTarget

from mainline.rollout import host, offline, parity, rollout, state
from mainline.rollout.answers import LATE, predictions
from mainline.rollout.evidence import answers
from mainline.rollout.offline import Offline
from mainline.rollout.parity import Program, chosen
from mainline.rollout.predictions import Watch
from mainline.rollout.replay import Replayed, judge
from mainline.rollout.state import Arm, State
from mainline.rollout.target import Ask
from mainline.rollout.traffic import Replay
from mainline.serve.ids import uuid7
from mainline.settings import Rollout
from mainline.verdict import Verdict

ROUNDS = 6


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained project."""
    return bentos.trained(tmp_path_factory.mktemp("parity") / "new", ROUNDS)


@pytest.fixture(scope="module")
def bento(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its model as a Bento holds it."""
    return bentos.like_a_bento(project, tmp_path_factory.mktemp("bento") / "v2")


@pytest.fixture(scope="module")
def model(bento: Path) -> Offline:
    """Its model, loaded here."""
    return Offline.load(bento)


class Log:
    """A prediction log that is written as a service writes it."""

    def __init__(self, target: Path, model: Offline, rows: list[dict[str, Any]]) -> None:
        self.target, self.model, self.rows = target, model, rows
        self.path = target / "predictions" / "date=2026-01-01" / "h-1-1.jsonl"
        self.right = model.scores(rows)
        state.swap(target, State(), State(started=7))

    def lines(self, start: int, count: int, **wrong: Any) -> list[bytes]:
        """Records of `count` rows from `start` on; `wrong` replaces fields of each."""
        found = []
        for i in range(start, start + count):
            row, scores = self.rows[i % len(self.rows)], self.right[i % len(self.rows)]
            assert scores is not None
            record = {
                "v": 1, "prediction_id": uuid7(), "request_id": f"r{i}", "row": None,
                "digest": self.model.digest, "arm": "canary", "generation": "gen-9",
                "features": row, "scores": scores, "decision": int(self.model.decision(scores)),
                "status": 200,
            }  # fmt: skip
            made = {k: v(record) if callable(v) else v for k, v in wrong.items()}
            found.append(json.dumps({**record, **made}).encode())
        return found

    def write(self, lines: list[bytes], end: bytes = b"\n") -> None:
        """Append."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as stream:
            stream.write(b"\n".join(lines) + end)

    def program(self) -> Program:
        """The program, which has taken its first look."""
        found = Program(self.target, self.target / "predictions", self.model)
        found.turn()
        return found

    def found(self) -> parity.Parity:
        """What it wrote."""
        return parity.read(self.target, self.model.digest, 7)


@pytest.fixture
def log(tmp_path: Path, model: Offline, project: Path) -> Log:
    """An empty log."""
    return Log(tmp_path, model, bentos.rows(project, 200))


def test_right_answers_are_right_to_the_last_bit(log: Log) -> None:
    """What the model says offline of the logged features is what was logged."""
    program = log.program()
    log.write(log.lines(0, 90))
    program.turn()
    found = log.found()
    assert (found.compared, found.wrong, found.unread) == (90, 0, 0)
    assert found.known


def swapped(record: dict[str, Any]) -> list[float]:
    """The probability of the other class."""
    return [1 - record["scores"][0]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"scores": swapped},
        {"decision": lambda r: 1 - r["decision"]},
        {"scores": [0.5]},
        {"scores": lambda r: [*r["scores"], 0.0]},
        {"scores": lambda r: [r["scores"][0] + 1e-6]},
    ],
    ids=["swapped classes", "decision", "constant", "one score too many", "a little"],
)
def test_what_is_answered_otherwise_is_wrong(log: Log, wrong: dict[str, Any]) -> None:
    """Scores, their order, their number, and the decision on them: each of them counts."""
    program = log.program()
    log.write([*log.lines(0, 20), *log.lines(20, 10, **wrong)])
    program.turn()
    found = log.found()
    assert (found.compared, found.wrong) == (30, 10)
    assert found.examples[0]["served"] != found.examples[0]["offline"] or "decision" in wrong
    assert "features" not in found.examples[0]


def test_one_broken_slice_is_found_among_much_traffic(log: Log, model: Offline) -> None:
    """Of 4,000 records a hundred are scored; one in twenty broken is among them."""
    broken = [i for i, row in enumerate(log.rows) if row["country"] == "IT"][:10]
    assert len(broken) == 10
    program = log.program()
    lines = []
    for start in range(0, 4000, 200):
        each = log.lines(start, 200)
        for i in broken:
            each[i] = log.lines(start + i, 1, scores=swapped)[0]
        lines += each
    log.write(lines)
    program.turn()
    found = log.found()
    assert found.compared == parity.MOST
    assert 0 < found.wrong < 20


def test_the_sample_is_bounded_and_hangs_on_the_id_alone() -> None:
    """Not on the order of the records, nor on what is in them; each has the same chance."""
    digest = "sha256:" + "c" * 64
    lines = [json.dumps({"prediction_id": f"p{i}", "digest": digest}).encode() for i in range(5000)]
    others = [json.dumps({"prediction_id": "x", "digest": "sha256:d"}).encode()] * 100
    first = chosen([*lines, *others], digest, 20)
    assert len(first) == 20
    assert sorted(first) == sorted(chosen(reversed(lines), digest, 20))
    picked = [lines.index(line) for line in chosen(lines, digest, 500)]
    assert 180 < sum(i < 2500 for i in picked) < 320


def test_only_this_versions_live_answers_are_taken(log: Log) -> None:
    """Not those of other models, of batches, nor rows that were asked past the split."""
    program = log.program()
    log.write([
        *log.lines(0, 5), *log.lines(5, 5, digest="sha256:other"), *log.lines(5, 5, arm="batch"),
        *log.lines(5, 5, generation=None), *log.lines(5, 5, arm="shadow"),
    ])  # fmt: skip
    program.turn()
    assert (log.found().compared, log.found().wrong) == (10, 0)


def test_what_cannot_be_read_or_scored_is_unread(log: Log) -> None:
    """It costs no other record its comparison, and many of them are a hold."""
    program = log.program()
    log.write([
        *log.lines(0, 10), *log.lines(10, 4, features={"amount": 1.0}),
        *log.lines(10, 3, scores=["x"]), *log.lines(10, 2, features=None),
        *[line[:-30] for line in log.lines(10, 3)],
    ])  # fmt: skip
    program.turn()
    found = log.found()
    assert (found.compared, found.wrong, found.unread) == (10, 0, 12)


def test_torn_rotated_late_and_deleted_files_are_counted_once(log: Log) -> None:
    """Whatever becomes of the files of the log while it runs."""
    program = log.program()
    lines = log.lines(0, 40)
    log.write(lines[:10])
    log.write([lines[10][:100]], end=b"")
    program.turn()
    assert log.found().compared == 10
    log.write([lines[10][100:], *lines[11:20]])
    log.path.rename(log.path.with_name("h-1-1.jsonl.1"))
    log.write(lines[20:30])
    program.turn()
    assert log.found().compared == 30
    shutil.rmtree(log.path.parents[1])
    program.turn()
    log.path = log.path.with_name("h-2-1.jsonl")
    log.write(lines[30:])
    program.turn()
    found = log.found()
    assert (found.compared, found.wrong, found.unread) == (40, 0, 0)


def test_another_rollout_of_the_same_model_begins_anew(log: Log) -> None:
    """What was wrong yesterday, and was mended in the service, is not held against it."""
    program = log.program()
    log.write(log.lines(0, 10, scores=swapped))
    program.turn()
    assert log.found().wrong == 10
    state.swap(log.target, state.read(log.target), State(started=9))
    assert parity.read(log.target, log.model.digest, 9).known is False
    program.turn()
    log.write(log.lines(0, 10))
    program.turn()
    found = parity.read(log.target, log.model.digest, 9)
    assert (found.compared, found.wrong) == (10, 0)


@pytest.mark.parametrize("change", [{"at": -60.0}, {"behind": 60.0}, {"boot_id": "another"}])
def test_old_words_are_no_words(log: Log, change: dict[str, Any]) -> None:
    """Dead, behind, or written before the machine started again: nobody knows what is said now."""
    log.program()
    assert log.found().known
    path = log.target / parity.FILE
    document = json.loads(path.read_text())
    kept = document[log.model.digest]
    for name, value in change.items():
        kept[name] = value if isinstance(value, str) else kept[name] + value
    path.write_text(json.dumps(document))
    assert not log.found().known
    path.write_text("{")
    assert not log.found().known


def until(condition: Callable[[], bool], seconds: float = 120.0) -> bool:
    """Wait for `condition`; the program is a nice one, and waits for the others."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_killed_with_9_it_goes_on_where_it_was(log: Log, bento: Path) -> None:
    """Records before, between and after: each is counted once; dead for long it is a hold."""
    arm = Arm("v2", log.model.digest, 1, "p", str(bento))
    env = {**os.environ, "PYTHONPATH": str(bentos.small.HOUSE / "src")}

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(parity.command(arm), cwd=log.target, env=env)

    process = start()
    try:
        assert until(lambda: log.found().known)
        log.write(log.lines(0, 30))
        assert until(lambda: log.found().compared == 30)
        process.send_signal(signal.SIGKILL)
        process.wait()
        log.write(log.lines(30, 20))
        assert until(lambda: not log.found().known), "it is dead, and that is a hold"
        assert log.found().late > LATE
        process = start()
        assert until(lambda: log.found().compared == 50)
        log.write(log.lines(50, 10))
        assert until(lambda: log.found().compared == 60)
        assert log.found().wrong == 0
        assert os.getpriority(os.PRIO_PROCESS, process.pid) > os.getpriority(os.PRIO_PROCESS, 0)
    finally:
        process.kill()
        process.wait()


def test_a_model_that_is_another_one_is_not_asked(log: Log, bento: Path) -> None:
    """The program ends, says why, and its silence is a hold."""
    arm = Arm("v2", "sha256:" + "e" * 64, 1, "p", str(bento))
    env = {**os.environ, "PYTHONPATH": str(bentos.small.HOUSE / "src")}
    done = subprocess.run(parity.command(arm), cwd=log.target, env=env, capture_output=True,
                          text=True, check=False, timeout=60)  # fmt: skip
    assert done.returncode != 0 and "holds sha256:" in done.stderr
    assert not parity.read(log.target, arm.digest, 7).known


def test_no_word_is_a_hold_and_a_wrong_answer_a_fail(tmp_path: Path) -> None:
    """Missing data is never a PASS; nothing is asked where there is no Bento."""
    arm = Arm("v2", "sha256:" + "c" * 64, 1, "p")
    now = State(status="running", canary=arm, stable=Arm("v1", "sha256:d", 2, "q"), limits={})

    def verdict(live: parity.Parity | None) -> Verdict:
        watch = Watch(tmp_path, {}, 250.0, live=live)
        watch.pairs.n = 200
        return predictions(answers(now, watch, "gen-9")).verdict

    assert verdict(parity.Parity(200, 0, 0, 0.4)) is Verdict.PASS
    assert verdict(parity.Parity(200, 1, 0, 0.4)) is Verdict.FAIL
    assert verdict(parity.Parity(200, 1, 0, 99.0)) is Verdict.FAIL
    assert verdict(parity.Parity(200, 0, 0, 99.0)) is Verdict.INCONCLUSIVE
    assert verdict(parity.Parity()) is Verdict.INCONCLUSIVE
    assert verdict(parity.Parity(20, 0, 0, 0.4)) is Verdict.INCONCLUSIVE
    assert verdict(parity.Parity(200, 0, 50, 0.4)) is Verdict.INCONCLUSIVE
    assert parity.wanted(tmp_path, now) is None


def test_replayed_rows_are_judged() -> None:
    """Wrong is FAIL; nothing to compare is left out; a model that cannot be asked is a hold."""
    assert judge(Replayed(why="no log")) is None
    assert judge(Replayed(5, refused=5)) is None
    for found, verdict in (
        (Replayed(5, 5), Verdict.PASS), (Replayed(5, 5, 1), Verdict.FAIL),
        (Replayed(5, why="could not be asked"), Verdict.INCONCLUSIVE),
    ):  # fmt: skip
        check = judge(found)
        assert check is not None and check.verdict is verdict


def test_replayed_answers_are_held_against_the_model_offline(
    log: Log, bento: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that is refused is asked row by row; a row that fails is wrong, not left out."""
    from mainline.rollout import replay

    monkeypatch.setattr(offline, "ask", lambda _, rows: log.model.scores(rows))
    lines = log.lines(0, 45, arm="stable", digest="sha256:old")
    log.write(lines)
    arm, stable = Arm("v2", log.model.digest, 1, "p", str(bento)), Arm("v1", "sha256:old", 2, "q")
    asked: list[int] = []

    def ask(fault: str) -> Callable[[Arm, Any], list[tuple[int, str]]]:
        def answer(question: Ask) -> tuple[int, str]:
            rows = json.loads(question.body or "")["rows"]
            asked.append(len(rows))
            if any(row == log.rows[3] for row in rows):
                if fault == "fails":
                    return 500, ""
                if fault == "refuses":
                    return 422, ""
            scores = [[1 - s[0]] if fault == "swapped" else s for s in log.model.scores(rows) if s]
            return 200, json.dumps({"predictions": [{"scores": s} for s in scores]})

        return lambda _, questions: [answer(q) for q in questions]

    def run(fault: str) -> tuple[int, int, int]:
        asked.clear()
        found = Replayed(**replay.run(log.target, ask(fault), arm, stable))
        assert found.rows == 45 and not found.why
        return found.compared, found.wrong, found.refused

    assert run("none") == (45, 0, 0)
    assert asked == [20, 20, 5]
    assert run("swapped") == (45, 45, 0)
    assert run("fails") == (45, 1, 0)
    assert asked == [20, 20, 5] + [1] * 20
    assert run("refuses") == (44, 0, 1)
    assert Replayed(**replay.run(log.target, ask("none"), arm, Arm("v0", "x", 1, "r"))).why


class Replaying(FakeTarget):
    """A target whose replay has an answer ready."""

    answer: ClassVar[dict[str, Any]] = {}

    def replay(self, arm: Arm, stable: Arm, rows: int) -> dict[str, Any]:
        """The document of a Replayed."""
        assert (arm.version, stable.version) == ("v2", "v1")
        return asdict(Replayed(**self.answer))


@pytest.mark.parametrize(
    ("answer", "verdict", "checked"),
    [
        ({"rows": 50, "compared": 50}, Verdict.PASS, True),
        ({"rows": 50, "compared": 50, "wrong": 1}, Verdict.FAIL, True),
        ({"rows": 50, "why": "the model could not be asked"}, Verdict.INCONCLUSIVE, True),
        ({"why": "the prediction log has none yet"}, Verdict.PASS, False),
    ],
)
def test_a_version_that_answers_logged_rows_wrong_does_not_start(
    bento: Path, answer: dict[str, Any], verdict: Verdict, checked: bool
) -> None:
    """Before any traffic; where there is no log yet it is left out, and the record says so."""
    there = Replaying()
    there.answer = answer  # type: ignore[misc]
    policy = Rollout.model_validate({"plan": "canary", "stages": STAGES})
    for version, letter in (("v1", "1"), ("v2", "2")):
        begun = rollout.start(bentos.small.HOUSE, version, bento, "sha256:" + letter * 64,
                              target=there, policy=policy, by="ann")  # fmt: skip
    assert begun.verdict is verdict
    assert there.read().running is (verdict is Verdict.PASS)
    assert ("replay" in [c.name for c in begun.checks]) is checked
    assert checked or "No logged rows" in str(there.events)


STAGES = [
    {"name": "shadow", "weight": 0, "requests": 100},
    {"name": "canary-50", "weight": 50, "requests": 200},
    {"name": "promote", "weight": 100, "requests": 0},
]


@pytest.fixture(scope="module")
def live(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A target that serves another version, and the Bento of the new one; Envoy and guard run."""
    root = tmp_path_factory.mktemp("live")
    flag = root / "broken"
    old = bentos.trained(tmp_path_factory.mktemp("old") / "old", ROUNDS - 2)
    policy = Rollout.model_validate({"plan": "canary", "stages": STAGES, "latency_ms": 2000,
                                     "hold_seconds": 600})  # fmt: skip
    found = {"root": root, "flag": flag, "policy": policy, "new": bentos.built(project, "v2.0.0"),
             "rows": bentos.rows(project, 300)}  # fmt: skip
    # The services of this target start with it; offline nobody reads it.
    os.environ["BREAK"] = str(flag)
    try:
        path, digest = bentos.built(old, "v1.0.0")
        begun = rollout.start(root, "v1.0.0", path, digest, policy=policy)
        assert begun.verdict is Verdict.PASS, begun.to_dict()
        yield found
    finally:
        del os.environ["BREAK"]
        rollout.down(root)
    assert not host.marked(root / "serving")


@pytest.mark.slow
def test_one_broken_slice_is_rolled_back_under_live_traffic(live: dict[str, Any]) -> None:
    """Real Bentos: a good one passes by the model itself, and one whose slice breaks goes back.

    The requests are nobody's replayed rows: no offline answers to them were given.
    """
    root, policy, (path, digest) = live["root"], live["policy"], live["new"]
    target = root / "serving"
    with Replay(host.url(target), live["rows"], rate=60, connections=4) as client:
        assert until(lambda: client.totals.ok > 100)
        begun = rollout.start(root, "v2.0.0", path, digest, policy=policy)
        by_name = {c.name: c for c in begun.checks}
        assert begun.verdict is Verdict.PASS, begun.to_dict()
        assert by_name["replay"].n is not None and by_name["replay"].n > 90
        shadow = rollout.stage(root, "shadow", 60)
        said = {c.name: c.reason for c in shadow.checks}
        assert shadow.verdict is Verdict.PASS, shadow.to_dict()
        assert "compared answers are the offline ones" in said["predictions"]
        # Killed, it is back by itself, and a verdict waits for it.
        os.kill(int(host.programs(target)["parity"]["pid"]), signal.SIGKILL)
        passed = rollout.stage(root, "canary-50", 90)
        assert passed.verdict is Verdict.PASS, passed.to_dict()
        before = parity.read(target, digest, state.read(target).started)
        assert before.compared >= 100 and before.wrong == 0
        live["flag"].touch()
        assert until(lambda: state.read(target).status == "rolled-back")
        assert "not the offline answer" in state.read(target).reason
        assert until(lambda: "parity" not in host.programs(target))
    assert client.totals.lost == 0


def test_the_scores_of_another_process_are_the_same(bento: Path, log: Log) -> None:
    """Asked in a process of its own; what the forker's code prints does no harm."""
    rows = [*log.rows[:10], {"amount": "x"}]
    assert offline.ask(bento, rows) == [*log.right[:10], None]
