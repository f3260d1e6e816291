"""The short way from JSON values to scores is the long way, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from mainline.serve.reading import read_log

# In a process of its own: the project's code is imported from the project, as in production.
PARITY = """
import json
from pathlib import Path
import pandas as pd
from mainline.data import schema, table
from mainline.serve.inputs import Inputs
from mainline.serve.scoring import Scorer
from mainline.train.bundle import load, raw_inputs

root = Path(".")
rules = schema.load(root)
bundle = load(root / "models", root)
frame = table.load_table(root, rules).head(200)
names = [c.name for c in rules.features]
raw = table.read_rows(root).head(200)[names].astype(object)
rows = json.loads(json.dumps(raw.where(raw.notna(), None).to_dict("records"), default=float))
parsed = [Inputs(rules).parse(json.dumps(row).encode())[0] for row in rows]
scorer = Scorer(bundle)
pd.testing.assert_frame_equal(scorer.frame(parsed), raw_inputs(frame, bundle.meta["raw"]))
wanted = bundle.predict(frame).tolist()
assert [s for s, _ in scorer.score(parsed)] == wanted
assert [scorer.score([row])[0][0] for row in parsed[:50]] == wanted[:50]
assert [s for s, _ in scorer.score([g["row"] for g in scorer.golden])] == [
    g["scores"] for g in scorer.golden
]
"""

BATCH = """
import json
from pathlib import Path
from mainline.serve.batch import predict_file
done = predict_file(Path("."), Path("data/rows/2024-03.parquet"), Path({out!r}), log={log!r})
print(json.dumps(done))
"""


def test_rows_of_json_score_as_the_table_does(in_project: Callable[[str], str]) -> None:
    """Same inputs, same scores, in one call, row by row, and for the golden rows."""
    in_project(PARITY)


def test_a_file_is_scored_and_logged_at_the_time_of_its_rows(
    in_project: Callable[[str], str], tmp_path: Path
) -> None:
    """A month of production can be replayed: each row is logged once, at its own time."""
    out, log = tmp_path / "out.parquet", tmp_path / "log"
    done: dict[str, Any] = json.loads(in_project(BATCH.format(out=str(out), log=str(log))))
    made = pd.read_parquet(out)
    frame = read_log(log)
    assert (done["logged"], done["dropped"], len(made), len(frame)) == (1500, 0, 1500, 1500)
    assert sorted(frame["prediction_id"]) == sorted(made["prediction_id"])
    assert set(frame["arm"]) == {"batch"}
    joined = frame.merge(made, left_on="row", right_on="row_id", suffixes=("", "_out"))
    assert joined["scores"].map(lambda s: s[0]).tolist() == joined["score_0"].tolist()
    assert str(frame["ts"].iloc[0]) == "2024-03-01 00:00:00+00:00"
    assert frame["foreign"].dtype == bool
    assert {"email", "customer", "id"}.isdisjoint(frame.columns)
