"""Your features: one row at a time must give what the whole table gives."""

from __future__ import annotations

import numpy as np
import pandas as pd

from project import features


def table() -> pd.DataFrame:
    """A few rows with the columns that your features read, with the extremes that they may meet."""
    return pd.DataFrame(
        {
            "tx_count_1h": [0.0, 3.0, 30.0],
            "tx_count_24h": [0.0, 5.0, np.nan],
            "merchant_category": pd.Categorical(["fuel", None, "travel"]),
        }
    )


def test_each_row_stands_alone():
    """The service sees one row at a time: it must build what training built."""
    whole = features.build(table())
    for i in range(len(whole)):
        pd.testing.assert_frame_equal(features.build(table().iloc[[i]]), whole.iloc[[i]])


def test_rows_keep_their_number_order_and_index():
    """One row out for each row in."""
    frame = table().iloc[::-1]
    assert list(features.build(frame).index) == list(frame.index)


def test_the_argument_is_left_alone():
    """Building does not write into the table that it was given."""
    frame = table()
    features.build(frame)
    pd.testing.assert_frame_equal(frame, table())
