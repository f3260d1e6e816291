"""The reference profile: bins, blocks, what is written and what never is."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from mainline.train import profile


def frame(n: int, seed: int = 0) -> pd.DataFrame:
    """A number with missing values, a category with rare names, and text."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice([*"abcdefghijkl"], n)
    kinds[:3] = ["Mrs Rare", "Mr Rare", "Dr Rare"]
    return pd.DataFrame(
        {
            "size": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "kind": pd.Categorical(kinds),
            "note": pd.Series(["Jane Doe"] * n, dtype=object),
        }
    )


def reference(n: int = 7000, weeks: int = 7) -> dict:
    """A profile of `n` rows over `weeks` whole weeks."""
    rng = np.random.default_rng(1)
    times = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(
        np.sort(rng.random(n)) * 7 * weeks, unit="D"))  # fmt: skip
    scores = rng.random((n, 1))
    decisions = (scores[:, 0] > 0.9).astype(int)
    y = rng.integers(0, 2, n)
    return profile.build_reference(frame(n), times, scores, decisions, y, times, "binary")


def test_it_is_json_and_names_no_rare_category_and_no_text():
    """Nothing that fewer than five rows share, and no free text, is written."""
    text = json.dumps(reference())
    assert "Rare" not in text
    assert "Jane" not in text
    assert json.loads(text)["schema"] == "profile/1"


def test_bins_are_ten_quantiles_nine_categories_the_others_and_missing():
    """Widths by kind; counts add up to the rows of the whole weeks."""
    made = reference()
    columns = made["columns"]
    widths = {c: profile.n_bins(s) for c, s in columns.items()}
    assert widths == {"size": 11, "kind": 11, "note": 2, "(score)": 11, "(decision)": 4}
    assert len(made["volume"]) == 7
    for spec in columns.values():
        assert np.array(spec["counts"]).sum() == made["rows"] == sum(made["volume"])
    size = profile.reference_counts(columns["size"])
    assert size[-1] / size.sum() == pytest.approx(0.1, abs=0.02)
    assert size[:-1].max() / size[:-1].min() < 1.1


def test_counts_of_the_reference_rows_are_the_reference():
    """The same rows counted again fall into the same bins."""
    made = reference()
    counts = profile.bin_counts(frame(7000), made)
    for name in ("size", "kind", "note"):
        assert (counts[name] == profile.reference_counts(made["columns"][name])).all()


def test_a_gone_column_is_all_missing_and_unseen_values_are_others():
    """What production lacks or invents still has a bin."""
    made = reference()
    rows = pd.DataFrame({"size": [1e9, -1e9, np.nan], "kind": ["new", None, "a"]})
    counts = profile.bin_counts(rows, made)
    assert counts["note"].tolist() == [0, 3]
    assert counts["size"][[0, -2, -1]].tolist() == [1, 1, 1]
    assert counts["kind"][-2:].tolist() == [1, 1] or counts["kind"][-2] == 2


def test_torn_weeks_at_the_ends_do_not_count():
    """A block with less than half the median of rows is left out."""
    times = pd.Series(pd.to_datetime(["2024-01-06"] * 10 + ["2024-01-09"] * 100
                                     + ["2024-01-16"] * 100))  # fmt: skip
    blocks = profile.block_numbers(times, "7D", len(times))
    spec = profile.column_profile(pd.Series(np.arange(210.0)), blocks)
    assert np.array(spec["counts"]).sum(axis=1).tolist() == [100, 100]


def test_blocks_begin_on_mondays():
    """Sunday and Monday are in different weeks, Monday and the next Sunday in one."""
    times = pd.Series(pd.to_datetime(["2024-01-07 23:59", "2024-01-08 00:00", "2024-01-14 23:59"]))
    assert profile.block_numbers(times, "7D", 3).tolist() == [0, 1, 1]


def test_tau_is_nought_for_equal_blocks_and_grows_with_their_differences():
    """Chance alone leaves next to nothing; weeks that differ leave what they differ by."""
    rng = np.random.default_rng(2)
    p = np.full(10, 0.1)
    same = np.array([rng.multinomial(1000, p) for _ in range(26)], dtype=float)
    luck = [p * np.exp(rng.normal(0, 0.2, 10)) for _ in range(26)]
    moved = np.array([rng.multinomial(1000, q / q.sum()) for q in luck], dtype=float)
    assert profile.excess(same) < 0.002
    assert 0.02 < profile.excess(moved) < 0.08


def test_without_time_there_is_one_block_and_no_tau():
    """The monitor then has to learn from production what is usual."""
    n = 500
    scores = np.random.default_rng(3).random((n, 1))
    made = profile.build_reference(frame(n), None, scores, scores[:, 0], scores[:, 0], None,
                                   "regression")  # fmt: skip
    assert made["volume"] == []
    assert {s["tau"] for s in made["columns"].values()} == {None}
    assert "(decision)" not in made["columns"]


def test_psi_is_symmetric_nought_for_equals_and_the_formula():
    """One half is added to each count; bins empty on both sides say nothing."""
    assert profile.psi([10, 20, 0], [10, 20, 0]) == 0
    assert profile.psi([10, 20], [30, 5]) == profile.psi([30, 5], [10, 20])
    p, q = np.array([10.5, 20.5]) / 31, np.array([30.5, 5.5]) / 36
    assert profile.psi([10, 20], [30, 5]) == pytest.approx(((p - q) * np.log(p / q)).sum())
    assert profile.psi([10, 20, 0], [30, 5, 0]) == profile.psi([10, 20], [30, 5])


def test_quality_of_each_task():
    """Counts and bounds of the streams that production will be held to."""
    y = np.array([1, 1, 1, 0, 0, 0])
    decided = np.array([1, 1, 0, 1, 0, 0])
    binary = profile.quality_reference(y, y[:, None], decided, "binary")["streams"]
    assert (binary["missed"]["n"], binary["missed"]["bad"]) == (3, 1)
    assert (binary["false_alert"]["n"], binary["false_alert"]["bad"]) == (3, 1)
    assert 1 / 3 < binary["missed"]["bound"] < 1
    many = profile.quality_reference(y, y[:, None], decided, "multiclass")["streams"]["wrong"]
    assert (many["n"], many["bad"]) == (6, 2)
    values = np.arange(100.0)
    scores = (values + np.arange(100.0) / 10)[:, None]
    number = profile.quality_reference(values, scores, scores[:, 0], "regression")["streams"]
    assert number["large_error"]["limit"] == pytest.approx(8.91)
    assert number["large_error"]["bad"] == 10
