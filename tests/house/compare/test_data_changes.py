"""Rows lost, labels changed and a target that moved need a person; honest growth needs none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tables
from copies import ROOT
from small import git

from mainline import settings
from mainline.compare import cache, data, past
from mainline.compare.policy import Policy
from mainline.data import schema, split, table
from mainline.errors import RemoteError
from mainline.limits import DataLimits
from mainline.verdict import Verdict

PASS, INCONCLUSIVE = Verdict.PASS, Verdict.INCONCLUSIVE
RULES, OWN = tables.schema(), tables.settings()


def rows(n: int, seed: int = 0, start: int = 0) -> pd.DataFrame:
    """Typed rows, named r<start>..., as `past.typed` gives them."""
    frame = tables.typed(n, seed)
    frame["id"] = [f"r{start + i}" for i in range(n)]
    return frame.set_index(pd.Index(frame["id"], name=None))


def verdicts(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, Verdict]:
    """The verdicts by the default limits."""
    found = data.changed(old, new, OWN, RULES)
    return {c.name: c.verdict for c in data.judge(found, DataLimits(), OWN)}


OLD = rows(2000)


@pytest.mark.parametrize("share", [0.5, 0.88])
def test_rows_that_are_gone(share: float) -> None:
    """Half of the data gone, and a tenth and more: a person decides."""
    kept = OLD.sample(frac=share, random_state=0)
    found = data.changed(OLD, kept, OWN, RULES)
    assert found.removed == 2000 - len(kept)
    assert set(found.names["removed"]) <= set(OLD.index) - set(kept.index)
    assert verdicts(OLD, kept)["rows lost"] is INCONCLUSIVE


def test_a_few_rows_may_go() -> None:
    """Some are taken out by hand now and then."""
    assert verdicts(OLD, OLD.iloc[50:])["rows lost"] is PASS


def test_rows_whose_values_are_replaced_are_lost_as_well() -> None:
    """Another table under the same ids is another table."""
    other = OLD.assign(size=OLD["size"] + 1)
    found = data.changed(OLD, other, OWN, RULES)
    assert (found.removed, found.changed, found.relabelled) == (0, 2000, 0)
    assert verdicts(OLD, other)["rows lost"] is INCONCLUSIVE


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_poisoned_and_inverted_labels(share: float) -> None:
    """A tenth of the labels flipped, or all of them."""
    flip = np.random.default_rng(1).random(len(OLD)) < share
    other = OLD.assign(y=np.where(flip, 1 - OLD["y"], OLD["y"]))
    found = data.changed(OLD, other, OWN, RULES)
    assert found.relabelled == flip.sum()
    assert verdicts(OLD, other)["relabelled"] is INCONCLUSIVE


def test_a_label_that_is_taken_away_is_another_label() -> None:
    """Else frauds could be made unknown."""
    other = OLD.assign(y=OLD["y"].where(OLD["y"] == 0))
    assert data.changed(OLD, other, OWN, RULES).relabelled == int((OLD["y"] == 1).sum())


def test_labels_that_were_not_known_yet_are_none_that_changed() -> None:
    """They got their first, and are counted as that."""
    unknown = OLD.copy()
    unknown.loc[unknown.index[1500:], "y"] = np.nan
    found = data.changed(unknown, OLD, OWN, RULES)
    assert (found.relabelled, found.labelled, found.removed, found.changed) == (0, 500, 0, 0)
    assert verdicts(unknown, OLD)["relabelled"] is PASS


def test_new_rows_with_their_labels_pass() -> None:
    """Added rows of the same kind; both sides are told with an interval."""
    new = pd.concat([OLD, rows(800, 5, start=5000)])
    found = data.changed(OLD, new, OWN, RULES)
    assert (found.added, found.base_rows, found.rows) == (800, 2000, 2800)
    assert set(verdicts(OLD, new).values()) == {PASS}
    label = data.document(found)["label"]
    share = label["came"]["values"]["1"]
    assert share["low"] < share["value"] < share["high"]
    assert json.dumps(data.document(found))


@pytest.mark.parametrize("what", ["inverted", "poisoned"])
def test_new_rows_with_another_target(what: str) -> None:
    """A rare class that suddenly is frequent, in new rows alone: no old label changed."""
    old = OLD.assign(y=(np.arange(2000) % 25 == 0).astype(float))
    more = rows(1000, 5, start=5000).assign(y=(np.arange(1000) % 25 == 0).astype(float))
    assert verdicts(old, pd.concat([old, more]))["label shift"] is PASS
    flip = np.random.default_rng(0).random(1000) < (1.0 if what == "inverted" else 0.1)
    more = more.assign(y=np.where(flip, 1 - more["y"], more["y"]))
    assert verdicts(old, pd.concat([old, more]))["label shift"] is INCONCLUSIVE


def test_a_few_new_rows_prove_no_shift() -> None:
    """Five positives of ten may be chance."""
    old = OLD.assign(y=(np.arange(2000) % 4 == 0).astype(float))
    more = rows(10, 5, start=5000).assign(y=[1.0, 0.0] * 5)
    assert verdicts(old, pd.concat([old, more]))["label shift"] is PASS


def test_a_season_is_no_shift() -> None:
    """A mean that moves each month is held against how far months moved before."""
    times = pd.Series(pd.date_range("2022-01-01", periods=24 * 365, freq="2h"))
    warm = np.sin(2 * np.pi * times.dt.dayofyear / 365)
    values = 100 + 60 * warm + np.random.default_rng(0).normal(0, 40, len(times))
    first, late = values[times < "2023-07-01"], values[times >= "2023-07-01"][:360]
    months = (times[first.index] - pd.Timestamp(0)) // pd.Timedelta("30D")
    moved = data.shift(data.target(first), data.target(late), float(first.std()))
    assert moved > DataLimits().label_shift
    assert moved <= data.usual_shift(first, months)
    gone = data.shift(data.target(first), data.target(late + 300), float(first.std()))
    assert gone > data.usual_shift(first, months)


@pytest.mark.parametrize(
    ("moved", "usual", "verdict"),
    [(0.4, 0.6, PASS), (0.4, 0.3, INCONCLUSIVE), (0.4, None, INCONCLUSIVE), (0.1, None, PASS)],
)
def test_a_shift_is_held_against_the_limit_and_against_what_is_usual(
    moved: float, usual: float | None, verdict: Verdict
) -> None:
    """The larger of the two; a limit of null decides nothing."""
    some = data.target(pd.Series(["1", "0"] * 20, dtype=object))
    found = data.Changed(9, 9, 0, 0, 0, 0, 0, {"removed": [], "changed": [], "relabelled": []},
                         some, some, moved, usual)  # fmt: skip
    assert data.judge(found, DataLimits(), OWN)[2].verdict is verdict
    assert data.judge(found, DataLimits(label_shift=None), OWN)[2].verdict is PASS


def test_a_class_that_is_gone_is_a_shift() -> None:
    """Of three classes one no longer comes."""
    before = pd.Series(["a", "b", "c"] * 200, dtype=object)
    after = pd.Series(["a", "b"] * 200, dtype=object)
    assert data.shift(data.target(before), data.target(after)) > DataLimits().label_shift
    assert data.shift(data.target(before), data.target(before)) == 0


def test_the_intervals_of_a_share_are_wilsons() -> None:
    """10 of 100: 5.5% to 17.4% (Wilson 1927)."""
    values = pd.Series(["1"] * 10 + ["0"] * 90, dtype=object)
    assert data.target(values).values["1"] == pytest.approx((0.1, 0.0552, 0.1744), abs=1e-4)


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_the_retraining_of_the_sample_passes_and_its_faults_do_not(seed: int) -> None:
    """Four months with the drifted fraud are growth; the same with poison are not."""
    from sample.feed import raw_month

    own, rules = settings.load(ROOT), schema.load(ROOT)

    def month(number: int, known: str) -> pd.DataFrame:
        frame, _ = table.coerce(raw_month(number, n=2000, seed=seed), rules)
        late = frame["label_available_at"] > known
        frame.loc[late, "is_fraud"] = np.nan
        frame.loc[late, "label_available_at"] = pd.NaT
        return frame.set_index(table.row_ids(frame, rules))

    old = pd.concat([month(m, "2024-07-02") for m in range(1, 7)])
    new = pd.concat([month(m, "2024-11-10") for m in range(1, 11)])
    found = data.changed(old, new, own, rules)
    assert found.labelled > 0
    assert {c.verdict for c in data.judge(found, own.gate.data, own)} == {PASS}
    flip = (np.random.default_rng(0).random(len(new)) < 0.1) & new["is_fraud"].notna()
    bad = new.assign(is_fraud=np.where(flip, 1 - new["is_fraud"], new["is_fraud"]))
    checks = data.judge(data.changed(old, bad, own, rules), own.gate.data, own)
    assert {c.name for c in checks if c.verdict is INCONCLUSIVE} >= {"relabelled"}


# ---- the test part -----------------------------------------------------------------------------


def held(frame: pd.DataFrame, label: float | None = None) -> pd.Index:
    """The ids of the test rows whose labels matured, of one class where `label` says which."""
    frame = frame[table.usable(frame, OWN, RULES)]
    inside = split.assign(frame, OWN, RULES) == "test"
    return frame.index[inside & (True if label is None else frame["y"] == label)]


def flipped(ids: pd.Index) -> pd.DataFrame:
    """OLD with the other label in these rows."""
    return OLD.assign(y=OLD["y"].where(~OLD.index.isin(ids), 1 - OLD["y"]))


def test_rows_of_one_class_gone_from_the_test_part_alone() -> None:
    """A quarter of its positives is 2% of all rows, yet a person decides and reads where."""
    ids = held(OLD, 1.0)
    gone = ids[: len(ids) // 4]
    found = data.changed(OLD, OLD.drop(gone), OWN, RULES)
    lost = data.judge(found, DataLimits(), OWN)[0]
    assert len(gone) / len(OLD) < DataLimits().removed / 2
    assert (lost.verdict, lost.n) == (INCONCLUSIVE, len(ids))
    assert f"{len(gone)} of {len(ids)} test rows of class '1' of main are gone" in lost.reason
    assert data.document(found)["test"] == {
        "rows": len(held(OLD)), "removed": len(gone), "changed": 0, "relabelled": 0,
    }  # fmt: skip


def test_values_replaced_in_the_test_part_alone_are_lost_there() -> None:
    """Rows that were made easy are no more those of main than rows that are gone."""
    other = OLD.assign(size=OLD["size"] + OLD.index.isin(held(OLD, 1.0)[:40]))
    assert verdicts(OLD, other)["rows lost"] is INCONCLUSIVE


def test_labels_flipped_both_ways_in_the_test_part_alone() -> None:
    """As many each way, so that the shares stay: few of all rows, many of the test."""
    ids = held(OLD, 0.0)[:15].append(held(OLD, 1.0)[:15])
    found = data.changed(OLD, flipped(ids), OWN, RULES)
    check = data.judge(found, DataLimits(), OWN)[1]
    assert found.relabelled / len(OLD) < DataLimits().relabelled
    assert check.verdict is INCONCLUSIVE
    assert "test rows of class '1' of main have another label" in check.reason
    assert data.document(found)["test"]["relabelled"] == 30


def test_two_corrected_labels_ask_nobody_and_a_third_does() -> None:
    """Two of a class of ten are a fifth of it; so are two rows that go."""
    rare = held(OLD, 1.0)[:10]
    old = OLD.drop(held(OLD, 1.0)[10:])
    for count, verdict in ((2, PASS), (3, INCONCLUSIVE)):
        other = old.assign(y=old["y"].where(~old.index.isin(rare[:count]), 0.0))
        assert verdicts(old, other)["relabelled"] is verdict
    assert verdicts(old, old.drop(rare[:2]))["rows lost"] is PASS


def test_the_same_outside_of_the_test_part_passes() -> None:
    """What nobody is measured on is held against the share of all rows."""
    rest = OLD.index.difference(held(OLD), sort=False)
    assert verdicts(OLD, OLD.drop(rest[:100]))["rows lost"] is PASS
    assert verdicts(OLD, flipped(rest[:30]))["relabelled"] is PASS


def test_the_split_is_that_of_main() -> None:
    """A branch with a salt of its own cannot say which rows were the test."""
    ids, salted = held(OLD, 1.0)[:30], tables.settings(salt="other")
    found = data.changed(OLD, OLD.drop(ids), salted, RULES, OWN)
    assert data.document(found)["test"]["removed"] == 30


@pytest.mark.parametrize(("count", "verdict"), [(3, PASS), (60, INCONCLUSIVE)])
def test_the_test_part_of_a_regression_counts_as_a_whole(count: int, verdict: Verdict) -> None:
    """A number has no classes; a few of its test rows may go or be corrected, 15% may not."""
    model = {"name": "toy", "task": "regression", "target": "y"}
    own = tables.settings(model=model, evaluate={"metrics": ["mae"]},
                          gate={"metric": "mae", "delta": 0.01})  # fmt: skip
    old = OLD.assign(y=OLD["size"] * 3)
    ids = held(old)[:count]
    other = old.assign(y=old["y"] + old.index.isin(ids[: count // 2]))
    for place, new in enumerate((old.drop(ids), other)):
        found = data.changed(old, new, own, RULES)
        assert len(found.test) == 1
        assert data.judge(found, DataLimits(), own)[place].verdict is verdict


def test_rows_that_cannot_be_split_are_no_test_rows() -> None:
    """Two rows leave a part empty; the shares of all rows still count."""
    found = data.changed(OLD[:2], OLD[:1], OWN, RULES)
    assert data.document(found)["test"] is None
    assert data.judge(found, DataLimits(), OWN)[0].verdict is INCONCLUSIVE


# ---- where the rows come from ------------------------------------------------------------------


def test_equal_pointers_read_nothing(sample_repository: Path) -> None:
    """The data are those of main, file for file."""
    own, rules = settings.load(sample_repository), schema.load(sample_repository)
    by = Policy(git(sample_repository, "rev-parse", "HEAD"), own)
    (found,), told = data.check(sample_repository, by, own, own.gate.data, rules)
    assert (found.verdict, told["same"]) == (PASS, True)


def test_the_rows_of_another_commit_come_from_the_cache(sample_repository: Path) -> None:
    """Without DVC; and they are what stands in data/."""
    commit = git(sample_repository, "rev-parse", "HEAD")
    pointer = past.pointer_at(sample_repository, commit)
    assert cache.dvc_md5(sample_repository / "data") == pointer
    rules = schema.load(sample_repository)
    with past.data_at(sample_repository, commit) as folder:
        assert all(f.is_symlink() for f in folder.rglob("*.parquet"))
        there = past.typed(folder, rules)
    pd.testing.assert_frame_equal(there, past.typed(sample_repository, rules))


def test_rows_come_from_the_store_where_the_cache_has_none(repository: Path) -> None:
    """Through a worktree, which is gone afterwards."""
    shutil.rmtree(repository / ".dvc" / "cache")
    with past.data_at(repository, git(repository, "rev-parse", "HEAD")) as folder:
        assert len(list(folder.rglob("data/rows/*.parquet"))) == 6
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_rows_that_cannot_be_had_are_not_a_pass(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither cache nor store: what was lost is not known, so a person decides."""

    def lost(*words: object) -> None:
        raise RemoteError("dvc pull failed")

    monkeypatch.setattr(past, "dvc", lost)
    own, rules = settings.load(repository), schema.load(repository)
    by = Policy(git(repository, "rev-parse", "HEAD"), own)
    text = (repository / "data.dvc").read_text("utf-8")
    digest = past.pointer_at(repository, None)
    (repository / "data.dvc").write_text(text.replace(digest, "0" * 32 + ".dir"), "utf-8")
    shutil.rmtree(repository / ".dvc" / "cache")
    (found,), told = data.check(repository, by, own, own.gate.data, rules)
    assert (found.verdict, told["same"]) == (INCONCLUSIVE, False)
    assert "cannot be had" in found.reason


def test_a_list_of_files_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    """A name with `..` in what the cache holds is refused."""
    store = tmp_path / ".dvc" / "cache" / "files" / "md5"
    (store / "ab").mkdir(parents=True)
    (store / "ab" / "c").write_text("x")
    (store / "cd").mkdir()
    (store / "cd" / "e.dir").write_text(json.dumps([{"md5": "abc", "relpath": "../../out"}]))
    assert not cache.from_cache(tmp_path, "cde.dir", tmp_path / "target" / "data")
    assert not (tmp_path / "out").exists()
    assert not cache.from_cache(tmp_path, "../../x", tmp_path / "target" / "data")
