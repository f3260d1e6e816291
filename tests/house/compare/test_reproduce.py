"""A lock or a model that came with a pull request is compared with what was trained here."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from compare.released import document, reasons
from small import commit, dvc, edit, git

from mainline import settings
from mainline.compare import cache, compare, reproduce
from mainline.compare.policy import find
from mainline.data import schema, validate
from mainline.evaluate import evaluate, predictions
from mainline.train import train
from mainline.verdict import Verdict

PASS, INCONCLUSIVE, FAIL, _ = Verdict


def lock_of(root: Path) -> dict:
    """The stage `train` of the lock in the work tree."""
    found = reproduce.stage((root / "dvc.lock").read_text("utf-8"))
    assert found is not None
    return found


def test_digests_are_those_of_dvc(sample_repository: Path) -> None:
    """Of every file and folder that the lock of the whole pipeline names."""
    lock = yaml.safe_load((sample_repository / "dvc.lock").read_text("utf-8"))
    named = {e["path"]: e["md5"] for stage in lock["stages"].values()
             for e in (*stage["deps"], *stage["outs"])}  # fmt: skip
    assert len(named) > 10
    for path, digest in named.items():
        assert cache.dvc_md5(sample_repository / path) == digest, path
    assert cache.dvc_md5(sample_repository / "nothing") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lock: lock.update(cmd="true"), "the command"),
        (lambda lock: lock["deps"][0].update(md5="0"), "build/validated"),
        (lambda lock: lock["deps"].pop(), "src/project"),
        (lambda lock: lock["params"]["params.yaml"].pop("split"), "the setting split"),
        (lambda lock: lock["params"]["params.yaml"]["train"].update(seed=9), "the setting train"),
    ],
)
def test_what_is_out_of_step_is_named(sample_repository: Path, change: object, said: str) -> None:
    """Command, files and settings each have to be those of the lock."""
    lock = lock_of(sample_repository)
    assert reproduce.out_of_step(sample_repository, lock) is None
    lock["deps"].sort(key=lambda d: d["path"])
    change(lock)  # type: ignore[operator]
    assert reproduce.out_of_step(sample_repository, lock) == said


@pytest.mark.parametrize("text", ["", "a: [", "stages: {}", "stages: {train: 1}", "[]",
                                  "stages: {train: {outs: [{path: other}]}}"])  # fmt: skip
def test_a_lock_that_cannot_be_read_is_none(text: str) -> None:
    """Whatever a pull request puts there."""
    assert reproduce.stage(text) is None


def side(scores: list[float], ids: str = "abc") -> predictions.Predictions:
    """Predictions of three rows."""
    found = np.array(scores)
    decided = (found > 0.5).astype(int)
    frame = pd.DataFrame({"row_id": list(ids), "score_0": found, "decision": decided})
    return predictions.Predictions(frame)


@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [
        (side([0.1, 0.2, 0.9]), PASS),
        (side([0.1, 0.2 + 9e-10, 0.9]), PASS),
        (side([0.1, 0.2 + 2e-9, 0.9]), FAIL),
        (side([0.1, 0.2, 0.9], "abd"), FAIL),
    ],
)
def test_predictions_may_differ_by_a_billionth(
    theirs: predictions.Predictions, verdict: Verdict
) -> None:
    """Other bytes that say the same are the same; other answers are not."""
    found, _ = reproduce.judge(side([0.1, 0.2, 0.9]), theirs)
    assert found.verdict is verdict
    assert ("Leave dvc.lock out" in found.reason) == (verdict is FAIL)


def checked(root: Path) -> tuple[dict[str, Verdict], dict[str, str]]:
    """The checks on what came along, and their reasons."""
    options, rules = settings.load(root), schema.load(root)
    frame, part = evaluate.held_out(root, options, rules)
    rows = root / "build" / "rows.parquet"
    frame[part == "test"].to_parquet(rows, index=False)
    own = predictions.read(root / "reports" / "predictions.parquet").of("test")
    by = find(root, git(root, "rev-parse", "HEAD"))
    found, _ = reproduce.check(root, by, rows, own)
    return {c.name: c.verdict for c in found}, {c.name: c.reason for c in found}


def test_the_lock_of_what_was_trained_here_is_named_so(sample_repository: Path) -> None:
    """Equal to the byte; nothing is fetched or scored."""
    verdicts, said = checked(sample_repository)
    assert verdicts == {"reproduction": PASS}
    assert "byte for byte" in said["reproduction"]


@pytest.mark.parametrize("name", ["models/model.skops", "reports/metrics.json", "build/validated",
                                  ".dvc/cache/files/md5/ab/cd"])  # fmt: skip
def test_outputs_that_are_committed_fail(repository: Path, name: str) -> None:
    """A model, a verdict, a token of the pipeline or a cache in Git."""
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    if not (repository / name).exists():
        (repository / name).write_text("x")
    assert reproduce.committed(repository) is None
    git(repository, "add", "--force", name)
    found = reproduce.committed(repository)
    assert found is not None
    assert found.verdict is FAIL
    assert name in found.reason


def by_hand(root: Path, change: object) -> None:
    """Change files of models/ and commit a lock in step that names the result.

    Afterwards models/ is what was trained here, as in CI.
    """
    kept = root.parent / "trained"
    shutil.copytree(root / "models", kept)
    change(root / "models")  # type: ignore[operator]
    dvc(root, "commit", "--force", "--quiet", "train")
    commit(root, "A lock of mine")
    shutil.rmtree(root / "models")
    shutil.copytree(kept, root / "models")


def another_seed(models: Path) -> None:
    """A model of other training rows than this code takes: it has seen the test rows."""
    root = models.parent
    options, rules = settings.load(root), schema.load(root)
    rows = train.usable_rows(root, options, rules)
    part = rows.part.replace({"test": "train", "train": "test"})
    swapped = train.Rows(rows.frame, part, rows.y, rows.classes)
    with train.one_thread(root, options):
        train.write_bundle(root, swapped, options, rules)


def test_a_hand_made_model_with_a_lock_in_step_fails(branch: Path) -> None:
    """It memorises the test rows, and the lock says that it is this commit's."""
    by_hand(branch, another_seed)
    found = compare.run(branch)
    assert found.verdict is FAIL
    verdict, reason = reasons(branch)["reproduction"]
    assert verdict == "FAIL"
    assert "not what this code makes" in reason
    assert document(branch)["reproduction"]["in_step"] is True
    assert reasons(branch)["unchanged"][0] == "PASS", "what is judged was trained here"


def test_other_bytes_with_the_same_answers_pass(branch: Path) -> None:
    """A space in the metadata makes another digest and no other model."""

    def space(models: Path) -> None:
        path = models / "model.json"
        path.write_text(path.read_text("utf-8") + "\n", encoding="utf-8")

    by_hand(branch, space)
    verdicts, said = checked(branch)
    assert verdicts["reproduction"] is PASS
    assert "other bytes that say the same" in said["reproduction"]


def test_a_model_that_cannot_be_had_is_inconclusive(branch: Path) -> None:
    """A lock that promises what is nowhere; the remedy is to leave it out."""
    text = (branch / "dvc.lock").read_text("utf-8")
    digest = reproduce._digest_of(lock_of(branch), "outs", "models")
    (branch / "dvc.lock").write_text(text.replace(str(digest), "0" * 32 + ".dir"), "utf-8")
    commit(branch, "A lock of nothing")
    verdicts, said = checked(branch)
    assert verdicts["reproduction"] is INCONCLUSIVE
    assert "Leave dvc.lock out" in said["reproduction"]


def test_a_lock_that_main_has_decides_nothing(branch: Path) -> None:
    """The lock of another machine on main does not hold up those who branch from it."""
    git(branch, "switch", "--quiet", "main")
    text = (branch / "dvc.lock").read_text("utf-8")
    digest = reproduce._digest_of(lock_of(branch), "outs", "models")
    (branch / "dvc.lock").write_text(text.replace(str(digest), "0" * 32 + ".dir"), "utf-8")
    commit(branch, "From another machine")
    assert checked(branch)[0]["reproduction"] is PASS
    git(branch, "switch", "--quiet", "--create", "next")
    edit(branch, "README.md", "\n", "\n\n")
    commit(branch, "Words")
    verdicts, said = checked(branch)
    assert verdicts["reproduction"] is PASS
    assert "it is not used" in said["reproduction"]


def test_a_lock_out_of_step_passes_and_is_said(branch: Path) -> None:
    """Other settings than the lock's: the model was trained here anyway."""
    edit(branch, "params.yaml", "max_iter: 150", "max_iter: 140")
    commit(branch, "Fewer trees")
    for step in (validate, train):
        step.run(branch)
    verdicts, said = checked(branch)
    assert verdicts["reproduction"] is PASS
    assert "out of step (the setting train)" in said["reproduction"]
    git(branch, "rm", "--quiet", "--cached", "dvc.lock")
    git(branch, "commit", "--quiet", "-m", "None")
    assert "No dvc.lock came along" in checked(branch)[1]["reproduction"]
