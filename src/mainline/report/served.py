"""What the candidate's service answered when it was tried."""

from __future__ import annotations

from mainline.report.blocks import Block, Code, Line, Paragraph, Section
from mainline.report.facts import Facts
from mainline.report.numbers import dicts, number
from mainline.report.pieces import table


def served(facts: Facts) -> Section | None:
    """A request to paste, and the answers beside those that were made offline.

    None where nothing was tried, or what lies there is of another model.
    """
    tried, found = facts.of("serve"), facts.tryout
    if tried is None:
        return None
    blocks: list[Block] = [Paragraph((f"{c.reason}.",)) for c in tried.checks]
    if found is None or found.get("digest") != tried.inputs.get("model"):
        return Section("The service", tuple(blocks), spare=3)
    answers = dicts(found.get("answers"))
    if answers:
        blocks.append(Paragraph(("The first row as a request: ", Code(str(found.get("curl"))))))
    rows: list[tuple[Line, ...]] = [
        ((str(n),), _scores(answer.get("scores")), _scores(answer.get("offline")),
         (str(answer.get("decision")),))
        for n, answer in enumerate(answers, 1)
    ]  # fmt: skip
    if rows:
        blocks += table(("row", "served", "offline", "decision"), rows, {0, 1, 2})
    return Section("The service", tuple(blocks), spare=3)


def _scores(given: object) -> Line:
    listed = given if isinstance(given, list) else []
    return (" ".join(repr(v) for v in map(number, listed) if v is not None) or "none",)
