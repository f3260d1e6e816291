"""Candidate against base through the real command, in a copy of the small sample repository."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import tables
from compare.released import document, pipeline, reasons
from small import Ran, commit, dvc, edit, git

from mainline import registry, settings
from mainline.compare import base as bases
from mainline.compare import compare, judge
from mainline.data import validate
from mainline.errors import NotMeasured
from mainline.evaluate import evaluate, predictions
from mainline.files import digest_tree
from mainline.git import head
from mainline.train import bundle, train
from mainline.verdict import Verdict, read_verdict

Call = Callable[..., Ran]


def test_the_first_model_is_held_against_a_dummy_and_a_linear_one(
    repository: Path, call: Call
) -> None:
    """Without any base the two baselines are the base, and both are in the document."""
    assert call(repository, "compare").status == 0
    found = document(repository)
    assert found["base"]["commit"] is None
    assert {m["scope"] for m in found["metrics"]} == {"dummy baseline", "linear baseline"}
    assert found["rows"]["positives"] > 0


def test_the_same_model_is_unchanged(released: Path, call: Call) -> None:
    """Byte for byte what is in production: PASS without scoring anything."""
    assert call(released, "compare").status == 0
    assert reasons(released)["unchanged"][0] == "PASS"
    assert document(released)["base"]["label"] == "production v1.0.0"


def test_another_file_with_the_same_predictions_is_unchanged(released: Path, call: Call) -> None:
    """A refactoring that changes no prediction passes, and is scored on both sides."""
    edit(
        released, "src/project/features.py", "built = frame.copy()", "built = frame.copy(deep=True)"
    )
    commit(released, "The same in other words")
    pipeline(released)
    assert call(released, "compare").status == 0
    assert "Every prediction is that of production v1.0.0" in reasons(released)["unchanged"][1]


def test_a_worse_model_fails_with_its_numbers(released: Path, call: Call) -> None:
    """Hardly any tree: the gate says which metric, by how much and how sure."""
    edit(released, "params.yaml", "max_iter: 150", "max_iter: 1")
    edit(released, "params.yaml", "learning_rate: 0.06", "learning_rate: 0.001")
    commit(released, "Hardly any tree")
    pipeline(released)
    ran = call(released, "compare")
    assert ran.status == 10, ran.out
    verdict, reason = reasons(released)["average_precision"]
    assert verdict == "FAIL"
    assert "worse, 95% bounds" in reason
    assert call(released, "gate").status == 10
    assert call(released, "register").status == 10
    assert len(git(released, "tag").splitlines()) == 2


def test_the_base_sets_the_limits(released: Path, call: Call) -> None:
    """A raised delta is shown, is INCONCLUSIVE, and the base's delta is the one that counts."""
    git(released, "switch", "--quiet", "--create", "wider")
    edit(released, "params.yaml", "delta: 0.03", "delta: 0.9")
    edit(released, "params.yaml", "max_iter: 150", "max_iter: 140")
    commit(released, "A wider gate")
    pipeline(released)
    assert call(released, "compare").status in (10, 11)
    verdict, reason = reasons(released)["policy"]
    assert verdict == "INCONCLUSIVE"
    assert "gate.delta: 0.03 -> 0.9" in reason
    assert document(released)["delta"] == 0.03


def test_edited_model_tests_are_shown(released: Path, call: Call) -> None:
    """Who changes the tests that judge them needs a person."""
    git(released, "switch", "--quiet", "--create", "other-tests")
    (released / "tests" / "model").mkdir(parents=True, exist_ok=True)
    (released / "tests" / "model" / "test_more.py").write_text("")
    commit(released, "Another test")
    pipeline(released)
    assert call(released, "compare").status == 11
    assert "tests/model/test_more.py" in reasons(released)["policy"][1]


def test_a_merged_policy_was_accepted_by_its_merge(released: Path, call: Call) -> None:
    """On main a changed limit is listed and blocks no release; the base's limits still judge."""
    edit(released, "params.yaml", "delta: 0.03", "delta: 0.02")
    commit(released, "A narrower gate")
    pipeline(released)
    assert call(released, "compare").status == 0
    verdict, reason = reasons(released)["policy"]
    assert verdict == "PASS"
    assert "gate.delta: 0.03 -> 0.02" in reason
    assert document(released)["delta"] == 0.03


def test_a_policy_that_is_not_committed_is_not_merged(released: Path, call: Call) -> None:
    """On main, an edit of the limits that is only in the work tree is INCONCLUSIVE."""
    edit(released, "params.yaml", "delta: 0.03", "delta: 0.9")
    assert call(released, "compare").status == 11
    assert reasons(released)["policy"][0] == "INCONCLUSIVE"


def test_predictions_of_other_settings_are_not_compared(released: Path, call: Call) -> None:
    """A changed parameter without a new pipeline is no candidate."""
    edit(released, "params.yaml", "max_iter: 150", "max_iter: 140")
    ran = call(released, "compare")
    assert (ran.status, "other code, settings" in ran.said) == (12, True)


def test_another_split_is_inconclusive(released: Path, call: Call) -> None:
    """With another salt the base may have trained on these test rows."""
    edit(released, "params.yaml", "salt: mainline-1", "salt: mainline-2")
    commit(released, "Another salt")
    pipeline(released)
    assert call(released, "compare").status in (10, 11)
    assert reasons(released)["same split"][0] == "INCONCLUSIVE"


def test_a_base_whose_model_is_lost_is_trained_again(released: Path, call: Call) -> None:
    """Neither cache nor store has it: its own code makes it again, with the same digest."""
    edit(released, "params.yaml", "max_iter: 150", "max_iter: 140")
    commit(released, "Fewer trees")
    pipeline(released)
    lost = json.loads(json.dumps(registry.versions(released, "card-fraud")[0].digest))
    keep = released / ".dvc" / "cache"
    shutil.rmtree(keep)
    ran = call(released, "compare")
    assert ran.status in (0, 11), ran.out + ran.err
    assert document(released)["base"]["digest"] == lost
    assert "base reproduced" not in reasons(released)


def test_predictions_of_another_model_are_refused(released: Path, call: Call) -> None:
    """Trained but not evaluated: status 12 and the remedy."""
    edit(released, "params.yaml", "max_iter: 150", "max_iter: 20")
    train.run(released)
    ran = call(released, "compare")
    assert (ran.status, "Run `./mainline pipeline`" in ran.said) == (12, True)
    found = read_verdict(released / "reports" / "verdicts" / "compare.json")
    assert found.verdict is Verdict.ERROR
    assert not (released / "reports" / "comparison.json").exists()


def test_the_base_is_production_then_newest_then_main_then_nothing(repository: Path) -> None:
    """The order of preference, step by step; a named base is taken as named."""
    options = settings.load(repository)
    assert bases.find(repository, options).commit is None
    git(repository, "checkout", "--quiet", "-b", "change")
    commit(repository, "A change")
    main = git(repository, "rev-parse", "main")
    assert bases.find(repository, options).commit == main
    for number in ("v1.0.0", "v1.1.0"):
        git(repository, "tag", "-a", f"card-fraud@{number}", "-m", number, main)
    assert bases.find(repository, options).version.name == "v1.1.0"
    first = git(repository, "rev-list", "--max-parents=0", "HEAD")
    git(repository, "tag", "-a", "card-fraud@v0.9.0", "-m", "v0.9.0", first)
    git(repository, "tag", "-a", "card-fraud#prod#1", "-m", "to prod", first)
    assert bases.find(repository, options).label == "production v0.9.0"
    assert bases.find(repository, options, "main").commit == main
    assert bases.find(repository, options, "v1.0.0").version.name == "v1.0.0"


def test_the_base_leaves_no_worktree_behind(released: Path, call: Call) -> None:
    """Whatever happened, `git worktree list` names this checkout alone."""
    edit(released, "params.yaml", "max_iter: 150", "max_iter: 140")
    commit(released, "Fewer trees")
    pipeline(released)
    before = head(released), digest_tree(released / "models")
    call(released, "compare")
    assert len(git(released, "worktree", "list").splitlines()) == 1
    assert (head(released), digest_tree(released / "models")) == before


def test_a_model_that_was_healthy_in_production_passes_as_a_revert(
    released: Path, call: Call
) -> None:
    """v1.0.0 gave way to v1.1.0; a pull request that takes v1.1.0 back brings v1.0.0 again."""
    first = git(released, "rev-parse", "HEAD")
    edit(released, "params.yaml", "max_iter: 150", "max_iter: 170")
    commit(released, "More trees")
    pipeline(released)
    assert call(released, "compare").status == 0
    assert call(released, "register").status == 0
    assert call(released, "promote", "v1.1.0").status == 0
    git(released, "switch", "--quiet", "--create", "back")
    git(released, "revert", "--no-edit", "HEAD")
    pipeline(released)
    assert call(released, "compare").status == 0, reasons(released)
    assert reasons(released)["revert"] == (
        "PASS",
        "The model is a revert to v1.0.0, which was healthy in production",
    )
    found = document(released)
    assert found["revert"] == "v1.0.0"
    assert {m["verdict"] for m in found["metrics"]} == {None}
    git(released, "tag", "-a", "card-fraud#archived#3", "-m", "found to be bad", first)
    call(released, "compare")
    assert "revert" not in reasons(released)


@pytest.mark.parametrize(
    ("stages", "found"),
    [
        (["v1.0.0"], None),  # it stands there now
        (["v1.0.0", "v1.1.0"], "v1.0.0"),
        (["v0.9.0", "v1.0.0", "v1.1.0"], "v1.0.0"),
        (["v0.9.0", "v1.0.0", "v0.9.0"], None),  # it gave way to an older one: taken back
        (["v1.0.0", "v1.1.0", "v1.0.0", "v1.1.0", "v1.2.0"], "v1.0.0"),
        (["v0.9.0", "v1.1.0"], None),  # another digest
    ],
)
def test_who_was_healthy_in_production(
    stages: list[str], found: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A version that stood there and gave way to a newer one; never one that was taken back."""

    def version(name: str) -> registry.Version:
        number = tuple(map(int, name.removeprefix("v").split(".")))
        return registry.Version("m", number, name, {"Model-Digest": f"sha256:{name}"})

    moved = [registry.Move("prod", n, version(s)) for n, s in enumerate(stages)]
    monkeypatch.setattr(registry, "moves", lambda root, model: moved)
    back = compare.healthy_before(tmp_path, "m", "sha256:v1.0.0")
    assert (back.name if back else None) == found
    for away in registry.AWAY:
        moved.append(registry.Move(away, len(moved), version("v1.0.0")))
        assert compare.healthy_before(tmp_path, "m", "sha256:v1.0.0") is None
        moved.pop()


def test_a_column_that_is_gone_is_read_from_the_bases_own_rows(branch: Path, call: Call) -> None:
    """The candidate gives a column up: the base scores the same row ids with its own data."""
    folder = branch / "data" / "rows"
    for path in folder.glob("*.parquet"):
        pd.read_parquet(path).drop(columns="merchant_risk").to_parquet(path, index=False)
    lines = (branch / "schema.yaml").read_text("utf-8").splitlines(keepends=True)
    kept = [line for line in lines if "merchant_risk" not in line]
    (branch / "schema.yaml").write_text("".join(kept), encoding="utf-8")
    for path in (branch / "src" / "project").glob("*.py"):
        assert "merchant_risk" not in path.read_text("utf-8")
    dvc(branch, "add", "--quiet", "data")
    commit(branch, "Without the merchant's risk")
    pipeline(branch)
    assert call(branch, "compare").status in (10, 11)
    found = reasons(branch)
    assert found["same rows"][0] == "PASS"
    assert "average_precision" in found
    assert "schema.yaml column merchant_risk" in found["policy"][1]
    assert found["rows lost"][0] == "PASS", "a column is no row"


def test_other_classes_are_inconclusive_and_held_against_baselines(
    branch: Path, call: Call
) -> None:
    """A model of the other class answers another question; a person can let it through."""
    edit(branch, "params.yaml", "positive: 1 ", "positive: 0 ")
    commit(branch, "The other class")
    for step in (validate, train):
        step.run(branch)
    evaluate.run(branch)
    assert call(branch, "compare").status in (10, 11)
    found = reasons(branch)
    assert found["same classes"][0] == "INCONCLUSIVE"
    assert {m["scope"] for m in document(branch)["metrics"]} == {
        "dummy baseline",
        "linear baseline",
    }


def test_rows_that_one_side_did_not_score_are_named_and_counted() -> None:
    """Two of four rows differ: both names and the count are told."""

    def side(*ids: str) -> predictions.Predictions:
        return predictions.Predictions(pd.DataFrame({"row_id": list(ids)}))

    found = compare._same_rows(side("a", "b", "c"), side("b", "c", "d"))
    assert (found.verdict, found.value, found.n) == (Verdict.INCONCLUSIVE, 2, 2)
    assert "'a', 'd'" in found.reason
    assert compare._same_rows(side("a"), side("a")).verdict is Verdict.PASS


@pytest.mark.parametrize(("spent", "verdict"), [(99.0, "PASS"), (110.0, "FAIL")])
def test_a_slow_row_is_a_failure_beside_the_bases_time(
    sample_repository: Path, spent: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gate.model.latency_ms holds the candidate, and both sides' cost is told."""
    monkeypatch.setattr(judge.latency, "measure", lambda model: spent)
    monkeypatch.setattr(judge, "quickest", lambda model: spent)
    gate = settings.load(sample_repository).gate
    (found,), told = judge.cost(
        loaded(sample_repository), gate, {"latency_ms": 4.2}, {"seconds": 1}
    )
    assert (found.verdict.value, found.value, found.limit) == (verdict, spent, 100)
    assert "with the base 4.2 ms" in found.reason
    assert told["candidate"]["latency_ms"] == spent
    assert told["candidate"]["size_mb"] > 0
    assert told["candidate"]["seconds"] == 1


def test_a_busy_machine_is_not_the_models_fault(
    sample_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit the quickest of fifty times counts; a model that is slow is slow in all."""
    gate = settings.load(sample_repository).gate
    monkeypatch.setattr(judge.latency, "measure", lambda model: 500.0)
    (found,), _ = judge.cost(loaded(sample_repository), gate, {}, {})
    assert found.verdict is Verdict.PASS
    monkeypatch.setattr(judge, "ASKED", 3)
    slow = SimpleNamespace(meta={"golden": [{"row": {}}]}, decide=lambda scores: None,
                           predict=lambda frame: time.sleep(0.02))  # fmt: skip
    assert judge.quickest(slow) >= 20  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("split", "without", "groups"),
    [("block", (), 13), ("entity", (), 25), ("row", (), 25), ("row", ("who",), None)],
)
def test_rows_that_depend_on_one_another_are_drawn_together(
    split: str, without: tuple[str, ...], groups: int | None, tmp_path: Path
) -> None:
    """Blocks of time as the split makes them, entities, or each row for itself."""
    rules = tables.schema(without, entity=None if "who" in without else "who")
    frame = tables.typed(100)
    frame["at"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(frame.index * 84 / 100, unit="D")
    ids = frame["id"].sample(frac=0.9, random_state=0)
    work = compare.Work(tmp_path, tables.settings(split), rules, None, None, None, frame, tmp_path,
                        {}, {})  # type: ignore[arg-type]  # fmt: skip
    found = compare._groups(work, ids)
    assert (None if found is None else len(set(found))) == groups
    if found is not None:
        keys = frame.set_index("id")["who" if split != "block" else "at"].reindex(ids)
        same = keys.eq(keys.iloc[0]).to_numpy()
        assert len(set(found[same])) == 1


def test_a_base_that_cannot_be_scored_leaves_the_other_checks(
    branch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ERROR, or INCONCLUSIVE where it cannot read the rows; policy and data are told."""
    edit(branch, "params.yaml", "delta: 0.03", "delta: 0.3")
    for error, verdict in ((NotMeasured("Lost", "Push it"), "ERROR"),
                           (bases.Unreadable("No column 'x'"), "INCONCLUSIVE")):  # fmt: skip

        def fails(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(bases, "score", fails)
        monkeypatch.setattr(compare, "_unchanged", None)
        monkeypatch.setattr(registry.Version, "digest", "sha256:other")
        assert compare.run(branch).verdict.value == verdict
        found = reasons(branch)
        assert found["base"][0] == verdict
        assert "gate.delta" in found["policy"][1]
        assert document(branch)["data"]["same"] is True
        assert bool(document(branch)["metrics"]) == (verdict == "INCONCLUSIVE")


def loaded(root: Path) -> bundle.Bundle:
    """The trained model of a repository."""
    return bundle.load(root / "models", root)
