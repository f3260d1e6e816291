"""Your data, as they are now: what only you can know of them.

`mainline validate` has already checked types, limits, repeats, leakage, the split, personal data.
Here stands what follows from where the rows come from. `rows` are the ones that train and test, in
the types of schema.yaml, with their part (train, tune, test) in `_part`; they are read once.

To add a test, write a function whose name begins with `test_`; its first sentence is what the
report says when it fails:

    def test_a_refund_is_no_larger_than_the_payment(rows: pd.DataFrame) -> None:
        \"\"\"No row gives back more than was paid\"\"\"
        wrong = rows[rows["refund"] > rows["amount"]]
        assert wrong.empty, f"{len(wrong)} of {len(rows)} rows"

A pull request that changes this folder is judged by the tests of the base, too.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from mainline import settings
from mainline.data import schema, table
from mainline.data.split import assign

SLICE = 10  # test rows below which a group says nothing at all


@pytest.fixture(scope="module")
def rows(root: Path) -> pd.DataFrame:
    """The rows that train and test, with their part."""
    options, rules = settings.load(root), schema.load(root)
    frame = table.load_table(root, rules)
    frame = frame[table.usable(frame, options, rules)].reset_index(drop=True)
    return frame.assign(_part=assign(frame, options, rules))


def need(rows: pd.DataFrame, *columns: str) -> None:
    """Skip the test where the table has no such columns: it is about another table."""
    gone = [c for c in columns if c not in rows]
    if gone:
        pytest.skip(f"there is no column {gone[0]!r} here")


def test_no_label_is_older_than_its_row(root: Path, rows: pd.DataFrame) -> None:
    """What happened cannot be known before it happens."""
    rules = schema.load(root)
    if rules.time is None or rules.known_at is None:
        pytest.skip("schema.yaml names no time, or no known_at")
    early = rows[rules.known_at] < rows[rules.time]
    assert not early.any(), f"{int(early.sum())} of {len(rows)} rows"


def test_slices_can_be_measured(root: Path, rows: pd.DataFrame) -> None:
    """Nine in ten test rows are of a group that is large enough to say something."""
    test = rows[rows["_part"] == "test"]
    for name in settings.load(root).evaluate.slices:
        counts = test[name].value_counts()
        share = counts[counts >= SLICE].sum() / max(counts.sum(), 1)
        assert share >= 0.9, f"{name!r}: {share:.0%} of the test rows"


def test_an_hour_has_no_more_payments_than_the_day_around_it(rows: pd.DataFrame) -> None:
    """The last hour is part of the last 24."""
    need(rows, "tx_count_1h", "tx_count_24h")
    wrong = rows["tx_count_1h"] > rows["tx_count_24h"]
    assert not wrong.any(), f"{int(wrong.sum())} of {len(rows)} rows"


def test_the_hour_is_that_of_the_time(rows: pd.DataFrame) -> None:
    """Both come from one clock: a time zone that is mixed up shows here."""
    need(rows, "hour", "timestamp")
    wrong = rows["timestamp"].dt.hour != rows["hour"]
    assert not wrong.any(), f"{int(wrong.sum())} of {len(rows)} rows"


def test_only_remote_payments_have_a_device(rows: pd.DataFrame) -> None:
    """A card in a shop's terminal has no device of the customer's and no logins."""
    need(rows, "channel", "device_os", "failed_logins_24h")
    shop = rows[rows["channel"] == "pos"]
    wrong = shop["device_os"].notna() | shop["failed_logins_24h"].notna()
    assert not wrong.any(), f"{int(wrong.sum())} of {len(shop)} rows"


def test_a_customer_stays_in_one_age_band(root: Path, rows: pd.DataFrame) -> None:
    """The band is that of the customer at the start, so it does not change with a payment."""
    need(rows, "age_band", "customer_id")
    bands = rows.groupby("customer_id")["age_band"].nunique()
    assert bands.max() == 1, f"{int((bands > 1).sum())} of {len(bands)} customers"
