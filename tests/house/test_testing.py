"""`mainline test`: what it runs where, and what it makes of it."""

from __future__ import annotations

import sys

import pytest

from mainline import testing

CONFIG = (
    '[tool.pytest.ini_options]\nmarkers = ["slow: slow"]\naddopts = ["-p", "no:cacheprovider"]\n'
)
PASSES = (
    "import pytest\n\ndef test_it():\n    pass\n\n@pytest.mark.slow\ndef test_slow():\n    pass\n"
)


@pytest.fixture
def fork(tmp_path):
    """A fork: the forker's tests, and none of the house's."""
    (tmp_path / "pyproject.toml").write_text(CONFIG)
    for place in ("data", "model", "other"):
        (tmp_path / "tests" / place).mkdir(parents=True)
        (tmp_path / "tests" / place / f"test_{place}.py").write_text(PASSES)
    return tmp_path


def test_fork_runs_its_own_tests_only(fork, capfd):
    """In a fork the forker's tests run, without linters, and pytest's closing line is the last."""
    assert testing.run(fork) == 0
    out = capfd.readouterr().out
    assert "2 passed, 2 deselected" in out.splitlines()[-1]
    assert "ruff" not in out


def test_slow_tests_run_when_asked(fork, capfd):
    """`--slow` leaves nothing out."""
    assert testing.run(fork, slow=True) == 0
    assert "4 passed" in capfd.readouterr().out.splitlines()[-1]


def test_more_words_go_to_pytest(fork, capfd):
    """A named path replaces the usual ones, and options are passed on."""
    assert testing.run(fork, args=["tests/other", "-k", "test_it"]) == 0
    assert "1 passed" in capfd.readouterr().out.splitlines()[-1]


def test_failing_test_fails(fork, capfd):
    """A failing test is status 10."""
    (fork / "tests/model/test_model.py").write_text("def test_it():\n    assert False\n")
    assert testing.run(fork) == testing.FAILED == 10
    assert "1 failed" in capfd.readouterr().out.splitlines()[-1]


def test_no_test_at_all_fails(fork):
    """Nothing that ran is nothing that passed."""
    assert testing.run(fork, args=["-k", "nothing_is_called_so"]) == 10


def test_failing_checker_fails_though_tests_pass(fork, monkeypatch, capfd):
    """A checker that finds something fails the run of the house; its line precedes pytest's."""
    (fork / "tests" / "house").mkdir()
    monkeypatch.setattr(testing, "CHECKS", (("one", ("no_such_module",)), ("two", ("platform",))))
    assert testing.run(fork) == 10
    lines = capfd.readouterr().out.splitlines()
    assert lines.index("one: FAILED") < lines.index("two: passed") < len(lines) - 1
    assert "3 passed" in lines[-1]


WORKFLOW = """\
name: own
on: pull_request
permissions: {}
jobs:
  own:
    runs-on: ubuntu-latest
    steps:
      - run: echo "$TITLE"
        env:
          TITLE: ${{ github.event.pull_request.title }}
"""


def test_a_fork_has_its_workflows_checked(fork, capfd):
    """Offline: a value pasted into a shell fails the run; the same through `env` passes."""
    (fork / ".github" / "workflows").mkdir(parents=True)
    file = fork / ".github" / "workflows" / "own.yml"
    file.write_text(WORKFLOW)
    assert testing.run(fork) == 0
    file.write_text(WORKFLOW.replace('"$TITLE"', '"${{ github.event.pull_request.title }}"'))
    assert testing.run(fork) == 10
    lines = capfd.readouterr().out.splitlines()
    assert lines.index("workflows: passed") < lines.index("workflows: FAILED")


def test_workflows_that_nothing_checked_do_not_pass(fork, monkeypatch, capfd):
    """Without the checker the run fails and says so."""
    (fork / ".github").mkdir()
    monkeypatch.setattr(testing, "WORKFLOWS", ("no-such-program",))
    assert testing.run(fork) == 10
    assert "zizmor is not installed" in capfd.readouterr().out


def test_what_git_tells_hooks_is_kept_from_tests(fork, monkeypatch):
    """Run from a Git hook, the tests' own repositories are not mistaken for this one."""
    monkeypatch.setenv("GIT_DIR", "/somewhere/.git")
    (fork / "tests/data/test_data.py").write_text(
        "import os\n\ndef test_it():\n    assert 'GIT_DIR' not in os.environ\n"
    )
    assert testing.run(fork) == 0


def test_tests_run_in_this_python(fork):
    """The tests run in the environment of the caller."""
    (fork / "tests/data/test_data.py").write_text(
        f"import sys\n\ndef test_it():\n    assert sys.executable == {sys.executable!r}\n"
    )
    assert testing.run(fork) == 0
