"""The image of a Bento keeps our rules, and each rule is one that can be broken."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from mainline import install
from mainline.errors import DataError
from mainline.serve import build, image

HOUSE = Path(__file__).parents[3]
# What serving pulls in and a service has no use for; each was in a serving lock at some time.
UNUSED = {"pyarrow", "evidently", "dvc", "gto", "shap", "matplotlib", "optuna", "pandera", "cml"}


@pytest.fixture(scope="session")
def original(bento: Path) -> str:
    """The Dockerfile of the built Bento."""
    return (bento / image.FILE).read_text()


def test_the_image_of_a_built_bento_keeps_every_rule(bento: Path, original: str) -> None:
    """Two stages, a pinned base, no root, a health check, the digest as a label."""
    assert image.faults(bento) == []
    packages, last = image.parse(original)
    assert re.fullmatch(r".*/python:3\.\d+\.\d+-slim-bookworm", packages.base)
    assert last.base == packages.base
    assert last.all("USER") == ["1034:1034"]
    assert "v1.0.0" in last.all("LABEL")[0]
    assert re.search(r'mainline\.model\.digest="sha256:[0-9a-f]{64}"', last.all("LABEL")[0])
    assert last.all("ENTRYPOINT")[0].startswith('["python", "-m", "mainline.serve.arbiter"')


Break = Callable[[str], str]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (lambda t: t.replace("-slim-bookworm", "").replace(":3.11.", ":3."), "not pinned"),
        (lambda t: re.sub(r"python:3\S+", "python:latest", t), "not pinned"),
        (lambda t: re.sub(r"USER .*", "USER root", t), "root"),
        (lambda t: re.sub(r"USER .*", "", t), "root"),
        (lambda t: re.sub(r"USER .*", "USER 0:0", t), "root"),
        (lambda t: re.sub(r"HEALTHCHECK .*\\\n.*\n", "", t), "health"),
        (
            lambda t: t.replace("RUN python -m venv", "RUN apt-get install -y gcc\nRUN python"),
            "gcc",
        ),
        (lambda t: t.replace("RUN python -m venv", "RUN apt-get install python3-dev #"), "-dev"),
        (lambda t: t.replace("--require-hashes", ""), "no hash"),
        (lambda t: t.replace("--only-binary :all:", ""), "no hash"),
        (lambda t: t.replace("COPY src", "COPY nowhere"), "nowhere"),
        (lambda t: t.replace("COPY src", "COPY ../../.."), "not in the Bento"),
        (lambda t: t.replace("COPY src", "ADD src"), "ADD"),
        (lambda t: t.replace("EXPOSE", "ENV API_KEY=abc\nEXPOSE"), "API_KEY"),
        (lambda t: t.replace("mainline.model.digest=", "other="), "mainline.model.digest"),
        (lambda t: re.sub(r"ENTRYPOINT .*", "ENTRYPOINT python -m x", t), "shell"),
        (lambda t: "", "no FROM"),
    ],
)
def test_a_broken_rule_is_found(
    bento: Path, original: str, tmp_path: Path, broken: Break, says: str
) -> None:
    """Each rule finds the one thing that it is for, and the command ends with status 20."""
    changed = tmp_path / "bento"
    shutil.copytree(bento, changed)
    (changed / image.FILE).write_text(broken(original))
    assert any(says in fault for fault in image.faults(changed)), image.faults(changed)
    with pytest.raises(DataError, match="breaks a rule"):
        image.run(changed)


def test_without_a_docker_the_context_is_checked_and_that_is_said(
    bento: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is claimed to be built."""
    monkeypatch.setenv("PATH", "")
    done = image.run(bento)
    assert done["image"] is None
    assert "No Docker or Podman answers here" in done["text"]


def test_a_docker_builds_from_our_file(
    bento: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tool is asked for the Bento's own Dockerfile and tag, by an argument list."""
    tool = tmp_path / "docker"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert image.run(bento)["image"] == "little:v1.0.0"
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "info"
    assert asked[1] == f"build --file {bento / image.FILE} --tag little:v1.0.0 {bento}"


CONTAINERIZE = """
import bentoml, os, sys
from bentoml._internal.container import construct_containerfile
with construct_containerfile(bentoml.get(sys.argv[1]), enable_buildkit=True) as (context, file):
    print(open(os.path.join(context, file)).read())
"""


def test_bentoml_containerize_uses_the_same_file(project: Path, bento: Path, original: str) -> None:
    """It writes the Dockerfile anew, from our template in the Bento, with the same labels."""
    home = bento.parents[2]
    done = subprocess.run(
        [sys.executable, "-c", CONTAINERIZE, "little:v1.0.0"], cwd="/", capture_output=True,
        text=True, check=False, env=build.environment(bento / "src", home),
    )  # fmt: skip
    assert done.stdout.strip() == original.strip(), done.stderr


def test_the_serving_lock_has_nothing_that_serving_does_not_need() -> None:
    """No tool of training, tracking or reporting is installed where the model answers."""
    lock = (HOUSE / "requirements-serve.txt").read_text()
    names = set(re.findall(r"^([A-Za-z0-9_.-]+)==", lock, re.MULTILINE))
    assert len(names) > 30
    assert not names & UNUSED
    assert {"bentoml", "treelite", "uvloop", "httptools"} <= names


@pytest.mark.slow
def test_the_service_starts_from_the_serving_lock_alone(
    project: Path, bento: Path, original: str, tmp_path: Path
) -> None:
    """In an environment made as the image makes it the service is ready, under 300 MB."""
    uv = install.find_uv(HOUSE)
    if uv is None:
        pytest.skip("uv is not here")
    venv = tmp_path / "venv"
    python = str(venv / "bin" / "python")
    lock = bento / "env" / "python" / "requirements.txt"
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(venv)],
        [uv, "pip", "install", "--quiet", "--python", python, "--require-hashes",
         "--only-binary", ":all:", "-r", str(lock)],
    ):  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    (prune,) = re.findall(r"^RUN find /app/venv (.*)$", original, re.MULTILINE)
    subprocess.run(["/bin/sh", "-c", f"find {venv} {prune}"], check=True)
    size = subprocess.run(
        ["du", "-sm", "--exclude=__pycache__", str(venv)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(size.stdout.split()[0]) < 300
    serve_and_ask(python, project, bento)


def serve_and_ask(python: str, project: Path, bento: Path) -> None:
    """Serve the Bento with another Python and ask whether it is ready."""
    from mainline.serve.build import command

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments, environment = command(project, bento, port=port)
    process = subprocess.Popen([python, *arguments[1:]], env=environment)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                address = f"http://127.0.0.1:{port}/readyz"
                with urllib.request.urlopen(address, timeout=30) as answer:
                    assert answer.status == 200
                    return
            except (urllib.error.URLError, OSError):
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.2)
    finally:
        process.terminate()
        process.wait(30)
