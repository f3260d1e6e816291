"""Before any traffic: rows that stable has answered lately are asked of the new version itself.

Its answers are held against those of its own model offline. The rows go to the version's own port
marked as shadow, so that nothing takes them for traffic.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mainline.errors import MainlineError
from mainline.rollout import host, offline
from mainline.rollout.follow import last_records
from mainline.rollout.predictions import same
from mainline.rollout.state import Arm
from mainline.rollout.target import Ask, Target
from mainline.verdict import Check, Verdict

ROWS = 1000
BATCH = 20  # rows in one request: some services take few, and one that is refused is asked again
EXAMPLES = 3
Asked = Callable[[Arm, Sequence[Ask]], list[tuple[int, str]]]


@dataclass
class Replayed:
    """What became of `rows` logged rows: `wrong` of those `compared` were answered otherwise.

    `refused` rows the service does not take (its schema is another one); `unscored` ones the model
    itself has no answer to. `why` says why there are no rows, or why they could not be asked.
    """

    rows: int = 0
    compared: int = 0
    wrong: int = 0
    refused: int = 0
    unscored: int = 0
    why: str = ""
    examples: list[dict[str, Any]] = field(default_factory=list)


def replay_logged(
    target: Target, arm: Arm, stable: Arm | None, artifact: Path, rows: int = ROWS
) -> Check | None:
    """The check `replay` of the new version `arm`, whose service is ready and has no traffic.

    `artifact` is what it was started from, here; the target has its own copy.

    None where nothing is stable yet or what is served is no Bento. None and a line in the record
    where there is nothing to replay: no log yet, or rows that the new version cannot take.
    """
    if stable is None or not stable.port or not offline.is_bento(artifact):
        return None
    found = Replayed(**target.replay(arm, stable, rows))
    check = judge(found)
    if check is None:
        why = f"No logged rows were replayed: {found.why}"
        target.record("replay", version=arm.version, reason=why)
    return check


def judge(found: Replayed) -> Check | None:
    """The check on what was replayed; None where nothing could be compared. Pure."""
    if found.why and not found.rows:
        return None
    if found.why:
        return Check("replay", Verdict.INCONCLUSIVE, found.why, n=found.rows)
    if not found.compared:
        found.why = f"none of {found.rows} rows is one that the new version takes"
        return None
    more = f", {found.refused} it does not take" if found.refused else ""
    more += f", {found.unscored} its model has no answer to" if found.unscored else ""
    if found.wrong:
        reason = f"{found.wrong} of {found.compared} logged rows are not answered as offline"
        return Check("replay", Verdict.FAIL, reason + more, value=found.wrong, limit=0,
                     n=found.compared)  # fmt: skip
    reason = f"{found.compared} logged rows are answered as offline"
    return Check("replay", Verdict.PASS, reason + more, value=0, limit=0, n=found.compared)


def run(folder: Path, ask: Asked, arm: Arm, stable: Arm, rows: int = ROWS) -> dict[str, Any]:
    """Replay the last `rows` rows of `stable` at the service of `arm`: a Replayed as a document.

    On the machine that serves: the log and the Bento are there. `ask` is `Target.ask`.
    """
    address = host.log_address(folder)
    if "://" in address:
        return asdict(Replayed(why=f"the prediction log is not on this machine ({address})"))
    records = last_records(Path(address), stable.digest, rows)
    features = [r["features"] for r in records if isinstance(r.get("features"), dict)]
    if not features:
        return asdict(Replayed(why="the prediction log has none yet"))
    try:
        wanted = offline.ask(Path(arm.artifact), features)
    except MainlineError as error:
        return asdict(Replayed(len(features), why=str(error)))
    return asdict(compare(features, wanted, answers(ask, arm, features)))


def answers(
    ask: Asked, arm: Arm, rows: Sequence[Mapping[str, Any]]
) -> list[tuple[int, list[float]]]:
    """Status and scores of each row. A batch that is refused is asked again row by row."""
    found: list[tuple[int, list[float]]] = []
    batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
    for batch, (status, body) in zip(
        batches, ask(arm, [_question(b) for b in batches]), strict=True
    ):
        said = _scores(status, body, len(batch))
        if said is None:
            said = []
            for single in ask(arm, [_question([row]) for row in batch]):
                said += _scores(*single, 1) or [(single[0] if single[0] != 200 else 0, [])]
        found += said
    return found


def compare(
    rows: Sequence[Mapping[str, Any]],
    wanted: Sequence[Sequence[float] | None],
    said: Sequence[tuple[int, Sequence[float]]],
) -> Replayed:
    """Each served answer against the offline one. Pure.

    A row that the model can score and the service fails on, whatever way, is answered wrong; only
    one that the service says breaks its schema (422) is not.
    """
    found = Replayed(len(rows))
    for offline_scores, (status, scores) in zip(wanted, said, strict=True):
        if offline_scores is None:
            found.unscored += 1
        elif status == 422:
            found.refused += 1
        else:
            found.compared += 1
            if status != 200 or not same(scores, offline_scores):
                found.wrong += 1
                if len(found.examples) < EXAMPLES:
                    found.examples.append({"status": status, "served": list(scores),
                                           "offline": list(offline_scores)})  # fmt: skip
    return found


def _question(rows: Sequence[Mapping[str, Any]]) -> Ask:
    return Ask("/predict", json.dumps({"rows": list(rows)}))


def _scores(status: int, body: str, count: int) -> list[tuple[int, list[float]]] | None:
    if status != 200:
        return None
    try:
        found = [(status, [float(s) for s in p["scores"]]) for p in json.loads(body)["predictions"]]
    except (ValueError, KeyError, TypeError):
        return None
    return found if len(found) == count else None
