"""A real table, edited in by hand: all steps from the pipeline to an answering service."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import real
from small import commit, edit, git, run, variables

pytestmark = pytest.mark.slow

FEATURES = '''"""The features of a passenger."""

import pandas as pd


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the size of the family."""
    return frame.assign(family=frame["sibsp"] + frame["parch"] + 1)
'''
PASSENGER = {
    "pclass": 1, "sex": "female", "age": None, "sibsp": 0, "parch": 0, "fare": 80.5,
    "embarked": "C", "who": "woman", "adult_male": False, "deck": None, "alone": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def titanic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose settings, contract, data and features are the Titanic's."""
    folder = tmp_path_factory.mktemp("real") / "titanic"
    project = {"features.py": FEATURES}
    return real.repository(
        folder, real.table("titanic.csv"), real.TITANIC_PARAMS, real.TITANIC, project
    )


def mainline(root: Path, *words: str, status: int = 0) -> str:
    """Run a command that must end with `status`; returns what it printed."""
    ran = run(root, *words)
    assert ran.status == status, f"{words}: {ran.out}{ran.err}"
    return ran.out


def answer(url: str, document: Any = None) -> Any:
    """The JSON or text that the service answers."""
    data = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answered:
        return json.load(answered)


def test_titanic_from_the_table_to_the_service(titanic: Path) -> None:
    """Two versions, compared on the same rows, registered, built, and served over HTTP."""
    mainline(titanic, "pipeline")
    assert "linear baseline" in mainline(titanic, "compare")
    mainline(titanic, "report")
    mainline(titanic, "register")
    commit(titanic, "The lock")
    edit(titanic, "params.yaml", "max_iter: 60", "max_iter: 80")
    edit(titanic, "src/project/features.py", " + 1)", " + 1, fare_each=frame['fare'] / 2)")
    commit(titanic, "More trees, and the fare")
    mainline(titanic, "pipeline")
    mainline(titanic, "compare")
    found = json.loads((titanic / "reports" / "comparison.json").read_text("utf-8"))
    assert found["base"]["version"] == "v1.0.0"
    assert found["metrics"][0]["n"] == found["rows"]["n"] > 200
    mainline(titanic, "report")
    assert "roc_auc" in (titanic / "reports" / "report.md").read_text("utf-8")
    mainline(titanic, "register")
    assert git(titanic, "tag").split() == ["titanic@v1.0.0", "titanic@v1.1.0"]
    # What came with the table says nothing of it where it was not edited.
    changed = git(titanic, "diff", "--name-only", "HEAD~2", "HEAD").split()
    assert set(changed) <= {"params.yaml", "src/project/features.py", "dvc.lock"}
    mainline(titanic, "build")
    _serves(titanic)


def _serves(root: Path) -> None:
    """`mainline serve` answers one passenger with a score, and a wrong row with a reason."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "mainline", "serve", "--port", str(port)], cwd=root,
        env=variables(root), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        _wait(process, url + "/readyz")
        found = answer(url + "/predict", {"rows": [PASSENGER, {**PASSENGER, "sex": "male"}]})
        woman, man = found["predictions"]
        assert 0 <= man["scores"][0] < woman["scores"][0] <= 1
        assert (found["model"], woman["decision"]) == ("titanic", 1)
        assert answer(url + "/version")["digest"] == found["digest"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            answer(url + "/predict", {"rows": [{**PASSENGER, "age": "old"}]})
        assert 400 <= refused.value.code < 500
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    for _ in range(600):
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError("the service was not ready after two minutes")
