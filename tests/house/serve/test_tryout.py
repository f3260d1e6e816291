"""The candidate's service, tried in a pull request: it starts, and answers as offline, or FAILs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from mainline import inputs, settings
from mainline.errors import NotMeasured
from mainline.files import digest_tree
from mainline.report import facts, markdown
from mainline.report.served import served
from mainline.serve import build, tryout
from mainline.verdict import Verdict

pytestmark = pytest.mark.usefixtures("_alone")
OFFLINE = """
from pathlib import Path
from mainline.serve.batch import predict_file
predict_file(Path("."), Path("data/rows/2024-03.parquet"), Path({out!r}))
"""


@pytest.fixture()
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAINLINE_LOG", raising=False)


@pytest.fixture()
def evaluated(project: Path, tmp_path: Path, in_project: object) -> Path:
    """A copy of the project with the offline answers that `evaluate` leaves."""
    root = tmp_path / "project"
    shutil.copytree(project, root, ignore=shutil.ignore_patterns("build"))
    out = tmp_path / "scored.parquet"
    in_project(OFFLINE.format(out=str(out)))  # type: ignore[operator]
    scored = pd.read_parquet(out).assign(part=["test", "tune", "train"] * 500)
    (root / "reports").mkdir(exist_ok=True)
    scored.to_parquet(root / "reports" / "predictions.parquet", index=False)
    return root


def test_a_candidate_that_answers_as_offline_passes(evaluated: Path) -> None:
    """Ten held-out rows, to the last bit; the verdict names the model, and the report shows it."""
    done = tryout.run(evaluated)
    assert done.verdict is Verdict.PASS
    assert done.inputs["model"] == digest_tree(evaluated / "models")
    assert done.inputs["code"] == inputs.code_digest(evaluated)
    tried = json.loads((evaluated / tryout.FILE).read_text())
    assert len(tried["answers"]) == 10
    assert all(a["scores"] == a["offline"] for a in tried["answers"])
    assert tried["curl"].startswith("curl -s localhost:3000/predict -H 'content-type: ")
    section = served(facts.read(evaluated))
    assert section is not None
    text = markdown.section(section)
    assert "ready after" in text
    assert repr(tried["answers"][0]["scores"][0]) in text
    assert "curl -s localhost:3000/predict" in text


def test_answers_that_differ_in_the_last_bit_fail(evaluated: Path) -> None:
    """So does a decision on the other side of the threshold."""
    path = evaluated / "reports" / "predictions.parquet"
    scored = pd.read_parquet(path)
    scored["score_0"] = scored["score_0"] * (1 + 2**-52)
    scored.to_parquet(path, index=False)
    done = tryout.run(evaluated)
    assert [(c.name, c.verdict) for c in done.checks] == [
        ("starts", Verdict.PASS), ("answers", Verdict.FAIL),
    ]  # fmt: skip
    assert "served answers are not the offline ones" in done.checks[1].reason


def test_a_service_that_does_not_start_fails_and_says_no_value(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of the error is told, not what it says: that may be a value of a row."""
    features = evaluated / "src" / "own" / "features.py"
    broken = "\nif os.environ.get('MAINLINE_SERVING'):\n    raise ValueError('Jane Doe')\n"
    features.write_text(features.read_text() + broken)
    monkeypatch.setattr(tryout, "READY", 20.0)
    done = tryout.run(evaluated)
    assert [(c.name, c.verdict) for c in done.checks] == [("starts", Verdict.FAIL)]
    for path in (evaluated / "reports" / "verdicts" / "serve.json", evaluated / tryout.FILE):
        assert "Jane Doe" not in path.read_text()
    section = served(facts.read(evaluated))
    assert section is not None
    assert "did not start" in markdown.section(section)


def test_no_value_of_a_personal_column_is_shown(evaluated: Path) -> None:
    """The one that the settings call personal is sent, and hidden in what is kept."""
    params = evaluated / "params.yaml"
    params.write_text(
        params.read_text().replace("delta: 0.05}", "delta: 0.05, data: {personal: [amount]}}")
    )
    assert settings.load(evaluated).gate.data.personal == ("amount",)
    rows, hidden = tryout.held_out(evaluated)
    assert "amount" in hidden
    assert "email" in hidden
    answers = [{"scores": row.scores, "decision": row.decision} for row in rows]
    told = json.dumps(tryout.shown(rows, hidden, answers))
    assert tryout.HIDDEN in told
    assert str(rows[0].values["amount"]) not in told
    assert "example" not in told


def test_a_quotation_mark_does_not_end_the_request() -> None:
    """The pasted line is one argument of the shell, whatever a value holds."""
    row = tryout.Row({"shop": "O'Neill; $(touch /tmp/x)"}, [0.5], 1)
    told = tryout.shown([row], frozenset(), [{"scores": [0.5], "decision": 1}])
    line = told["curl"].replace("curl -s", "printf %s ", 1).rpartition(" -d ")[2]
    said = subprocess.run(["/bin/sh", "-c", f"printf %s {line}"], capture_output=True, check=True)
    assert json.loads(said.stdout) == row.values


def test_without_offline_answers_nothing_was_measured(project: Path, tmp_path: Path) -> None:
    """An ERROR verdict that says what to run; and an old one does not stay."""
    root = tmp_path / "project"
    shutil.copytree(project, root, ignore=shutil.ignore_patterns("build", "predictions.parquet"))
    with pytest.raises(NotMeasured, match="no offline answers"):
        tryout.run(root)
    document = json.loads((root / "reports" / "verdicts" / "serve.json").read_text())
    assert document["verdict"] == "ERROR"
    assert build.HOME.name == "bentoml"
