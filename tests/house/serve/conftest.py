"""A small project with a trained model, and the Bento built from it, once for all tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

HOUSE = Path(__file__).parents[3]
ROWS = 1500

SCHEMA = """
version: 1
row_id: id
entity: customer
time: time
target: bad
known_at: known
columns:
  - {name: id, type: text, role: id, max_missing: 0}
  - {name: customer, type: integer, role: entity, max_missing: 0}
  - {name: time, type: datetime, role: time, max_missing: 0}
  - {name: email, type: text, role: pii, max_missing: 0}
  - {name: amount, type: number, role: feature, max_missing: 0, hard: {min: 0}}
  - {name: hour, type: integer, role: feature, max_missing: 0, hard: {min: 0, max: 23}}
  - {name: risk, type: number, role: feature, max_missing: 0.5}
  - {name: channel, type: category, role: feature, max_missing: 0, categories: [pos, web]}
  - {name: country, type: category, role: feature, max_missing: 0.5, allow_new: true,
     categories: [FR, DE]}
  - {name: foreign, type: bool, role: feature, max_missing: 0}
  - {name: bad, type: integer, role: target}
  - {name: known, type: datetime, role: drop, available: later}
"""

PARAMS = """
model: {name: little, task: binary, target: bad, positive: 1}
split: {kind: entity, key: customer, salt: s, tune: 0.2, test: 0.2}
features: {build: "own.features:build"}
train:
  estimator: "own.model:build"
  args: {max_iter: 10}
  seed: 0
evaluate: {metrics: [roc_auc], threshold: {rule: max_fpr, value: 0.1}}
gate: {metric: roc_auc, delta: 0.05}
serve: {max_rows: 50, max_body_bytes: 20000, timeout_seconds: 3}
monitor: {maturity_days: 0}
"""

FEATURES = '''
"""Features that misbehave in production only when asked to."""
import os
import time

def build(frame):
    if os.environ.get("MAINLINE_SERVING") == "1" and os.environ.get("OWN_BUG") == "raise":
        if (frame["amount"] == 666).any():
            raise ValueError("secret detail")
    if os.environ.get("OWN_BUG") == "hang" and (frame["amount"] == 777).any():
        time.sleep(600)
    if os.environ.get("OWN_BUG") == "slow":
        time.sleep(0.3)
    made = frame.copy()
    made["ratio"] = frame["amount"] / (1.0 + frame["hour"])
    return made
'''

MODEL = """
from sklearn.ensemble import HistGradientBoostingClassifier

def build(seed, **args):
    return HistGradientBoostingClassifier(
        categorical_features="from_dtype", random_state=seed, **args
    )
"""


def table(n: int = ROWS) -> pd.DataFrame:
    """Made-up rows with missing values and categories that the schema does not list."""
    rng = np.random.default_rng(7)
    amount = rng.gamma(2.0, 30.0, n)
    risk = rng.uniform(size=n)
    return pd.DataFrame(
        {
            "id": [f"r{i:05d}" for i in range(n)],
            "customer": rng.integers(0, 300, n),
            "time": pd.Timestamp("2024-03-01") + pd.to_timedelta(np.arange(n) * 7, unit="min"),
            "email": "a@b.example",
            "amount": amount,
            "hour": rng.integers(0, 24, n),
            "risk": np.where(rng.uniform(size=n) < 0.2, np.nan, risk),
            "channel": rng.choice(["pos", "web"], n),
            "country": rng.choice(["FR", "DE", "IT", None], n),
            "foreign": rng.uniform(size=n) < 0.3,
            "bad": (amount / 100 + risk + rng.normal(0, 0.3, n) > 1.4).astype(int),
            "known": pd.Timestamp("2024-04-01"),
        }
    )


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a project with a trained `models/`."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(
        HOUSE / "src" / "mainline", root / "src" / "mainline",
        ignore=shutil.ignore_patterns("__pycache__"),
    )  # fmt: skip
    own = root / "src" / "own"
    own.mkdir()
    (own / "__init__.py").write_text("")
    (own / "features.py").write_text(FEATURES)
    (own / "model.py").write_text(MODEL)
    (root / "params.yaml").write_text(PARAMS)
    (root / "schema.yaml").write_text(SCHEMA)
    for name in ("bentofile.yaml", "requirements.txt", "requirements-serve.txt"):
        shutil.copy(HOUSE / name, root)
    (root / "data" / "rows").mkdir(parents=True)
    table().to_parquet(root / "data" / "rows" / "2024-03.parquet", index=False)
    done = subprocess.run(
        [sys.executable, "-c", "from pathlib import Path; from mainline.train.train import run; "
         "run(Path('.'))"],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="session")
def bento(project: Path) -> Path:
    """The Bento of the project, built as version v1.0.0."""
    from mainline.serve.build import build

    return Path(build(project, "v1.0.0")["path"])


@dataclass
class Running:
    """A service that runs: its address and its process."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def output(self) -> str:
        """What it wrote to its terminal."""
        return (self.folder / "output.txt").read_text()

    def wait_ready(self) -> None:
        """Wait until /readyz says 200."""
        wait_ready(self)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def start(root: Path, bento: Path, folder: Path, **more: str) -> Running:
    """Serve `bento` as `./mainline serve` does, without waiting for it."""
    from mainline.serve.build import command

    port = free_port()
    arguments, environment = command(root, bento, port=port, log=str(folder / "log"))
    with (folder / "output.txt").open("wb") as stream:
        process = subprocess.Popen(
            arguments, env={**environment, **more}, stdout=stream, stderr=subprocess.STDOUT
        )
    return Running(f"http://127.0.0.1:{port}", process, folder)


def wait_ready(service: Running, seconds: float = 60) -> None:
    """Wait until /readyz says 200; the service's own words when it does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and service.process.poll() is None:
        try:
            with urllib.request.urlopen(service.url + "/readyz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(service.output)


def stop(service: Running) -> int:
    """End the service as a supervisor does; its status."""
    service.process.send_signal(signal.SIGTERM)
    try:
        return service.process.wait(30)
    finally:
        service.process.kill()


@pytest.fixture(scope="session")
def launch(
    project: Path, bento: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractContextManager[Running]]:
    """Serves the Bento until the block ends; more environment as keywords.

    `meanwhile` is called with the service before it is ready.
    """

    @contextmanager
    def until_the_end(
        meanwhile: Callable[[Running], object] | None = None, **more: str
    ) -> Iterator[Running]:
        running = start(project, bento, tmp_path_factory.mktemp("service"), **more)
        try:
            if meanwhile:
                meanwhile(running)
            wait_ready(running)
            yield running
        finally:
            stop(running)

    return until_the_end


@pytest.fixture(scope="session")
def service(launch: Callable[..., AbstractContextManager[Running]]) -> Iterator[Running]:
    """The Bento, served on a free port."""
    with launch() as running:
        yield running


@pytest.fixture(scope="session")
def in_project(project: Path) -> Callable[[str], str]:
    """Runs Python code in the project, in a process of its own; gives its output."""

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(project / "src"), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
