"""`mainline data add`, `mainline labels add`: checked before it is written, then versioned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mainline.data import contract, schema, table
from mainline.data.schema import Schema
from mainline.data.store import dvc, pull, require_pulled
from mainline.errors import DataError, MainlineError
from mainline.files import replacing
from mainline.verdict import Verdict

__all__ = ["add_labels", "add_rows", "pull"]
NEXT = "Commit data.dvc on a branch and open a pull request; `dvc push` shares the rows."


def add_rows(root: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Add files of rows to `data/rows/` and update `data.dvc`.

    All files are checked against schema.yaml and the rows that are there before one is written;
    rows without their label are welcome. Raises DataError for the first file that does not fit.
    """
    rules = schema.load(root)
    require_pulled(root)
    known = _known_ids(root, rules)
    frames: dict[str, pd.DataFrame] = {}
    for file in files:
        frame = check_rows(file, rules)
        ids = set(table.row_ids(frame, rules))
        again = ids & known
        if again:
            raise DataError(
                f"{file.name} repeats {len(again)} row ids that are there already, "
                f"such as {sorted(again)[0]!r}",
                "Add new rows only",
            )
        known |= ids
        # Ids that were made from the values are made again whenever the rows are read.
        frames[_stem(file)] = frame if rules.row_id else frame.drop(columns=schema.ROW_ID)
    _write(root, "rows", frames)
    count = sum(len(f) for f in frames.values())
    return {"rows": count, "files": list(frames), "text": f"{count} rows added. {NEXT}"}


def check_rows(file: Path, rules: Schema) -> pd.DataFrame:
    """The typed rows of `file`; DataError naming the first break of the contract and the count."""
    raw = table.read_file(file)
    frame, problems = table.coerce(raw, rules)
    late = {rules.target, rules.known_at}
    broken = [
        c
        for c in contract.check_frame(raw, frame, problems, rules)
        if c.verdict is not Verdict.PASS and c.scope not in late
    ]
    if broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        raise DataError(
            f"{file.name} breaks the contract: {broken[0].reason}{more}",
            "Mend the file, or widen schema.yaml in a pull request; nothing was added",
        )
    return frame


def add_labels(root: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Add files of labels (row_id, label, known_at, source) to `data/labels/`.

    Labels of rows that are not here are counted and kept: their rows may still come.
    """
    rules = schema.load(root)
    require_pulled(root)
    known = _known_ids(root, rules)
    frames = {_stem(f): table.check_labels(table.read_file(f), f.name) for f in files}
    column = rules.by_name[rules.target]
    strangers = 0
    for name, frame in frames.items():
        if table.coerce_column(frame["label"], column).isna().any():
            raise DataError(
                f"{name} holds labels that are not of type {column.type}", "Mend the file"
            )
        strangers += int((~frame["row_id"].isin(known)).sum())
    _write(root, "labels", frames)
    count = sum(len(f) for f in frames.values())
    text = f"{count} labels added ({strangers} for rows that are not here). {NEXT}"
    return {"labels": count, "strangers": strangers, "files": list(frames), "text": text}


def _known_ids(root: Path, rules: Schema) -> set[str]:
    if not table.row_files(root):
        return set()
    frame, _ = table.coerce(table.read_rows(root), rules)
    return set(table.row_ids(frame, rules))


def _stem(file: Path) -> str:
    return file.name.split(".")[0]


def _write(root: Path, folder: str, frames: dict[str, pd.DataFrame]) -> None:
    """Write all files and the new pointer, or none."""
    paths = {root / "data" / folder / f"{name}.parquet": f for name, f in frames.items()}
    taken = next((p for p in paths if p.exists()), None)
    if taken is not None:
        raise DataError(
            f"data/{folder}/{taken.name} is there already", "Give the file another name"
        )
    try:
        for path, frame in paths.items():
            with replacing(path) as temporary:
                frame.to_parquet(temporary, index=False, compression="zstd")
        dvc(root, "add", "--quiet", "data")
    except MainlineError:
        for path in paths:
            path.unlink(missing_ok=True)
        raise
