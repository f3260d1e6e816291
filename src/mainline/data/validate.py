"""`mainline validate`: the data against its contract."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mainline import inputs, settings
from mainline.data import contract, schema, table
from mainline.data.split import split_digest
from mainline.files import write_text
from mainline.verdict import StepVerdict, recorded


def run(root: Path) -> StepVerdict:
    """Check all rows under `data/` and write `reports/verdicts/validate.json`.

    Raises DataError where the files cannot be read and SettingsError where the contract itself is
    wrong; the verdict file then says ERROR.
    """
    with recorded(root, "validate"):
        options, contract_ = settings.load(root), schema.load(root)
        schema.check_agreement(options, contract_)
        verdict = judge(table.read_rows(root), table.read_labels(root), options, contract_)
        given = {
            "code": inputs.code_digest(root),
            "data": table.data_digest(root),
            "split": split_digest(options, contract_),
            "policy": inputs.policy_digest(
                root, options.gate.model_dump(mode="json"), options.split.salt
            ),
        }
        done = StepVerdict("validate", verdict.checks, given)
        done.write(root)
        # What training depends on: the same data that passes is trained on once, whatever is said.
        write_text(root / "build" / "validated", f"{given['data']}\n")
        return done


def judge(
    raw: pd.DataFrame, labels: pd.DataFrame, options: settings.Settings, rules: schema.Schema
) -> StepVerdict:
    """The verdict on a table as it was read; pure."""
    frame, problems = table.coerce(raw, rules)
    checks = contract.check_frame(raw, frame, problems, rules)
    if set(frame.columns) >= {rules.row_id or schema.ROW_ID}:
        frame = table.join_labels(frame, labels, rules)
        checks += contract.check_target(frame, rules, options.model.task, options.model.positive)
    return StepVerdict("validate", tuple(checks))
