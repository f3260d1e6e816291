"""This repository as a template: what a fork gets, and that the two cannot drift apart."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from copies import commit_all, git, make_template, render

SAMPLE = {"project_name": "Card fraud", "owner": "acme", "model_name": "card-fraud"}
CHURN = {"project_name": "Customer churn", "owner": "acme"}
NO_SAMPLE = {**CHURN, "keep_sample": False}
# What stands in the live repository and not in a fork of its own answers, and the other way round.
HOUSE_ONLY = (
    "tests/house/",
    "benchmarks/",
    ".ci/",
    "copier.yml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
)
FORK_ONLY = {".copier-answers.yml"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed copy of this repository, tagged as a version of the template."""
    return make_template(tmp_path_factory.mktemp("template"))


def files(folder: Path) -> set[str]:
    """The names of all files below `folder` but Git's."""
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return {p.as_posix() for p in found if p.parts[0] != ".git"}


def test_the_samples_own_answers_give_the_live_files(template: Path, tmp_path: Path) -> None:
    """A fork of the sample is this repository byte for byte, but for its name and README."""
    fork = render(template, tmp_path / "fork", SAMPLE)
    live = {f for f in files(template) if not f.startswith(HOUSE_ONLY) and ".jinja" not in f}
    assert files(fork) - live <= FORK_ONLY | {"README.md"}
    assert live - files(fork) == set()
    differing = {
        f for f in live & files(fork) if (template / f).read_bytes() != (fork / f).read_bytes()
    }
    assert differing <= {"README.md", "pyproject.toml"}
    old, new = ((t / "pyproject.toml").read_text("utf-8").splitlines() for t in (template, fork))
    assert len(old) == len(new)
    changed = [n for o, n in zip(old, new, strict=True) if o != n]
    assert changed == ['name = "card-fraud"', 'description = "Card fraud: a model under Mainline."']


@pytest.mark.parametrize("answers", [CHURN, NO_SAMPLE], ids=["sample", "no sample"])
def test_a_fork_has_its_own_name_and_nothing_of_the_template(
    template: Path, tmp_path: Path, answers: dict[str, Any]
) -> None:
    """Name and model's name are in README and metadata; no recipe, no house tests, no braces."""
    fork = render(template, tmp_path / "fork", answers)
    params = yaml.safe_load((fork / "params.yaml").read_text("utf-8"))
    assert params["model"]["name"] == "customer-churn"
    assert (fork / "README.md").read_text("utf-8").startswith("# Customer churn\n")
    assert 'name = "customer-churn"' in (fork / "pyproject.toml").read_text("utf-8")
    assert not [f for f in files(fork) if f.startswith(HOUSE_ONLY) or ".jinja" in f or "{" in f]
    own = ("README.md", "params.yaml", "schema.yaml", "pyproject.toml", ".dvc/config")
    assert not [f for f in own if re.search(r"{[{%]", (fork / f).read_text("utf-8"))]
    known = yaml.safe_load((fork / ".copier-answers.yml").read_text("utf-8"))
    assert known["_commit"] == "v0.1.0"
    assert known["owner"] == "acme"
    assert os.access(fork / "mainline", os.X_OK)


def test_settings_of_a_fork_without_the_sample_are_read(template: Path, tmp_path: Path) -> None:
    """The starter files are valid and agree; nothing of the sample is left."""
    from mainline import settings
    from mainline.data import schema

    fork = render(template, tmp_path / "fork", NO_SAMPLE)
    schema.check_agreement(settings.load(fork), schema.load(fork))
    assert not [f for f in files(fork) if f.startswith(("src/sample", "demo-store", "data.dvc"))]
    assert "demo" not in (fork / ".dvc" / "config").read_text("utf-8")
    text = (fork / "params.yaml").read_text("utf-8") + (fork / "schema.yaml").read_text("utf-8")
    assert "fraud" not in text


def test_a_forks_workflows_are_the_houses(template: Path, tmp_path: Path) -> None:
    """GitHub's own double braces come through a rendering untouched."""
    fork = render(template, tmp_path / "fork", CHURN)
    for path in (template / ".github").rglob("*.yml"):
        assert (fork / path.relative_to(template)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("question", "answer"),
    [("model_name", "card_fraud"), ("model_name", "9lives"), ("model_name", "A"),
     ("owner", "a/b"), ("project_name", 'x"y'), ("project_name", " ")],
)  # fmt: skip
def test_a_bad_answer_is_refused(
    template: Path, tmp_path: Path, question: str, answer: str
) -> None:
    """A name that could be no tag, no account or would break a file is refused at the question."""
    with pytest.raises(ValueError, match=question):
        render(template, tmp_path / "fork", {**SAMPLE, question: answer})
    assert not (tmp_path / "fork" / "params.yaml").exists()


def test_an_update_keeps_what_is_the_forkers(template: Path, tmp_path: Path) -> None:
    """`copier update` renews the house and leaves settings, data and project as they are."""
    from copier import run_update

    later = tmp_path / "later"
    git(tmp_path, "clone", "--quiet", str(template), str(later))
    fork = render(later, tmp_path / "fork", CHURN)
    git(fork, "init", "--quiet")
    for name, line in (("params.yaml", "# mine\n"), ("src/project/features.py", "# mine\n")):
        (fork / name).write_text((fork / name).read_text("utf-8") + line, "utf-8")
    (fork / "src" / "project" / "more.py").write_text('"""Mine."""\n', "utf-8")
    git(fork, "add", "--all")
    git(fork, "commit", "--quiet", "--message", "Fork")
    for name in ("src/mainline/errors.py", "params.yaml", "src/project/features.py"):
        (later / name).write_text((later / name).read_text("utf-8") + "# theirs\n", "utf-8")
    git(later, "commit", "--quiet", "--all", "--message", "Next")
    git(later, "tag", "--annotate", "--message", "Next", "v0.2.0")
    run_update(fork, defaults=True, overwrite=True, quiet=True)
    assert (fork / "src/mainline/errors.py").read_text("utf-8").endswith("# theirs\n")
    for name in ("params.yaml", "src/project/features.py"):
        text = (fork / name).read_text("utf-8")
        assert text.endswith("# mine\n")
        assert "theirs" not in text
    assert (fork / "src" / "project" / "more.py").is_file()
    assert git(fork, "diff", "--name-only", "--diff-filter=U") == ""


def start(fork: Path, words: list[str]) -> None:
    """Run a command of the fork, which is to end well, in the environment of these tests."""
    env = {k: v for k, v in os.environ.items() if k not in ("MAINLINE_ROOT", "PYTHONPATH")}
    env["MAINLINE_VENV"] = sys.prefix
    done = subprocess.run([sys.executable, str(fork / "mainline"), *words], cwd=fork, env=env,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.slow
def test_a_fork_passes_its_own_tests_and_pipeline(template: Path, tmp_path: Path) -> None:
    """Rendered and committed, with nothing but Python: pipeline, comparison and tests are green."""
    fork = render(template, tmp_path / "fork", CHURN)
    commit_all(fork)
    for words in (["data", "pull"], ["pipeline"], ["compare"], ["report"], ["gate"], ["test"]):
        start(fork, words)
    assert "customer-churn" in (fork / "models" / "model.json").read_text("utf-8")
    assert "customer-churn" in (fork / "reports" / "report.md").read_text("utf-8")


@pytest.mark.slow
def test_a_fork_without_the_sample_takes_a_table(template: Path, tmp_path: Path) -> None:
    """The starter files are worth starting from: a table that fits them goes all the way."""
    fork = render(template, tmp_path / "fork", NO_SAMPLE)
    commit_all(fork)
    chance = random.Random(1)
    lines = ["row_id,a_number,a_category,target"]
    for row in range(2000):
        number, category = chance.uniform(0, 10), chance.choice(["one", "two"])
        likely = 0.9 if (number > 7) == (category == "one") else 0.1
        lines.append(f"r{row},{number:.3f},{category},{int(chance.random() < likely)}")
    (tmp_path / "mine.csv").write_text("\n".join(lines), "utf-8")
    for words in (["data", "add", str(tmp_path / "mine.csv")], ["pipeline"], ["compare"], ["gate"]):
        start(fork, words)
