"""The table as a whole: repeated rows, classes that are too rare, and its age."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from mainline.data.schema import ROW_ID, Schema
from mainline.data.table import as_text
from mainline.errors import SettingsError
from mainline.limits import DataLimits
from mainline.verdict import Check, Verdict

CHANCE = 1e-6  # expected equal rows, see is_coarse


def repeats(rows: pd.DataFrame) -> pd.Series:
    """Which rows have an equal one, all of them marked, shape (n,).

    Numbers are compared first, because few rows are left then and text is slow.
    """
    quick = [c for c in rows if rows[c].dtype.kind in "fM"]
    slow = [c for c in rows if c not in quick]
    found = pd.Series(True, index=rows.index)
    if quick:
        keys = pd.util.hash_pandas_object(rows[quick], index=False)
        found = keys.duplicated(keep=False)
    if slow and found.any():
        left = rows[found]
        keys = pd.util.hash_pandas_object(left, index=False, categorize=True)
        found = found.copy()
        found[left.index] = keys.duplicated(keep=False)
    return found


def is_coarse(rows: pd.DataFrame) -> bool:
    """Whether equal rows may well be chance: few columns of few values, such as class and sex.

    That is so where a row would equal more than CHANCE others, were the columns independent of
    each other. They never are, hence so small a figure. Copies are left out before it is measured.
    """
    expected, once = float(len(rows)), rows.drop_duplicates()
    n = len(once)
    for name in once:
        counts = once[name].value_counts(dropna=False).to_numpy(dtype=float)
        expected *= float((counts * (counts - 1)).sum() / max(n * (n - 1), 1))
    return expected > CHANCE


def check_duplicates(frame: pd.DataFrame, limits: DataLimits, rules: Schema) -> Check:
    """Rows that repeat another in every column but the row id.

    A table of few coarse columns has such rows by nature: there they are shown and decide nothing.
    """
    rows = frame.drop(columns=[rules.row_id or ROW_ID], errors="ignore")
    again = repeats(rows)
    keys = pd.util.hash_pandas_object(rows[again], index=False) if again.any() else pd.Series([])
    count = int(keys.duplicated().sum())
    share, limit = count / max(len(rows), 1), limits.duplicates
    coarse = bool(count) and is_coarse(rows)
    over = limit is not None and share > limit and not coarse
    reason = f"{count} of {len(rows)} rows repeat another in every column but the row id"
    if coarse:
        reason += "; with columns as coarse as these that may be chance (not blocking)"
    elif over:
        reason += f", at most {limit:.0%} may: drop the copies"
    return Check("duplicates", Verdict.FAIL if over else Verdict.PASS, reason, value=share,
                 limit=None if coarse else limit, n=len(rows), unit="share")  # fmt: skip


def check_balance(labels: pd.Series, limits: DataLimits, rules: Schema) -> list[Check]:
    """A check for each class with too few rows or too small a share, else one that they do.

    Classes that schema.yaml lists for the target and that no row has are among them.
    """
    counts = as_text(labels).value_counts()
    listed = rules.by_name[rules.target].categories or ()
    counts = counts.reindex([*counts.index, *(c for c in listed if c not in counts.index)])
    counts = counts.fillna(0).astype(int)
    n, share = len(labels), limits.class_share
    checks = []
    for label, count in counts.items():
        if count >= limits.class_rows and (share is None or count >= share * n):
            continue
        needed = max(limits.class_rows, int(np.ceil((share or 0) * n)))
        checks.append(Check(
            f"class {str(label)[:40]}", Verdict.FAIL,
            f"The class {str(label)[:40]!r} has {count} of {n} labelled rows, at least {needed} "
            "are needed", value=int(count), limit=needed, n=n, unit="rows", scope=rules.target,
        ))  # fmt: skip
    if not checks:
        least = int(counts.min())
        reason = f"The rarest of {len(counts)} classes has {least} of {n} labelled rows"
        checks.append(Check("class balance", Verdict.PASS, reason, value=least / n, limit=share,
                            n=n, unit="share", scope=rules.target))  # fmt: skip
    return checks


def check_freshness(
    frame: pd.DataFrame, today: pd.Timestamp, limits: DataLimits, rules: Schema
) -> Check:
    """The newest row is no older than `max_age` on the day `today`; shown where there is no limit.

    Rows of a day to come count as of no day. Raises SettingsError for a `max_age` that is none.
    """
    if rules.time is None:
        verdict = Verdict.PASS if limits.max_age is None else Verdict.INCONCLUSIVE
        return Check("freshness", verdict, "The table has no time, so its age is not known",
                     limit=limits.max_age)  # fmt: skip
    times = frame[rules.time].dropna()
    if limits.max_age is not None:
        times = times[times < today + pd.Timedelta(days=2)]
    if times.empty:
        return Check("freshness", Verdict.INCONCLUSIVE, "No row has a time up to today",
                     limit=limits.max_age, scope=rules.time)  # fmt: skip
    newest = times.max()
    old = limits.max_age is not None and newest < today - _age(limits.max_age)
    reason = f"The newest row is of {newest:%Y-%m-%d}"
    if old:
        reason += f" and older than {limits.max_age} on {today:%Y-%m-%d}: add newer rows"
    return Check("freshness", Verdict.FAIL if old else Verdict.PASS, reason,
                 value=f"{newest:%Y-%m-%d}", limit=limits.max_age, n=len(frame), unit="date",
                 scope=rules.time)  # fmt: skip


def _age(text: str) -> pd.Timedelta:
    if not re.fullmatch(r"[1-9]\d*[DHW]", text, re.IGNORECASE):
        raise SettingsError(f"params.yaml: gate.data.max_age is {text!r}",
                            "Write a number of days, hours or weeks such as 30D")  # fmt: skip
    return pd.Timedelta(text.upper().replace("H", "h"))
