"""`mainline validate`: the data against its contract, its limits, and the forker's tests."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from mainline import inputs, settings, suite
from mainline.data import contract, health, leakage, parts, personal, schema, table
from mainline.data.split import assign, split_digest
from mainline.errors import DataError, SettingsError
from mainline.files import write_text
from mainline.verdict import Check, StepVerdict, Verdict, recorded, worst

TESTS = "tests/data"
NOT_RUN = Check(TESTS, Verdict.INCONCLUSIVE, f"{TESTS} was not run: the data did not pass before",
                scope=TESTS)  # fmt: skip


def run(root: Path) -> StepVerdict:
    """Check all rows under `data/`, run tests/data, and write `reports/verdicts/validate.json`.

    Raises DataError where the files cannot be read and SettingsError where the contract itself is
    wrong; the verdict file then says ERROR.
    """
    with recorded(root, "validate"):
        options, contract_ = settings.load(root), schema.load(root)
        schema.check_agreement(options, contract_)
        found = checks(root, options, contract_)
        # Tests need a table that can be read: on a broken one each would only say so again.
        broken = worst(c.verdict for c in found) in (Verdict.FAIL, Verdict.ERROR)
        found += [NOT_RUN] if broken else suite.run(root, TESTS)
        given = {
            "code": inputs.code_digest(root),
            "data": table.data_digest(root),
            "split": split_digest(options, contract_),
            "policy": inputs.policy_digest(
                root, options.gate.model_dump(mode="json"), options.split.salt
            ),
        }
        done = StepVerdict("validate", tuple(found), given)
        done.write(root)
        # What training depends on: the same data that passes is trained on once, whatever is said.
        write_text(root / "build" / "validated", f"{given['data']}\n")
        return done


def checks(root: Path, options: settings.Settings, rules: schema.Schema) -> list[Check]:
    """All checks of the data of `root` under the limits of `options`; the tests are not in it.

    Raises DataError where the files cannot be read.
    """
    return list(judge(table.read_rows(root), table.read_labels(root), options, rules).checks)


def judge(
    raw: pd.DataFrame, labels: pd.DataFrame, options: settings.Settings, rules: schema.Schema
) -> StepVerdict:
    """The verdict on a table as it was read.

    Where a column is gone or has the wrong type, that is said first: the table as a whole is
    judged once it keeps its contract that far.
    """
    frame, problems = table.coerce(raw, rules)
    found = contract.check_frame(raw, frame, problems, rules)
    if set(frame.columns) >= {rules.row_id or schema.ROW_ID}:
        frame = table.join_labels(frame, labels, rules)
        of_target = contract.check_target(frame, rules, options.model.task, options.model.positive)
        found += [*of_target, *personal.check(raw, options.gate.data, rules)]
        late = {rules.known_at, rules.target}
        whole = all(c.name in frame or c.name in late for c in rules.columns)
        if whole and worst(c.verdict for c in of_target) is Verdict.PASS:
            found += _as_a_whole(frame, options, rules)
    return StepVerdict("validate", tuple(found))


def _as_a_whole(
    frame: pd.DataFrame, options: settings.Settings, rules: schema.Schema
) -> list[Check]:
    """Repeats, age, classes, leakage and the split of a table that has all its columns."""
    limits = options.gate.data
    found = [
        health.check_duplicates(frame, limits, rules),
        health.check_freshness(frame, today(), limits, rules),
    ]
    keep = table.usable(frame, options, rules)
    if not keep.any():
        reason = "No row has a label that is old enough to count"
        return [*found, Check("labelled", Verdict.FAIL, reason, value=0, n=len(frame))]
    rows = frame[keep].reset_index(drop=True)
    if options.model.task != "regression":
        found += health.check_balance(rows[rules.target], limits, rules)
    found += leakage.check_alone(frame, keep, options, rules)
    found += leakage.check_later(frame, keep, options, rules)
    try:
        return found + parts.check(rows, assign(rows, options, rules), options, rules)
    except DataError as error:
        return [*found, Check("split", Verdict.FAIL, str(error), n=len(rows))]


def today() -> pd.Timestamp:
    """The day of the check: MAINLINE_AS_OF, or the clock's. SettingsError where it is no day."""
    given = os.environ.get("MAINLINE_AS_OF")
    if not given:
        return pd.Timestamp.now("UTC").tz_localize(None).normalize()
    try:
        return pd.Timestamp(given).normalize()
    except ValueError as error:
        raise SettingsError(f"MAINLINE_AS_OF is {given!r}, no day", "Write 2024-06-30") from error
