"""The simulator: shapes of sample-data, reproducible, independent months, and feeds that break."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import sample
from sample import feed
from sample.__main__ import main
from sample.simulate import MULE, mule_share

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def large() -> dict[int, pd.DataFrame]:
    """Large months before and after the new fraud, with the hidden kind."""
    return {m: sample.month(m, 60_000, with_type=True) for m in (6, 9, 11)}


def test_the_same_arguments_give_the_same_rows():
    """Seeded by (seed, month, chunk): repeatable, and different for each of the three."""
    pd.testing.assert_frame_equal(sample.month(3, 500), sample.month(3, 500))
    amounts = [sample.month(3, 500)["amount"], sample.month(3, 500, seed=8)["amount"],
               sample.month(3, 500, chunk=1)["amount"], sample.month(4, 500)["amount"]]  # fmt: skip
    assert len({tuple(a) for a in amounts}) == 4


def test_customers_stay_the_same_over_the_months():
    """Home, card and age band belong to the customer, in every month."""
    rows = pd.concat([sample.month(m, 3000) for m in (1, 8)])
    for column in ("age_band", "card_type"):
        assert (rows.groupby("customer_id")[column].nunique() == 1).all()


def test_columns_are_those_of_the_schema_in_order():
    """What the simulator writes is what schema.yaml declares; the hidden kind is not in it."""
    schema = yaml.safe_load((ROOT / "schema.yaml").read_text("utf-8"))
    columns = list(sample.month(1, 10).columns)
    assert sorted(columns) == sorted(c["name"] for c in schema["columns"])
    assert "_type" not in columns


def test_ids_are_unique_over_the_data_set_and_tell_nothing_of_the_label(large):
    """Unique over months and chunks; the number in the id is not related to the label."""
    parts = [sample.month(m, 2000, chunk=c) for m in (1, 2) for c in (0, 1)]
    ids = pd.concat(parts)["transaction_id"]
    assert ids.is_unique
    rows = large[6]
    number = rows["transaction_id"].str[-8:].astype(int)
    assert abs(np.corrcoef(number, rows["is_fraud"])[0, 1]) < 0.015


def test_rows_are_sorted_and_inside_their_month(large):
    """Time rises, and nothing leaks into the next month."""
    for month, rows in large.items():
        assert rows["timestamp"].is_monotonic_increasing
        assert set(rows["timestamp"].dt.month) == {month}
        assert (rows["timestamp"].dt.hour == rows["hour"]).all()


def test_shares_are_those_that_were_set(large):
    """Fraud rate, missing values and categories of month 6, on many rows."""
    rows = large[6]
    assert rows["is_fraud"].mean() == pytest.approx(0.04 * 0.98, abs=0.003)
    missing = rows.isna().mean()
    assert missing["failed_logins_24h"] == pytest.approx(0.60, abs=0.03)
    assert missing["device_os"] == pytest.approx(0.62, abs=0.03)
    assert missing["distance_km"] == pytest.approx(0.155, abs=0.015)
    assert missing["merchant_risk"] == pytest.approx(0.05, abs=0.005)
    shares = rows["merchant_category"].value_counts(normalize=True)
    assert shares["grocery"] == pytest.approx(0.215, abs=0.02)
    assert shares["digital_wallet"] == pytest.approx(0.025, abs=0.005)


def test_the_new_fraud_begins_in_its_month_and_looks_honest(large):
    """None in month 6, 40% of fraud in 9, half in 11; small amounts, known devices, by wallet."""
    assert not (large[6]["_type"] == MULE).any()
    for month, share in ((9, 0.40), (11, 0.50)):
        fraud = large[month][large[month]["_type"] > 0]
        mules = fraud[fraud["_type"] == MULE]
        assert len(mules) / len(fraud) == pytest.approx(share, abs=0.04)
        assert set(mules["merchant_category"]) == {"digital_wallet"}
        assert mules["is_new_device"].mean() < 0.1
    assert [mule_share(m, 9) for m in (8, 9, 10, 11, 12)] == [0.0, 0.40, 0.45, 0.50, 0.50]


def test_knobs(large):
    """No drift: neither fraud nor launch. Concept only: the fraud without the launch."""
    control = sample.month(9, 60_000, drift=False, with_type=True)
    concept = sample.month(9, 60_000, concept_only=True, with_type=True)
    honest = {
        name: (rows[rows["_type"] == 0]["merchant_category"] == "digital_wallet").mean()
        for name, rows in (("both", large[9]), ("control", control), ("concept", concept))
    }
    assert not (control["_type"] == MULE).any()
    assert (concept["_type"] == MULE).any()
    assert honest["both"] == pytest.approx(0.093, abs=0.012)
    assert honest["control"] == pytest.approx(0.025, abs=0.006)
    assert honest["concept"] == pytest.approx(0.025, abs=0.006)


def test_labels_come_late_and_never_early(large):
    """Fraud within 28 days (half within 7), the rest after exactly 30; 2% of fraud never."""
    rows = large[9]
    days = (rows["label_available_at"] - rows["timestamp"]) / pd.Timedelta(days=1)
    fraud = days[rows["is_fraud"] == 1]
    assert fraud.median() == pytest.approx(7, abs=0.5)
    assert fraud.quantile(0.95) == pytest.approx(18.8, abs=1.5)
    assert fraud.max() <= 28.001
    assert (days[rows["is_fraud"] == 0] == 30).all()
    hidden = (rows["_type"] > 0) & (rows["is_fraud"] == 0)
    assert hidden.sum() / (rows["_type"] > 0).sum() == pytest.approx(0.02, abs=0.008)


def test_labels_until_a_day():
    """Only what is known by then, under the row's id, in order."""
    rows = sample.month(9, 1000)
    known = sample.labels(rows, "2024-10-10")
    assert list(known.columns) == ["row_id", "label", "known_at", "source"]
    assert known["known_at"].max() <= pd.Timestamp("2024-10-10")
    assert known["known_at"].is_monotonic_increasing
    assert set(known["row_id"]) < set(rows["transaction_id"])
    assert len(sample.labels(rows, "2024-11-15")) == 1000


@pytest.mark.parametrize("bug", feed.BUGS)
def test_a_broken_feed_breaks_one_whole_week(bug):
    """From the first Monday of the month for seven days, and nothing else is changed."""
    whole, broken = sample.raw_month(9, n=2000), sample.raw_month(9, n=2000, data_bug=bug)
    week = whole["timestamp"].between("2024-09-02", "2024-09-09", "left")
    pd.testing.assert_frame_equal(whole[~week], broken[~week])
    if bug == "logins_missing":
        assert broken.loc[week, "failed_logins_24h"].isna().all()
    elif bug == "amount_in_cents":
        assert (broken.loc[week, "amount"] / whole.loc[week, "amount"]).median() == 100
    else:
        new = broken.loc[week, "merchant_category"] == "crypto_exchange"
        assert new.mean() == pytest.approx(0.3, abs=0.08)


def test_a_label_outage_leaves_no_label():
    """Nothing of the month ever becomes known."""
    assert sample.labels(sample.raw_month(9, n=500, label_outage=True), "2030-01-01").empty


def test_the_command_writes_what_the_loop_reads(tmp_path):
    """A month without labels has the columns, empty; its labels come as a file of their own."""
    rows, late = tmp_path / "sub" / "2024-07.parquet", tmp_path / "late.parquet"
    main(["month", "7", "--rows", "300", "--without-labels", "--out", str(rows)])
    frame = pd.read_parquet(rows)
    assert len(frame) == 300
    assert frame["is_fraud"].isna().all()
    assert frame["label_available_at"].isna().all()
    assert "_type" not in frame
    main(["labels", "--month", "7", "--rows", "300", "--until", "2024-09-01", "--out", str(late)])
    assert set(pd.read_parquet(late)["row_id"]) == set(frame["transaction_id"])
    assert sorted(p.name for p in tmp_path.rglob("*.parquet")) == [
        "2024-07.parquet",
        "late.parquet",
    ]


def test_the_command_refuses_what_is_no_date(tmp_path, capsys):
    """Wrong use ends with status 2 and names the value."""
    with pytest.raises(SystemExit) as ended:
        main(["labels", "--month", "7", "--until", "soon", "--out", str(tmp_path / "x")])
    assert ended.value.code == 2
    assert "'soon' is not a date" in capsys.readouterr().err


def test_the_demo_store_holds_what_data_dvc_points_to():
    """Every object is there under its own digest, and months 1 to 6 are the simulator's."""
    pointer = yaml.safe_load((ROOT / "data.dvc").read_text("utf-8"))["outs"][0]
    store = ROOT / "demo-store" / "files" / "md5"

    def find(md5: str) -> Path:
        path = store / md5[:2] / md5[2:]
        content = path.read_bytes()
        assert hashlib.md5(content).hexdigest() == md5.removesuffix(".dir")
        return path

    listed = json.loads(find(pointer["md5"]).read_text("utf-8"))
    assert [e["relpath"] for e in listed] == [f"rows/2024-0{m}.parquet" for m in range(1, 7)]
    for number, entry in enumerate(listed, start=1):
        rows = pd.read_parquet(find(entry["md5"]))
        pd.testing.assert_frame_equal(rows, sample.month(number), check_dtype=False)
    assert sum(f.stat().st_size for f in store.rglob("*") if f.is_file()) < 2_000_000
