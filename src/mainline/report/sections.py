"""What the numbers say: comparison, slices, data, changes. Facts in, sections out."""

from __future__ import annotations

import re
from typing import Any

from mainline.compare.meaning import Change
from mainline.report.blocks import (
    Alert,
    Block,
    Bullets,
    Chart,
    Code,
    Inline,
    Line,
    Paragraph,
    Pictures,
    Section,
    Strong,
)
from mainline.report.facts import Facts
from mainline.report.numbers import (
    MINUS,
    NONE,
    badge,
    count,
    dicts,
    digest,
    inner,
    interval,
    limit,
    number,
    show,
)
from mainline.report.pieces import bounds, table

MOVED = {"base_rows": "before", "rows": "now", "added": "came", "removed": "gone",
         "changed": "with other values", "relabelled": "with another label",
         "labelled": "whose label came"}  # fmt: skip
BOUNDS = ("high", "gain", "low")
HOLM = ("A slice fails only where it surely lost more than it may, all slices being tested at once "
        "(Holm's correction): a large difference of few rows may pass.")  # fmt: skip


def overall(facts: Facts) -> list[dict[str, Any]]:
    """The compared metrics over all rows."""
    listed = dicts((facts.comparison or {}).get("metrics"))
    return [m for m in listed if m.get("scope") in (None, "all")]


def compared(facts: Facts) -> Section | None:
    """What changed against the base, metric by metric."""
    if facts.comparison is None:
        return _alone(facts)
    blocks: list[Block] = [_sides(facts)]
    listed = dicts(facts.comparison.get("metrics"))
    if listed:
        rows = [_metric_row(m) for m in listed]
        head = ("metric", "base", "candidate", "difference", "95% bounds", "may lose", "verdict")
        blocks += table(head, rows, {1, 2, 3, 5})
        blocks.append(Paragraph(
            ("Differences are signed so that + is better; each bound holds with 95%.",)
        ))  # fmt: skip
        blocks += _power(facts)
    alone = _alone(facts) if not overall(facts) else None
    return Section("What changed", (*blocks, *(alone.blocks if alone else ())))


def _sides(facts: Facts) -> Block:
    document = facts.comparison or {}
    base, candidate = inner(document, "base"), inner(document, "candidate")
    rows = inner(document, "rows")
    label = re.split(r"\b([0-9a-f]{12})\b", str(base.get("label") or "unknown"))
    named = [Code(part) if n % 2 else part for n, part in enumerate(label) if part]
    first: list[Inline] = [Strong("Base"), ": ", *named]
    commit = base.get("commit")
    if commit and str(commit)[:12] not in str(base.get("label")):
        first += [", commit ", digest(commit)]
    if base.get("digest"):
        first += [", model ", digest(base.get("digest"))]
    second: list[Inline] = [Strong("Candidate"), ": commit ", digest(candidate.get("commit")),
                            ", model ", digest(candidate.get("digest"))]  # fmt: skip
    third: list[Inline] = [Strong("Judged on"), f": {count(rows.get('n'))} rows"]
    if facts.metrics is None or "positives" in inner(facts.metrics, "rows"):
        third.append(f", {count(rows.get('positives'))} of them positive")
    third += [", row ids ", digest(rows.get("digest"))]
    return Bullets((tuple(first), tuple(second), tuple(third)))


def _metric_row(entry: dict[str, Any]) -> tuple[Line, ...]:
    name: Line = (Code(str(entry.get("name"))),)
    if entry.get("scope") not in (None, "all"):
        name = (*name, f" {entry['scope']}")
    return (
        name, (show(entry.get("base")),), (show(entry.get("candidate")),),
        (show(entry.get("gain"), signed=True),), interval(entry), (limit(entry.get("limit")),),
        badge(entry.get("verdict")),
    )  # fmt: skip


def _power(facts: Facts) -> list[Block]:
    document = facts.comparison or {}
    name = document.get("metric")
    entry = next((m for m in overall(facts) if m.get("name") == name), {})
    least, delta = number(entry.get("detectable")), number(document.get("delta"))
    if least is None or delta is None:
        return []
    seen = f"The smallest loss of {name} that these rows show four times in five is {least:.4f}"
    if least <= delta:
        return [Paragraph((f"{seen}; {delta:g} may be lost.",))]
    more = f"{seen}, and {delta:g} may be lost: expect INCONCLUSIVE where they are close."
    return [Alert("note", (more,))]


def _alone(facts: Facts) -> Section | None:
    """The candidate's own metrics, where nothing is there to set beside them."""
    test, tune = inner(facts.metrics, "test"), inner(facts.metrics, "tune")
    if not test:
        return None
    rows = inner(facts.metrics, "rows")
    said = f"The candidate alone, on {count(rows.get('n'))} test rows"
    if "positives" in rows:
        said += f", {count(rows['positives'])} of them positive"
    cells = [((Code(str(n)),), (show(tune.get(n)),), (show(v),)) for n, v in test.items()]
    blocks = [Paragraph((said + ":",)), *table(("metric", "tune", "test"), cells, {1, 2})]
    return Section("The candidate", tuple(blocks))


def slices(facts: Facts) -> Section | None:
    """Each slice: against the base where it is large enough to judge, else by itself."""
    measured = {
        f"{column} = {value}": found
        for column, values in inner(facts.metrics, "slices").items()
        if isinstance(values, dict)
        for value, found in values.items()
        if isinstance(found, dict)
    }
    listed = dicts((facts.comparison or {}).get("slices"))
    if not listed:
        return _slices_alone(measured, facts)
    ends = [abs(number(s.get(k)) or 0.0) for s in listed for k in ("low", "high")]
    positive = any(number(s.get("positives")) is not None for s in listed)
    rows: list[tuple[Line, ...]] = [
        ((str(s.get("slice")),), (count(s.get("n")),),
         *([(count(s.get("positives")),)] if positive else []),
         (show(s.get("base")),), (show(s.get("candidate")),),
         (show(s.get("gain"), signed=True),), interval(s, max(ends)),
         (limit(s.get("limit")),), badge(s.get("verdict")))
        for s in listed
    ]  # fmt: skip
    head = ("slice", "rows", *(["positive"] if positive else []), "base", "candidate",
            "difference", "95% bounds", "may lose", "verdict")  # fmt: skip
    metric = str((facts.comparison or {}).get("metric"))
    blocks: list[Block] = [
        Paragraph((Code(metric), " by slice:")),
        *table(head, rows, {*range(1, len(head) - 3), len(head) - 2}),
    ]
    if any(number(s.get("limit")) is not None for s in listed):
        blocks.append(Paragraph((HOLM,)))
    blocks += _chart(facts, listed)
    small = [n for n in measured if n not in {s.get("slice") for s in listed}]
    if small:
        more = f" and {len(small) - 8} more" if len(small) > 8 else ""
        blocks.append(Paragraph((f"Too few rows to judge: {', '.join(small[:8])}{more}.",)))
    return Section("Slices", tuple(blocks), spare=3)


def _chart(facts: Facts, listed: list[dict[str, Any]]) -> list[Block]:
    """The difference, its bounds and what may be lost, over all rows and over each slice."""
    metric = str((facts.comparison or {}).get("metric"))
    whole = [m for m in overall(facts) if m.get("name") == metric]
    entries = [{**m, "slice": "all rows"} for m in whole] + listed
    entries = [e for e in entries if all(number(e.get(k)) is not None for k in BOUNDS)]
    names = tuple(str(e.get("slice")) for e in entries)
    lines = [tuple(number(e.get(k)) for e in entries) for k in BOUNDS]
    limits = [number(e.get("limit")) for e in entries]
    if all(v is not None for v in limits):
        lines.append(tuple(-v for v in limits if v is not None))
    if len(names) < 2 or any(v is None for line in lines for v in line):
        return []
    drawn = tuple(tuple(v for v in line if v is not None) for line in lines)
    flat = ", and what may be lost" if len(drawn) == 4 else ""
    said = f"From above: upper bound, difference and lower bound of {metric}{flat}."
    title = f"{metric}: difference from the base, + is better"
    return [Chart(title, names, drawn, said)]


def _slices_alone(measured: dict[str, dict[str, Any]], facts: Facts) -> Section | None:
    if not measured:
        return None
    first = next(iter(measured.values()))
    name = str((facts.comparison or {}).get("metric") or "")
    names = [name] if name in first else [n for n in first if n not in ("n", "positives")][:1]
    names += [n for n in ("recall", "precision") if n in first and n not in names]
    rows: list[tuple[Line, ...]] = [
        ((key,), (count(s.get("n")),), (count(s.get("positives")),),
         *((show(s.get(n)),) for n in names))
        for key, s in measured.items()
    ]  # fmt: skip
    head = ("slice", "rows", "positive", *names)
    return Section("Slices", tuple(table(head, rows, set(range(1, len(head))))), spare=3)


def data(facts: Facts) -> Section | None:
    """Rows and classes, and what changed in the data and its contract."""
    items: list[Line] = []
    found = facts.of("validate")
    if found is not None:
        rows = next((c.n for c in found.checks if c.name == "schema"), None)
        if rows is not None:
            items.append(
                (f"{count(rows)} rows; data digest ", digest(found.inputs.get("data")), ".")
            )
        items += [
            (f"{c.scope}: {c.reason}.",) for c in found.checks if c.name.endswith(": classes")
        ]
        items += [(f"{c.reason}.",) for c in found.checks if c.name.endswith(": soft limit")][:10]
    trained = facts.of("train")
    if trained is not None:
        items += [(f"{c.reason}.",) for c in trained.checks if c.name == "trained"]
    changed: list[Block] = []
    if facts.changes is not None:
        both = (*facts.changes.data, *facts.changes.columns)
        changed = _change_table("data or contract", both)
        if not both:
            items.append(("Data and contract are those of the base.",))
    blocks: list[Block] = [Bullets(tuple(items))] if items else []
    changed = [*moved(inner(facts.comparison, "data")), *changed]
    return Section("Data", (*blocks, *changed), spare=4) if blocks or changed else None


def moved(found: dict[str, Any]) -> list[Block]:
    """Rows that came, went and changed since the base, and the target before and of new rows."""
    counts = [f"{count(found[k])} {said}" for k, said in MOVED.items()
              if number(found.get(k)) or (k in ("base_rows", "rows") and k in found)]  # fmt: skip
    if not counts:
        return []
    part = inner(found, "test")
    counts += [f"{count(part[k])} {MOVED[k]} in the test part"
               for k in ("removed", "changed", "relabelled") if number(part.get(k))]  # fmt: skip
    out: list[Block] = [Paragraph((f"Rows since the base: {', '.join(counts)}.",))]
    sides = [inner(inner(found, "label"), side) for side in ("before", "came")]
    values = [inner(side, "values") for side in sides]
    rows: list[tuple[Line, ...]] = [
        ((Code(name),), *((_share(v.get(name)),) for v in values))
        for name in dict.fromkeys([*values[0], *values[1]])
    ]
    if rows:
        heads = [f"{side} ({count(v.get('n'))} rows)"
                 for side, v in zip(("before", "rows that came"), sides, strict=True)]  # fmt: skip
        out += table(("target", *heads), rows, set())
    shift = number(inner(found, "label").get("shift"))
    if shift is not None:
        out.append(Paragraph((f"The target has surely moved by {show(shift)}.",)))
    return out


def _share(value: Any) -> str:
    entry = value if isinstance(value, dict) else {}
    return show(entry.get("value")) + (f" ({said})" if (said := bounds(entry)) != NONE else "")


def _change_table(what: str, changes: tuple[Change, ...]) -> list[Block]:
    def side(value: str | None) -> Line:
        return (
            (Code(value),) if value not in (None, "") else (NONE if value is None else "(empty)",)
        )

    rows = [((Code(c.name),), side(c.base), side(c.candidate)) for c in changes]
    return table((what, "base", "candidate"), rows, set()) if rows else []


def changes(facts: Facts) -> Section | None:
    """Changed parameters, locked packages and files since the base."""
    found = facts.changes
    if found is None:
        return None
    blocks = _change_table("parameter", found.parameters)
    same = [] if found.parameters else ["parameters"]
    for name, locked in found.locks:
        blocks += _change_table(f"package in {name}", locked)
    if not found.locks:
        same.append("locks")
    if found.files:
        rows: list[tuple[Line, ...]] = [
            ((Code(path),), (f"+{added}",), (f"{MINUS}{removed}",))
            for path, added, removed in found.files
        ]
        blocks += table(("file", "added", "removed"), rows, {1, 2})
    else:
        same.append("code")
    if same:
        said = " and ".join(filter(None, [", ".join(same[:-1]), same[-1]]))
        blocks.append(Paragraph(("As in the base ", digest(found.base), f": {said}.")))
    return Section("Parameters, locks and code", tuple(blocks), spare=5)


def plots(facts: Facts) -> Section | None:
    """The plots of the evaluation; in Markdown this section is left out."""
    return Section("Plots", (Pictures(facts.plots),)) if facts.plots else None
