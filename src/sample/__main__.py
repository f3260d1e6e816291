"""`python -m sample`: a month of the sample, or the labels of a month that are known by a date."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from sample.feed import BUGS, labels, raw_month, without_labels


def main(arguments: list[str] | None = None) -> None:
    """Write one Parquet file, or one a month, as asked."""
    asked = _parser().parse_args(arguments)
    if asked.what == "months":
        for month in asked.months:
            name = f"2024-{month:02d}.parquet"
            rows = raw_month(month, n=asked.rows, seed=asked.seed)
            write(without_labels(rows), asked.out / name)
            write(labels(rows, asked.until), asked.labels / name)
        print(f"{len(asked.months)} months, their rows and labels")
        return
    knobs = {"drift": not asked.no_drift, "concept_only": asked.concept_only}
    rows = raw_month(asked.month, n=asked.rows, seed=asked.seed, chunk=asked.chunk,
                     data_bug=asked.data_bug, label_outage=asked.label_outage,
                     **knobs)  # fmt: skip
    if asked.what == "labels":
        table = labels(rows, asked.until)
    else:
        table = without_labels(rows) if asked.without_labels else rows
    write(table, asked.out)
    print(f"{asked.out.name}: {len(table)} rows")


def write(table: pd.DataFrame, path: Path) -> None:
    """Write `table` as compact Parquet (zstd); whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        table.to_parquet(temporary, index=False, compression="zstd", compression_level=19)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sample", description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    many = what.add_parser("months", help="months as they arrive, and their labels, a file each")
    many.add_argument("months", type=int, nargs="+", metavar="MONTH")
    many.add_argument("--until", type=_date, required=True, metavar="DATE")
    many.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    many.add_argument("--labels", type=Path, required=True, metavar="FOLDER")
    many.add_argument("--rows", type=int, default=5000)
    many.add_argument("--seed", type=int, default=7)
    a_month = what.add_parser("month", help="the payments of a month")
    a_month.add_argument("month", type=int, metavar="MONTH", help="1 is January 2024")
    a_month.add_argument("--without-labels", action="store_true", help="as they arrive")
    some = what.add_parser("labels", help="the labels of a month that are known by a date")
    some.add_argument("--month", type=int, required=True, metavar="MONTH")
    some.add_argument("--until", type=_date, required=True, metavar="DATE")
    for command in (a_month, some):
        command.add_argument("--out", type=Path, required=True, metavar="FILE")
        command.add_argument("--rows", type=int, default=5000)
        command.add_argument("--seed", type=int, default=7)
        command.add_argument("--chunk", type=int, default=0, help="another part of the month")
        command.add_argument("--no-drift", action="store_true", help="the control")
        command.add_argument("--concept-only", action="store_true", help="new fraud, no launch")
        command.add_argument("--data-bug", choices=BUGS, help="break the feed for a week")
        command.add_argument("--label-outage", action="store_true", help="labels never arrive")
    return parser


def _date(text: str) -> pd.Timestamp:
    try:
        return pd.Timestamp(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date") from error


if __name__ == "__main__":
    main()
