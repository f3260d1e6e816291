"""schema.yaml compiled to pandera, and what it found told as checks."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pandera.pandas as pa

from mainline.data.schema import ROW_ID, Column, Schema
from mainline.data.table import Problem, as_text, row_ids
from mainline.verdict import Check, Verdict

SHOWN = 3


def compile_schema(schema: Schema) -> pa.DataFrameSchema:
    """The hard limits of `schema` as a pandera schema for typed frames."""
    columns = {c.name: pa.Column(checks=_hard(c, schema), nullable=True, required=False,
                                 unique=c.name == schema.row_id)
               for c in schema.columns}  # fmt: skip
    return pa.DataFrameSchema(columns, strict=False)


def _hard(column: Column, schema: Schema) -> list[pa.Check]:
    checks = []
    if column.hard.min is not None:
        checks.append(pa.Check.ge(column.hard.min, error=f"at least {column.hard.min:g}"))
    if column.hard.max is not None:
        checks.append(pa.Check.le(column.hard.max, error=f"at most {column.hard.max:g}"))
    if column.categories and not column.allow_new:
        checks.append(pa.Check.isin(list(column.categories), error="a known category"))
    if column.name == schema.row_id:
        checks.append(pa.Check(lambda s: s.notna(), error="not missing", ignore_na=False))
    return checks


def check_frame(
    raw: pd.DataFrame, frame: pd.DataFrame, problems: list[Problem], schema: Schema
) -> list[Check]:
    """All failures of the contract at once: column, rule, count, first offending rows.

    `raw` is the table as stored, `frame` the typed one. Values of personal columns are never
    shown, only their row ids.
    """
    checks = [_gone(c, schema) for c in schema.columns if c.name not in raw]
    own = {ROW_ID} if schema.row_id is None else set()
    checks += [_extra(n) for n in raw.columns if n not in schema.by_name and n not in own]
    # Where the id column itself is gone the rows are named by their numbers.
    named = (schema.row_id or ROW_ID) in frame
    ids = row_ids(frame, schema).fillna("?") if named else pd.Series(raw.index, raw.index)
    for problem in problems:
        values = raw[problem.column].iloc[list(problem.rows)]
        checks.append(_failed(problem.column, problem.rule, values, ids, schema))
    checks += _limits(frame, ids, schema)
    checks += [c for column in schema.columns if column.name in frame
               for c in _missing_and_soft(frame[column.name], column, schema)]  # fmt: skip
    complained = {c.scope for c in checks if c.verdict is not Verdict.PASS}
    fine = [c.name for c in schema.columns if c.name in frame and c.name not in complained]
    reason = f"{len(fine)} of {len(schema.columns)} columns keep their contract"
    checks.append(Check("schema", Verdict.PASS, reason, value=len(fine),
                        limit=len(schema.columns), n=len(frame), unit="columns"))  # fmt: skip
    return checks


def _limits(frame: pd.DataFrame, ids: pd.Series, schema: Schema) -> list[Check]:
    try:
        compile_schema(schema).validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases.dropna(subset=["index"])
        return [
            _failed(str(column), "unique" if rule == "field_uniqueness" else str(rule),
                    frame[column].loc[group["index"].astype(int)], ids, schema)
            for (column, rule), group in cases.groupby(["column", "check"], sort=False)
        ]  # fmt: skip
    return []


def _failed(column: str, rule: str, values: pd.Series, ids: pd.Series, schema: Schema) -> Check:
    first = []
    for index, value in values.head(SHOWN).items():
        shown = "" if column in schema.personal else f" = {_show(value)}"
        first.append(f"row {_show(ids.get(index, index))}{shown}")
    more = ", ..." if len(values) > SHOWN else ""
    return Check(
        f"{column}: {rule}", Verdict.FAIL,
        f"{len(values)} of {len(ids)} rows of {column!r} are not {rule} ({', '.join(first)}{more})",
        value=len(values), limit=0, n=len(ids), unit="rows", scope=column,
    )  # fmt: skip


def _show(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _gone(column: Column, schema: Schema) -> Check:
    reason = f"The column {column.name!r} of schema.yaml is not in the data"
    later = column.name in (schema.known_at, schema.target)
    verdict = Verdict.INCONCLUSIVE if later and column.name == schema.known_at else Verdict.FAIL
    return Check(f"{column.name}: present", verdict, reason, scope=column.name)


def _extra(name: str) -> Check:
    return Check(
        f"{name}: known", Verdict.FAIL,
        f"The column {name!r} is not in schema.yaml; add it there (with role drop it stays unused)",
        scope=str(name),
    )  # fmt: skip


def _missing_and_soft(series: pd.Series, column: Column, schema: Schema) -> list[Check]:
    checks = []
    share = float(series.isna().mean())
    unlabelled = column.role == "target" or column.name == schema.known_at
    if share > column.max_missing and not unlabelled:
        checks.append(Check(
            f"{column.name}: missing", Verdict.FAIL,
            f"{share:.1%} of {column.name!r} is missing, at most {column.max_missing:.0%} may be",
            value=share, limit=column.max_missing, n=len(series), unit="share", scope=column.name,
        ))  # fmt: skip
    soft = pd.Series(False, index=series.index)
    if column.soft.min is not None:
        soft |= series < column.soft.min
    if column.soft.max is not None:
        soft |= series > column.soft.max
    if soft.any():
        checks.append(Check(
            f"{column.name}: soft limit", Verdict.PASS,
            f"{int(soft.sum())} values of {column.name!r} are beyond the soft limit (not blocking)",
            value=int(soft.sum()), n=len(series), unit="rows", scope=column.name,
        ))  # fmt: skip
    return checks


def check_target(frame: pd.DataFrame, schema: Schema, task: str, positive: Any) -> list[Check]:
    """The target is there, varies, and has the classes that the task needs."""
    target = as_text(frame[schema.target].dropna())
    name = f"{schema.target}: classes"
    if target.empty:
        return [Check(name, Verdict.FAIL, f"The target {schema.target!r} is missing in every row",
                      scope=schema.target)]  # fmt: skip
    counts = target.value_counts()
    if len(counts) < 2:
        return [Check(
            name, Verdict.FAIL,
            f"The target {schema.target!r} is constant: all labels are {_show(counts.index[0])!r}",
            value=1, limit=2, n=len(target), unit="classes", scope=schema.target,
        )]  # fmt: skip
    if task == "regression":
        return [Check(name, Verdict.PASS, f"{len(target)} labelled rows", n=len(target),
                      scope=schema.target)]  # fmt: skip
    if task == "binary" and len(counts) > 2:
        return [Check(
            name, Verdict.FAIL,
            f"The target {schema.target!r} has {len(counts)} classes and the task is binary",
            value=len(counts), limit=2, n=len(target), unit="classes", scope=schema.target,
        )]  # fmt: skip
    reason = ", ".join(f"{_show(k)}: {v}" for k, v in counts.head(5).items())
    return [Check(name, Verdict.PASS, f"{len(counts)} classes ({reason})", value=len(counts),
                  n=len(target), unit="classes", scope=schema.target)]  # fmt: skip
