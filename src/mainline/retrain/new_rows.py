"""What has come since the present model was trained: rows, and labels that lie elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mainline.data import schema, table
from mainline.retrain.pull_request import NewRows
from mainline.serve import known_labels
from mainline.serve.reading import read_log
from mainline.settings import Settings
from mainline.train.bundle import class_names


def count(
    root: Path, options: Settings, rules: schema.Schema, as_of: pd.Timestamp, since: str | None
) -> NewRows:
    """Rows under data/ after `since`, and how many of them have a final label by `as_of`."""
    frame = table.load_table(root, rules)
    if rules.time is not None and since is not None:
        frame = frame[frame[rules.time] > pd.Timestamp(since)]
    labelled = frame[rules.target].notna()
    if rules.time is not None:
        final = as_of - pd.Timedelta(days=options.monitor.maturity_days)
        labelled &= frame[rules.time] <= final
    positives = None
    if options.model.task == "binary":
        wanted = str(options.model.positive)
        positives = int((class_names(frame.loc[labelled, rules.target]) == wanted).sum())
    return NewRows(len(frame), int(labelled.sum()), positives, since)


def collect(
    root: Path, rules: schema.Schema, as_of: pd.Timestamp, log: str | None, address: str | None
) -> pd.DataFrame:
    """Labels at `address` of rows under data/ that have none yet: row_id, label, known_at, source.

    A label by prediction id finds its row through the prediction log. Labels that become known
    after `as_of` stay where they are.
    """
    empty = pd.DataFrame({c: pd.Series(dtype=object) for c in table.LABEL_COLUMNS})
    if not address:
        return empty
    found = known_labels.known_by(known_labels.at_address(address), as_of)
    if log and len(found):
        logged = read_log(log, until=as_of.to_pydatetime())[["prediction_id", "row"]].dropna()
        rows: Mapping[Any, Any] = dict(zip(logged["prediction_id"], logged["row"], strict=True))
        found = found.assign(key=[rows.get(k, k) for k in found["key"]])
    frame = table.load_table(root, rules)
    waiting = set(table.row_ids(frame, rules)[frame[rules.target].isna()])
    found = found[found["key"].isin(waiting)].rename(columns={"key": "row_id"})
    found = table.last_labels(found)[list(table.LABEL_COLUMNS)].reset_index(drop=True)
    column = rules.by_name[rules.target]
    if column.type in ("number", "integer"):
        found = found.assign(label=pd.to_numeric(found["label"]))
    return found if len(found) else empty
