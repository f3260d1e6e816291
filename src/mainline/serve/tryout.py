"""`mainline serve --try`: start the candidate's Bento, send it ten held-out rows, compare.

Offline answers are those that `evaluate` wrote. What goes into the report never holds a value of a
personal column.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainline import inputs, settings
from mainline.errors import NotMeasured
from mainline.files import remove, write_json
from mainline.serve import build
from mainline.verdict import Check, StepVerdict, Verdict, recorded

STEP = "serve"
FILE = Path("reports", "tryout.json")
VERSION = "candidate"
ROWS = 10
READY = 60.0  # seconds to start in
HIDDEN = "(personal)"


@dataclass(frozen=True)
class Row:
    """One held-out row as a caller sends it, and what was answered offline."""

    values: dict[str, Any]
    scores: list[float]
    decision: Any


class NotServed(Exception):
    """The service did not start, or did not answer; the text says what was seen."""


def run(root: Path) -> StepVerdict:
    """Write `reports/tryout.json` and the verdict `serve`: does it start, and answer as offline.

    Raises NotMeasured where `evaluate` left no predictions, DataError where there is no model.
    """
    with recorded(root, STEP):
        remove(root / FILE)
        began = time.perf_counter()
        options = settings.load(root)
        with tempfile.TemporaryDirectory(prefix="mainline-try-") as folder:
            made = build.build(root, VERSION, out=Path(folder) / "bentoml")
            checks, told = _tried(root, Path(made["path"]), Path(folder))
        document = {
            "schema": "tryout/1", "model": options.model.name, "digest": made["digest"],
            "seconds": round(time.perf_counter() - began, 2), **told,
        }  # fmt: skip
        write_json(root / FILE, document)
        given = {"code": inputs.code_digest(root), "model": made["digest"]}
        verdict = StepVerdict(STEP, tuple(checks), given)
        verdict.write(root)
        return verdict


def _tried(root: Path, bento: Path, folder: Path) -> tuple[list[Check], dict[str, Any]]:
    began = time.perf_counter()
    try:
        with _served(root, bento, folder) as started:
            rows, hidden = held_out(root)  # read while it loads
            url = started()
            seconds = time.perf_counter() - began
            first = _ask(url, rows[0].values)["predictions"]
            together = _ask(url, {"rows": [row.values for row in rows]})["predictions"]
    except NotServed as error:
        return [Check("starts", Verdict.FAIL, f"The service did not start: {error}")], {}
    reason = f"The service was ready after {seconds:.1f} s"
    starts = Check("starts", Verdict.PASS, reason, value=round(seconds, 2), unit="seconds")
    return [starts, answers(rows, [*first, *together])], shown(rows, hidden, together)


def answers(rows: list[Row], given: list[dict[str, Any]]) -> Check:
    """Whether each answer is the offline one to the last bit; the first row was also sent alone."""
    sent = [rows[0], *rows]
    if len(given) != len(sent):
        return Check("answers", Verdict.FAIL, f"{len(given)} answers came to {len(sent)} rows")
    wrong = [
        number for number, (row, answer) in enumerate(zip(sent, given, strict=True))
        if answer.get("scores") != row.scores or answer.get("decision") != row.decision
    ]  # fmt: skip
    if wrong:
        row, answer = sent[wrong[0]], given[wrong[0]]
        reason = (f"{len(wrong)} of {len(sent)} served answers are not the offline ones: "
                  f"{answer.get('scores')} instead of {row.scores}")  # fmt: skip
        return Check("answers", Verdict.FAIL, reason, value=len(wrong), limit=0, n=len(sent))
    reason = f"{len(rows)} held-out rows are answered as offline, to the last bit"
    return Check("answers", Verdict.PASS, reason, value=0, limit=0, n=len(sent))


def shown(
    rows: list[Row], hidden: frozenset[str], given: list[dict[str, Any]]
) -> dict[str, Any]:  # fmt: skip
    """What the report shows: the request of one row as a `curl`, and the answer to each."""
    values = {k: HIDDEN if k in hidden and v is not None else v for k, v in rows[0].values.items()}
    # A quotation mark of a shell: the body stands between two of them.
    body = json.dumps(values, ensure_ascii=False).replace("'", "'\\''")
    curl = f"curl -s localhost:3000/predict -H 'content-type: application/json' -d '{body}'"
    pairs = zip(rows, given, strict=False)
    return {
        "curl": curl,
        "answers": [
            {"scores": answer.get("scores"), "offline": row.scores,
             "decision": answer.get("decision")}
            for row, answer in pairs
        ],
    }  # fmt: skip


def held_out(root: Path) -> tuple[list[Row], frozenset[str]]:
    """Ten test rows from the highest score to the lowest, and the names of personal columns."""
    import pandas as pd

    from mainline.data import schema, table
    from mainline.serve.batch import json_rows

    rules = schema.load(root)
    try:
        scored = pd.read_parquet(root / "reports" / "predictions.parquet")
    except (OSError, ValueError) as error:
        raise NotMeasured("There are no offline answers", "Run `./mainline pipeline`") from error
    scored = scored[scored["part"] == "test"]
    scored = scored.sort_values(["score_0", "row_id"], ascending=False, ignore_index=True)
    if scored.empty:
        raise NotMeasured("No row was held out", "Look at `split` in params.yaml")
    last = len(scored) - 1
    chosen = scored.loc[sorted({round(i * last / (ROWS - 1)) for i in range(ROWS)})]
    frame = table.load_table(root, rules)
    frame.index = pd.Index(table.row_ids(frame, rules).astype(str))
    features = frame[[c.name for c in rules.features]].loc[chosen["row_id"].astype(str).tolist()]
    names = [c for c in scored if str(c).startswith("score_")]
    rows = [
        Row(values, scores, decision)
        for values, scores, decision in zip(
            json_rows(features, rules), chosen[names].to_numpy().tolist(),
            chosen["decision"].tolist(), strict=True,
        )
    ]  # fmt: skip
    personal = rules.personal | set(settings.load(root).gate.data.personal)
    return rows, frozenset(personal)


@contextlib.contextmanager
def _served(root: Path, bento: Path, folder: Path) -> Iterator[Any]:
    """Start the service; the block is given what waits until it is ready and says where it is."""
    port = 0 if sys.platform == "linux" else _free_port()  # else BentoML listens, and says nothing
    arguments, environ = build.command(
        root, bento, port=port, workers=1, log=str(folder / "log"), trial=True
    )
    # What is tried is no production: its answers are not logged there, and nobody needs a key.
    environ |= {"MAINLINE_LABELS": str(folder / "labels"), "MAINLINE_KEYS": ""}
    output = folder / "output.txt"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            arguments, env=environ, stdin=subprocess.DEVNULL, stdout=stream,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield lambda: _ready(process, output, port)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ready(process: subprocess.Popen[bytes], output: Path, port: int) -> str:
    """The address of the service, when it is ready; NotServed with its own words when it is not."""
    end = time.monotonic() + READY
    while time.monotonic() < end and process.poll() is None:
        said = output.read_text("utf-8", errors="replace")
        found = [w for w in said.split() if w.startswith("http://127.0.0.1:")]
        if port:
            found = [f"http://127.0.0.1:{port}"]
        if found:
            with contextlib.suppress(OSError, NotServed):
                _open(found[0] + "/readyz")
                return found[0]
        time.sleep(0.05)
    why = _last(output.read_text("utf-8", errors="replace"))
    raise NotServed(why if process.poll() is not None else f"not ready in {READY:.0f} s; {why}")


def _last(said: str) -> str:
    """What a service said last: our own sentence, else only the name of an error.

    What an error of the forker's code says may hold a value of a row, and stands behind a colon.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("mainline: ") and "http://" not in line]
    if own:
        return re.sub(r"\b([A-Za-z]\w*): .*", r"\1", own[-1].removeprefix("mainline: "))[:300]
    return lines[-1].partition(":")[0][:80] if lines else "it said nothing"


def _ask(url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    answered = _open(f"{url}/predict", json.dumps(body).encode("utf-8"))
    return json.loads(answered)  # type: ignore[no-any-return]


def _open(url: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=35) as answer:  # noqa: S310
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise NotServed(
            f"status {error.code}: {error.read()[:200].decode(errors='replace')}"
        ) from None
