"""The cases that must come out right: `tests/model/cases.csv`, a line each, judged by the house.

Columns: `case` (its name), then what is expected: `expect` (the class that must be decided),
`min_score` and `max_score` (bounds of the score: of the positive class where there are two, of the
class in `expect` where there are more, the value itself in a regression). All others are feature
columns as they stand in the data. A cell that is empty is a missing value; a feature that has no
column takes a usual value.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from mainline.data import table
from mainline.errors import DataError
from mainline.evaluate.subject import Subject
from mainline.train.bundle import class_names
from mainline.verdict import Check, Verdict

PLACE = Path("tests/model/cases.csv")
EXPECTED = ("expect", "min_score", "max_score")
LONGEST = 80


def check(subject: Subject) -> list[Check]:
    """A FAIL for each case that comes out wrong, and one check that counts those that are right.

    No file: nothing to check. A column or value that the model does not know is an ERROR.
    """
    path = subject.source / PLACE
    if not path.is_file():
        return [Check("cases", Verdict.PASS, f"There is no {PLACE.as_posix()}: nothing to check")]
    try:
        given = table.read_file(path)
        _agree(given, subject)
        rows, bounds = _rows(given, subject), _bounds(given)
        scores = subject.model.predict(rows)
    except DataError as error:
        return [Check("cases", Verdict.ERROR, str(error))]
    said = class_names(pd.Series(subject.model.decide(scores)))
    if subject.task != "regression":
        said = pd.Series([subject.model.meta["classes"][int(d)] for d in said])
    wrong = []
    for i, name in enumerate(given["case"]):
        expect = given["expect"][i] if "expect" in given else None
        own = scores[i, _output(subject, expect)]
        low, high = bounds[i]
        if expect is not None and said[i] != expect:
            reason = f"It is decided as {said[i]!r} (score {own:.4g}), expected is {expect!r}"
        elif not low <= own <= high:
            reason = f"Its score is {own:.4g}, expected is {_range(low, high)}"
        else:
            continue
        wrong.append(Check(f"case: {name[:LONGEST]}", Verdict.FAIL, reason, value=float(own),
                           scope="cases"))  # fmt: skip
    right = len(given) - len(wrong)
    if not right:
        return wrong
    reason = f"{right} of {len(given)} cases come out right"
    return [*wrong, Check("cases", Verdict.PASS, reason, value=right, n=len(given), scope="cases")]


def _agree(given: pd.DataFrame, subject: Subject) -> None:
    """DataError for columns that the model does not know and cases that expect nothing."""
    unknown = [c for c in given if c not in ("case", *EXPECTED, *subject.features)]
    own = "Write cases of your own table, or delete the file"
    if unknown:
        raise DataError(f"{PLACE.as_posix()}: {unknown[0]!r} is no feature of the model", own)
    clash = [c for c in ("case", *EXPECTED) if c in subject.features]
    if clash or "case" not in given:
        raise DataError(f"{PLACE.as_posix()}: the column {(clash or ['case'])[0]!r} must name "
                        "the case and nothing else", own)  # fmt: skip
    if given["case"].isna().any() or given["case"].duplicated().any():
        raise DataError(f"{PLACE.as_posix()}: each case needs a name of its own", own)
    hoped = given[[c for c in EXPECTED if c in given]].notna()
    for i, name in enumerate(given["case"]):
        if not hoped.iloc[i].any():
            raise DataError(f"{PLACE.as_posix()}: {name!r} expects nothing", "Fill in `expect`")
        expect = given["expect"][i] if "expect" in given else None
        if subject.task == "regression":
            known, wrong = "none: use min_score and max_score", expect is not None
        else:
            classes = subject.model.meta["classes"]
            needed = expect is not None or subject.task == "multiclass"
            known, wrong = ", ".join(classes), needed and expect not in classes
        if wrong:
            raise DataError(f"{PLACE.as_posix()}: {name!r} expects the class {expect!r}; "
                            f"known are {known}", "Mend `expect`")  # fmt: skip


def _rows(given: pd.DataFrame, subject: Subject) -> pd.DataFrame:
    """The typed rows of the cases; DataError names the value that does not fit its column."""
    usual = pd.DataFrame([subject.model.meta["golden"][2]["row"]] * len(given))
    typed = {}
    for name in subject.features:
        if name not in given:
            typed[name] = usual[name]
            continue
        column = subject.rules.by_name[name]
        typed[name] = table.coerce_column(given[name], column)
        lost = (given[name].notna() & typed[name].isna()).to_numpy()
        if column.categories is not None and not column.allow_new:
            lost = lost | (given[name].notna() & ~typed[name].isin(column.categories)).to_numpy()
        if lost.any():
            i = int(np.flatnonzero(lost)[0])
            raise DataError(f"{PLACE.as_posix()}: {given['case'][i]!r} has the {name} "
                            f"{given[name][i]!r}, which is no {column.type} of schema.yaml",
                            "Mend the value")  # fmt: skip
    return pd.DataFrame(typed)


def _bounds(given: pd.DataFrame) -> list[tuple[float, float]]:
    """The least and largest score of each case; DataError for what is no number."""
    ends = []
    for name, none in (("min_score", -np.inf), ("max_score", np.inf)):
        cells = given[name] if name in given else pd.Series([None] * len(given), dtype=object)
        numbers = pd.to_numeric(cells, errors="coerce")
        if (cells.notna() & numbers.isna()).any():
            bad = cells[cells.notna() & numbers.isna()].iloc[0]
            raise DataError(f"{PLACE.as_posix()}: {name} {bad!r} is no number", "Mend the value")
        ends.append(numbers.fillna(none).astype(float))
    return list(zip(*ends, strict=True))


def _output(subject: Subject, expect: str | None) -> int:
    """The column of the scores that the bounds are for."""
    return subject.model.meta["classes"].index(expect) if subject.task == "multiclass" else 0


def _range(low: float, high: float) -> str:
    if np.isinf(low):
        return f"at most {high:.4g}"
    return f"at least {low:.4g}" if np.isinf(high) else f"{low:.4g} to {high:.4g}"
