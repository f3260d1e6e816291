"""The Bento, built and served for real: what was built is what runs and what answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import pytest

from mainline.errors import DataError, UsageError
from mainline.files import digest_tree
from mainline.register import statement
from mainline.register.trust import NotTrusted
from mainline.registry import Version
from mainline.serve import build as building
from mainline.serve.reading import read_log


class Running(Protocol):
    """A service that runs."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path
    output: str

    def wait_ready(self) -> None:
        """Wait until /readyz says 200."""


Launch = Callable[..., AbstractContextManager[Running]]
OFFLINE = """
from pathlib import Path
from mainline.serve.batch import predict_file
predict_file(Path("."), Path("data/rows/2024-03.parquet"), Path({out!r}))
"""
FEATURES = ["amount", "hour", "risk", "channel", "country", "foreign"]


def post(service: Running, document: Any, **headers: str) -> tuple[int, Any]:
    """Status and document of one POST /predict."""
    request = urllib.request.Request(
        service.url + "/predict", json.dumps(document, default=float).encode(),
        {"content-type": "application/json", **headers},
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def get(service: Running, path: str) -> tuple[int, str]:
    """Status and text of one GET."""
    with urllib.request.urlopen(service.url + path, timeout=30) as answer:
        return answer.status, answer.read().decode()


def rows(project: Path, n: int) -> list[dict[str, Any]]:
    """The first `n` rows of the table as a client sends them."""
    frame = pd.read_parquet(project / "data" / "rows" / "2024-03.parquet").head(n)
    plain = frame[[*FEATURES, "id"]].astype(object)
    return plain.where(plain.notna(), None).to_dict("records")


def test_a_bento_carries_its_model_code_and_record(project: Path, bento: Path) -> None:
    """Model, house, own code and settings are inside, and the digest of what was trained."""
    source = bento / "src"
    record = json.loads((source / "mainline.json").read_text())
    assert record["digest"] == digest_tree(project / "models") == digest_tree(source / "models")
    assert (record["name"], record["version"]) == ("little", "v1.0.0")
    assert (source / "own" / "features.py").is_file()
    assert (source / "mainline" / "serve" / "app.py").is_file()
    assert not (source / "data").exists()
    lock = (bento / "env" / "python" / "requirements.txt").read_text()
    assert "--hash=sha256:" in lock


def test_the_bento_of_a_version_carries_what_its_tag_says(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statement, SBOM and signature are in it; a version that is refused is not built at all."""
    digest = digest_tree(project / "models")
    said = {"Model-Digest": digest, "Signed-By": "key sha256:abc"}
    version = Version("little", (2, 0, 0), "c" * 40, said, signature=b"-----BEGIN\n")
    monkeypatch.setattr(building.registry, "versions", lambda *_: [version])
    monkeypatch.setattr(building.registry, "find", lambda *_: version)
    asked: list[Path] = []
    monkeypatch.setattr(building.verify, "require", lambda *a: asked.append(a[2]))
    source = Path(building.build(project, "v2.0.0", out=tmp_path)["path"]) / "src"
    assert asked == [project / "models"]
    record = json.loads((source / "mainline.json").read_text())
    assert (record["commit"], record["signed_by"]) == ("c" * 40, "key sha256:abc")
    assert (source / "release.json").read_bytes() == statement.content(statement.of(version))
    assert json.loads((source / "sbom.cdx.json").read_bytes())["bomFormat"] == "CycloneDX"
    assert (source / "release.sig").read_bytes() == version.signature

    def refuse(*_: Any) -> None:
        raise NotTrusted("refused", "do not use it")

    monkeypatch.setattr(building.verify, "require", refuse)
    with pytest.raises(NotTrusted):
        building.build(project, "v2.0.0", out=tmp_path / "other")
    assert not list(tmp_path.glob("other/**/bento.yaml"))


def test_a_model_that_is_half_there_is_not_built(project: Path, tmp_path: Path) -> None:
    """A changed byte in the model is found before anything is built; so is no model at all."""
    models = tmp_path / "models"
    shutil.copytree(project / "models", models)
    with (models / "model.skops").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(DataError, match="another model"):
        building.model_digest(models)
    (models / "model.json").unlink()
    with pytest.raises(DataError, match="no whole model"):
        building.model_digest(models)


def test_a_bento_with_another_model_is_refused(project: Path, bento: Path, tmp_path: Path) -> None:
    """`serve` does not start it; the service and BentoML, started by hand, end with a sentence."""
    swapped = tmp_path / "swapped"
    shutil.copytree(bento, swapped)
    model = swapped / "src" / "models" / "model.json"
    model.write_text(model.read_text() + "\n")
    with pytest.raises(DataError, match="it was built with"):
        building.command(project, swapped)
    arguments, environment = building.command(project, bento, port=0)
    environment["PYTHONPATH"] = str(swapped / "src")
    bentoml = [sys.executable, "-m", "bentoml", "serve", str(swapped), "--port", "0"]
    for by_hand, status in ((arguments, DataError.status), (bentoml, None)):
        done = subprocess.run(
            by_hand, env=environment, capture_output=True, text=True, timeout=90, check=False
        )
        assert "it was built with" in done.stdout + done.stderr
        assert status in (None, done.returncode)


def test_an_unknown_bento_is_one_clear_error(project: Path, bento: Path) -> None:
    """A tag, a path and nothing at all find a Bento; anything else says how to build one."""
    assert building.find(project, "little:v1.0.0") == bento.resolve()
    assert building.find(project, bento) == bento.resolve()
    assert building.find(project) == bento.resolve()
    for unknown in ("little:v9.9.9", "", "/nowhere"):
        with pytest.raises(UsageError, match="mainline build"):
            building.find(project, unknown)


def test_the_paths_are_ours_and_not_bentomls(service: Running) -> None:
    """Ready, who it is, our metrics, and no page of BentoML's own."""
    assert get(service, "/readyz") == (200, '{"status": "ready"}')
    assert get(service, "/healthz") == (200, '{"status": "ok"}')
    assert json.loads(get(service, "/version")[1])["version"] == "v1.0.0"
    assert "mainline_model_info" in get(service, "/metrics")[1]
    for path in ("/", "/docs.json", "/livez"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(service, path)


def test_the_served_answer_is_the_offline_answer(
    project: Path, service: Running, in_project: Callable[[str], str], tmp_path: Path
) -> None:
    """200 rows, alone and together, have the scores of `mainline predict` to the last bit."""
    out = tmp_path / "out.parquet"
    in_project(OFFLINE.format(out=str(out)))
    offline = pd.read_parquet(out).head(200)
    wanted = offline["score_0"].tolist()
    sent = rows(project, 200)
    alone = [post(service, row)[1]["predictions"][0] for row in sent]
    assert [p["scores"][0] for p in alone] == wanted
    assert [p["decision"] for p in alone] == offline["decision"].tolist()
    together = [
        p
        for i in range(0, 200, 50)
        for p in post(service, {"rows": sent[i : i + 50]})[1]["predictions"]
    ]
    assert [p["scores"][0] for p in together] == wanted


def test_limits_come_from_the_settings(project: Path, service: Running) -> None:
    """params.yaml allows 50 rows and 20,000 bytes here."""
    assert post(service, {"rows": rows(project, 51)})[0] == 413
    assert post(service, {"rows": [{"amount": "x" * 30_000}]})[0] == 413
    status, document = post(service, {"rows": [{**rows(project, 1)[0], "hour": 24}]})
    assert (status, document["errors"][0]["field"]) == (422, "hour")


@pytest.mark.slow
def test_predictions_reach_the_log_and_a_killed_worker_comes_back(
    project: Path, launch: Launch
) -> None:
    """kill -9 of the worker costs at most what was not yet written; SIGTERM writes to the end."""
    with launch() as service:
        status, _ = post(service, rows(project, 1)[0], **{"x-mainline-arm": "canary"})
        assert status == 200
        time.sleep(0.5)
        for pid in workers(service.process.pid):
            os.kill(pid, signal.SIGKILL)
        service.wait_ready()
        assert post(service, rows(project, 2)[1])[0] == 200
    assert service.process.returncode == 0
    frame = read_log(service.folder / "log")
    assert frame["row"].tolist() == ["r00000", "r00001"]
    assert frame["arm"].tolist() == ["canary", "stable"]


@pytest.mark.slow
def test_where_nothing_can_be_forked_bentoml_serves_the_same(
    project: Path, bento: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere than on Linux `bentoml serve` answers by the same code, and ends in order."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(building.sys, "platform", "darwin")
        arguments, environ = building.command(
            project, bento, port=port, log=str(tmp_path / "log")
        )  # fmt: skip
    assert arguments[1:4] == ["-m", "bentoml", "serve"]
    with (tmp_path / "output.txt").open("wb") as stream:
        process = subprocess.Popen(arguments, env=environ, stdout=stream, stderr=stream)
    running = Served(f"http://127.0.0.1:{port}", process, tmp_path)
    try:
        running.wait_ready()
        assert post(running, rows(project, 1)[0])[0] == 200
        assert json.loads(get(running, "/version")[1])["version"] == "v1.0.0"
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert len(read_log(tmp_path / "log")) == 1


@dataclass
class Served:
    """A service that a test started by itself."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def output(self) -> str:
        """What it wrote to its terminal."""
        return (self.folder / "output.txt").read_text()

    def wait_ready(self) -> None:
        """Wait until /readyz says 200."""
        end = time.monotonic() + 90
        while True:
            try:
                assert get(self, "/readyz")[0] == 200
                return
            except OSError:
                assert self.process.poll() is None, self.output
                assert time.monotonic() < end, self.output
                time.sleep(0.2)


def test_a_fault_that_shows_only_in_production_shows(project: Path, launch: Launch) -> None:
    """The forker's code can tell that it serves; its error is a 500 that names nothing."""
    with launch(OWN_BUG="raise") as service:
        good = rows(project, 1)[0]
        assert post(service, good)[0] == 200
        status, document = post(service, {**good, "amount": 666})
        assert status == 500
        assert "secret" not in json.dumps(document)
        assert "secret detail" in service.output


def test_a_killed_service_leaves_no_worker_on_its_port(project: Path, launch: Launch) -> None:
    """kill -9 of the arbiter ends its worker too, log written: a restart finds the port free."""
    with launch() as service:
        assert post(service, rows(project, 1)[0])[0] == 200
        (worker,) = workers(service.process.pid)
        service.process.kill()
        end = time.monotonic() + 20
        while time.monotonic() < end and alive(worker):
            time.sleep(0.1)
        assert not alive(worker)
    assert len(read_log(service.folder / "log")) == 1


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def workers(pid: int) -> list[int]:
    """The processes that answer for the arbiter `pid`."""
    import psutil

    return [w.pid for loader in psutil.Process(pid).children() for w in loader.children()]
