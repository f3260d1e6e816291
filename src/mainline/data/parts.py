"""What the parts of the split share: entities, equal rows, and classes that one of them lacks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mainline.data.health import is_coarse, repeats
from mainline.data.schema import Schema
from mainline.data.split import PARTS
from mainline.data.table import as_text
from mainline.settings import Settings
from mainline.verdict import Check, Verdict


def check(rows: pd.DataFrame, part: pd.Series, options: Settings, rules: Schema) -> list[Check]:
    """All checks of the split of usable `rows` (n,) into `part` (n,)."""
    checks = [check_entities(rows, part, options, rules), check_rows(rows, part, options, rules)]
    if options.model.task != "regression":
        checks.append(check_classes(rows, part, rules))
    return [c for c in checks if c is not None]


def check_entities(
    rows: pd.DataFrame, part: pd.Series, options: Settings, rules: Schema
) -> Check | None:
    """Test rows whose entity was trained or tuned on; None where no entity is named.

    A split by row or entity has no excuse: FAIL. One by time or blocks meets its customers again
    as production does, and a person decides whether that is meant.
    """
    if rules.entity is None:
        return None
    test = (part == "test").to_numpy()
    entity = rows[rules.entity]
    both = entity[test].isin(entity[~test].dropna().unique())
    share, limit = float(both.mean()), options.gate.data.shared
    kind = options.split.kind
    verdict = Verdict.PASS
    if limit is not None and share > limit:
        verdict = Verdict.FAIL if kind in ("row", "entity") else Verdict.INCONCLUSIVE
    reason = (f"{int(both.sum())} of {int(test.sum())} test rows are of a {rules.entity!r} that "
              "stands in another part too")  # fmt: skip
    if verdict is not Verdict.PASS:
        reason += (
            "; set split.kind: entity" if kind == "row" else
            "; split by it, or set gate.data.shared to the share that is meant"
        )  # fmt: skip
    return Check("shared entities", verdict, reason, value=share, limit=limit, n=int(test.sum()),
                 unit="share", scope=rules.entity)  # fmt: skip


def check_rows(rows: pd.DataFrame, part: pd.Series, options: Settings, rules: Schema) -> Check:
    """Test rows that are equal to one of another part in their time and all features.

    Ids and entities are left out: a row that was copied under another id is the same row. Tables
    of few coarse columns hold equal rows by nature; there the count is shown and decides nothing.
    """
    columns = [c.name for c in rules.features] + ([rules.time] if rules.time else [])
    test = (part == "test").to_numpy()
    again = repeats(rows[columns])
    equal = np.zeros(len(rows), dtype=bool)
    if again.any():
        keys = pd.util.hash_pandas_object(rows.loc[again, columns], index=False)
        tested = test[again.to_numpy()]
        equal[again.to_numpy()] = keys.isin(keys[~tested]).to_numpy() & tested
    count, n = int(equal.sum()), int(test.sum())
    limit, share = options.gate.data.shared_rows, count / max(n, 1)
    coarse = bool(count) and is_coarse(rows[columns])
    over = limit is not None and share > limit and not coarse
    reason = f"{count} of {n} test rows are equal to a row of another part"
    if count and coarse:
        reason += "; with columns as coarse as these that may be chance (not blocking)"
    elif over:
        reason += "; drop the copies, or name an entity that keeps them together"
    return Check("shared rows", Verdict.FAIL if over else Verdict.PASS, reason, value=share,
                 limit=None if coarse else limit, n=n, unit="share")  # fmt: skip


def check_classes(rows: pd.DataFrame, part: pd.Series, rules: Schema) -> Check:
    """Every part has every class: training, tuning and testing."""
    counts = pd.crosstab(as_text(rows[rules.target]), part).reindex(columns=PARTS, fill_value=0)
    lacking = [(name, label) for name in PARTS for label in counts.index[counts[name] == 0]]
    if not lacking:
        least = int(counts.to_numpy().min())
        reason = f"Every part has every class, the rarest with {least} rows"
        return Check("split: classes", Verdict.PASS, reason, value=least, limit=1, n=len(rows),
                     unit="rows", scope=rules.target)  # fmt: skip
    name, label = lacking[0]
    more = f" (and {len(lacking) - 1} more such)" if len(lacking) > 1 else ""
    return Check(
        "split: classes", Verdict.FAIL,
        f"The part {name!r} has no row of the class {str(label)[:40]!r}{more}: add rows, or "
        "change the split",
        value=0, limit=1, n=len(rows), unit="rows", scope=rules.target,
    )  # fmt: skip
