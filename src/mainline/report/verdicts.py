"""What the verdicts say: the decision, the gates, the next steps, and what was not run."""

from __future__ import annotations

import re
from itertools import pairwise

from mainline.report.advice import AGAIN, next_step
from mainline.report.behaviour import behaviour
from mainline.report.beside import cost, origin, policy, production
from mainline.report.blocks import (
    Alert,
    Badge,
    Block,
    Bullets,
    Code,
    Inline,
    Line,
    Paragraph,
    Report,
    Section,
    Strong,
)
from mainline.report.facts import Facts
from mainline.report.gate import NOT_RUN
from mainline.report.numbers import NONE, inner, limit, number, show
from mainline.report.pieces import table
from mainline.report.sections import changes, compared, data, overall, plots, slices
from mainline.report.served import served
from mainline.verdict import ORDER, Check, StepVerdict, Verdict

MOST_NAMES = 4
OPENING = {
    Verdict.PASS: "This may be merged",
    Verdict.INCONCLUSIVE: "A person has to decide whether this is merged",
    Verdict.FAIL: "This may not be merged",
    Verdict.ERROR: "This may not be merged, because not everything could be measured",
}


def compose(facts: Facts) -> Report:
    """All of the report in its order."""
    made = [f(facts) for f in (compared, slices, policy, origin, plots, data, changes, gates,
                               behaviour, served, cost, production, next_steps,
                               not_run)]  # fmt: skip
    sections = tuple(s for s in made if s is not None)
    return Report(facts.model, facts.gate.verdict, sentence(facts), sections)


def sentence(facts: Facts) -> Line:
    """One sentence: may this be merged, and why."""
    verdict = facts.gate.verdict
    accepted = next((c for c in facts.gate.checks if c.name == "accepted"), None)
    if verdict is Verdict.PASS and accepted is not None:
        return _lifted(facts, accepted)
    if verdict is Verdict.PASS:
        return (Strong(OPENING[verdict]), *commands(f": {_why_pass(facts)}."))
    if verdict is Verdict.ERROR and any(c.verdict is Verdict.FAIL for c in facts.gate.checks):
        return (Strong(OPENING[Verdict.FAIL]), *commands(f": {_failed_too(facts)}."))
    bad = [c for c in facts.gate.checks if c.verdict is verdict]
    # Once a step failed, those after it have nothing to say that is not its consequence.
    reason = bad[0].reason.rstrip(".")
    steps = [c for c in facts.gate.checks if c.name in facts.verdicts]
    lost = [c for c in steps if c.value == NOT_RUN]
    others = len([c for c in steps if c.verdict is not Verdict.PASS and c not in (bad[0], *lost)])
    left = f", and {_of(lost, steps)} not run" if lost else ""
    more = f", and {others} more {'gates' if others > 1 else 'gate'} did not pass" if others else ""
    label = f". {accepted.reason}" if accepted is not None else ""
    return (Strong(OPENING[verdict]), *commands(f": {reason}{more}{left}{label}."))


def _failed_too(facts: Facts) -> str:
    """What failed, and what could not be measured besides."""
    failed = next(c for c in facts.gate.checks if c.verdict is Verdict.FAIL)
    errors = [c for c in facts.gate.checks if c.verdict is Verdict.ERROR]
    steps = [c for c in facts.gate.checks if c.name in facts.verdicts]
    lost = [c for c in steps if c in errors]
    more = f", and {_of(lost, steps)} not measured" if lost else f"; {errors[0].reason.rstrip('.')}"
    return failed.reason.rstrip(".") + more


def _of(some: list[Check], steps: list[Check]) -> str:
    return f"{len(some)} of {len(steps)} gates {'were' if len(some) > 1 else 'was'}"


def _lifted(facts: Facts, accepted: Check) -> Line:
    """Who let it through, when and for which commit, and what was inconclusive."""
    given = facts.acceptance
    who = f"@{given.who}" if given else str(accepted.value)
    when = f" on {given.when} for the commit {given.commit[:12]}" if given else ""
    unsure = [c.reason.partition("; inconclusive, and accepted")[0] for c in facts.gate.checks
              if "; inconclusive, and accepted" in c.reason]  # fmt: skip
    more = f" (and {len(unsure) - 1} more)" if len(unsure) > 1 else ""
    what = unsure[0].rstrip(".") if unsure else "what is inconclusive"
    said = f": lifted by {who}{when}. Inconclusive was {what}{more}."
    return (Strong(OPENING[Verdict.PASS]), *commands(said))


def _why_pass(facts: Facts) -> str:
    document = facts.comparison or {}
    base = inner(document, "base")
    same = [c for c in _checks(facts, "compare") if c.name == "unchanged"]
    if same:
        return _lower(same[0].reason)
    name = document.get("metric")
    found = next((m for m in overall(facts) if m.get("name") == name), None)
    if found is not None:
        gain = number(found.get("gain")) or 0.0
        ends = [show(found.get(end), signed=True) for end in ("low", "high")]
        sure = "" if NONE in ends else f" (95% bounds {ends[0]} to {ends[1]})"
        may = f"worse{sure}, and {limit(document.get('delta'))} may be lost"
        word = f"better{sure}" if gain >= 0 else may
        return (f"{name} is {show(found.get('candidate'))} against {show(found.get('base'))} of "
                f"{base.get('label')}, {show(abs(gain))} {word}")  # fmt: skip
    if document and not base.get("commit"):
        return (
            "there is no base yet, and the model beats a dummy and is no worse than a linear model"
        )
    return "all gates passed"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if not text[1:2].isupper() else text


def _checks(facts: Facts, step: str) -> tuple[Check, ...]:
    found = facts.of(step)
    return found.checks if found else ()


def gates(facts: Facts) -> Section:
    """A row for each gate with the count of checks that did not pass, and the reason of each."""
    rows: list[tuple[Line, ...]] = []
    reasons: list[tuple[Line, ...]] = []
    for gate in facts.gate.checks:
        found = facts.of(gate.name)
        bad = _bad(found)
        counted = f"{len(bad)} of {len(found.checks)}" if found else NONE
        lifted = found is not None and found.verdict is Verdict.INCONCLUSIVE != gate.verdict
        badge: Line = (Badge(gate.verdict),)
        if lifted and gate.verdict is Verdict.PASS:
            badge = (Badge(Verdict.INCONCLUSIVE), ", lifted")
        rows.append(((gate.name,), badge, (counted,), _own(facts, gate)))
        reasons += [
            ((gate.name,), (Code(c.name),), (Badge(c.verdict),), _rows(c), commands(c.reason))
            for c in bad
        ]
    blocks: list[Block] = table(("gate", "verdict", "did not pass", "why"), rows, {2})
    if reasons:
        blocks += table(("gate", "check", "verdict", "rows", "reason"), reasons, {3})
    return Section("Gates", tuple(blocks), spare=1)


def _own(facts: Facts, gate: Check) -> Line:
    found = facts.of(gate.name)
    if gate.verdict is Verdict.PASS and found is not None and found.verdict is Verdict.PASS:
        return ("all passed",)
    cause = _blocked_by(facts, gate.name) if gate.name in facts.verdicts else None
    if found is None and cause:
        return (f"not run, because {cause} did not pass",)
    return commands(gate.reason.removeprefix(f"{gate.name}: "))


def _rows(check: Check) -> Line:
    if check.unit == "rows" and number(check.value) is not None:
        return (f"{check.value:,} of {check.n:,}" if check.n else f"{check.value:,}",)
    return (f"{check.n:,}" if isinstance(check.n, int) else NONE,)


def _bad(found: StepVerdict | None) -> list[Check]:
    checks = [c for c in found.checks if c.verdict is not Verdict.PASS] if found else []
    return sorted(checks, key=lambda c: -ORDER.index(c.verdict))


def next_steps(facts: Facts) -> Section | None:
    """One line for each thing to do, with the checks that ask for it."""
    said: dict[str, dict[str, list[str]]] = {}
    for gate in facts.gate.checks:
        for check, advice in _advised(facts, gate):
            step = gate.name if gate.name in facts.verdicts else "gate"
            said.setdefault(advice, {}).setdefault(step, []).append(check)
    items = []
    for advice, steps in said.items():
        lead: list[Inline] = []
        for step, checks in steps.items():
            lead += [", " if lead else "", Strong(step), *_named(list(filter(None, checks)))]
        items.append((*lead, ". ", *commands(advice), "."))
    return Section("Next steps", (Bullets(tuple(items)),)) if items else None


def _advised(facts: Facts, gate: Check) -> list[tuple[str, str]]:
    """(what, advice) for all that did not pass at one gate; what is empty for the gate itself."""
    if gate.verdict is Verdict.PASS:
        return []
    if gate.name not in facts.verdicts:
        return [(gate.name, next_step("gate", gate))]
    cause = _blocked_by(facts, gate.name)
    if cause and (gate.verdict is Verdict.ERROR or gate.value == NOT_RUN):
        return [("", f"Mend {cause} first; `./mainline check` then runs everything")]
    bad = _bad(facts.of(gate.name))
    if not bad:
        return [("", f"Run {AGAIN.get(gate.name, '`./mainline check`')}")]
    return [
        (c.scope if c.name.startswith("slice ") else c.name, next_step(gate.name, c)) for c in bad
    ]


def _named(names: list[str]) -> list[Inline]:
    out: list[Inline] = []
    for name in names[:MOST_NAMES]:
        out += [", " if out else " ", Code(name)]
    if len(names) > MOST_NAMES:
        out.append(f" and {len(names) - MOST_NAMES} more")
    return out


def _blocked_by(facts: Facts, step: str) -> str | None:
    """The first step before `step` that did not pass, which is why `step` did not run."""
    for name in facts.verdicts:
        if name == step:
            return None
        found = facts.of(name)
        if found is not None and found.verdict in (Verdict.FAIL, Verdict.ERROR):
            return name
    return None


def commands(text: str) -> tuple[Inline, ...]:
    """A sentence of our own, what stands between backticks as code."""
    parts = re.split(r"`([^`]*)`", text)
    return tuple(Code(p) if n % 2 else p for n, p in enumerate(parts) if p)


def not_run(facts: Facts) -> Section | None:
    """What is not in this report, and why."""
    items: list[Line] = []
    for step, found in facts.verdicts.items():
        cause = _blocked_by(facts, step)
        if isinstance(found, StepVerdict):
            if found.skipped is not None:
                items.append((Strong(step), *commands(f" was skipped: {found.skipped}.")))
            elif found.verdict is Verdict.ERROR and cause:
                items.append((Strong(step), f" could not run, because {cause} did not pass."))
        elif cause:
            items.append((Strong(step), f" has no verdict, because {cause} did not pass."))
        else:
            items.append((Strong(step), *commands(f" has no verdict: {found.rstrip('.')}.")))
    for what, why in facts.absent.items():
        items.append((Strong(what), *commands(f" is not here: {why.rstrip('.')}.")))
    if not facts.plots:
        items.append((Strong("The plots"), " are not here: reports/plots/ holds none."))
    old = _old(facts)
    blocks: list[Block] = [Alert("warning", (old,))] if old else []
    if items:
        blocks.append(Bullets(tuple(items)))
    else:
        blocks.append(Paragraph(("Everything was run.",)))
    return Section("What was not run, and why", tuple(blocks))


def _old(facts: Facts) -> str | None:
    """A sentence where numbers above are of an earlier run."""
    read = [v for v in facts.verdicts.values() if isinstance(v, StepVerdict)]
    other = [v.step for v in read if v.inputs.get("code") not in (None, facts.code)]
    for key in ("data", "split", "model"):
        seen = [(v.step, v.inputs[key]) for v in read if v.inputs.get(key)]
        other += [b for (_, x), (b, y) in pairwise(seen) if x != y]
    if not other:
        return None
    names = ", ".join(dict.fromkeys(other))
    return (
        f"The verdicts of {names} are of other code, data or model than the rest: "
        "numbers above may be of an earlier run."
    )
