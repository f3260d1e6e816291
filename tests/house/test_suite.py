"""The forker's tests as checks: what passes, fails, cannot run, or is not there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mainline import suite
from mainline.verdict import Check, Verdict


def run(root: Path, text: str | None = None, **words: object) -> list[Check]:
    """The checks of one file of tests in `root`."""
    folder = root / "tests" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    if text is not None:
        (folder / "test_mine.py").write_text(text, encoding="utf-8")
    return suite.run(root, "tests/data", **words)  # type: ignore[arg-type]


def test_what_passes_is_counted(tmp_path: Path) -> None:
    """One check for all of it, with what was skipped."""
    text = (
        "import pytest\ndef test_a(): pass\ndef test_b(): pass\ndef test_c(): pytest.skip('no')\n"
    )
    [found] = run(tmp_path, text)
    assert (found.name, found.verdict, found.value) == ("tests/data", Verdict.PASS, 2)
    assert found.reason == "2 tests of tests/data passed, 1 skipped"


def test_a_failure_is_told_by_its_sentence_and_its_numbers(tmp_path: Path) -> None:
    """FAIL, by the test's own words; what passed beside it is counted still."""
    text = 'def test_a():\n    """Two is three."""\n    assert 2 == 3\ndef test_b(): pass\n'
    bad, good = run(tmp_path, text)
    assert bad.verdict is Verdict.FAIL
    assert bad.name.endswith("test_mine.py::test_a")
    assert bad.reason == "Two is three: assert 2 == 3"
    assert good.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def test_a(nothing_of_this_name): pass\n", "nothing_of_this_name"),
        ("import no_such_module\n", "no_such_module"),
        ("def test_a(:\n", "SyntaxError"),
    ],
)
def test_what_cannot_run_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    """A missing fixture, a failed import and a syntax error: not measured is not passed."""
    [found] = run(tmp_path, text)
    assert found.verdict is Verdict.ERROR
    assert said in found.reason


def test_an_exit_in_a_test_is_no_pass(tmp_path: Path) -> None:
    """Whoever ends the run early has not passed it, nor ended the pipeline."""
    text = "import pytest, sys\ndef test_a(): pass\ndef test_b(): {}\ndef test_c(): pass\n"
    for way in ("sys.exit(0)", "pytest.exit('enough', 0)", "raise KeyboardInterrupt"):
        found = run(tmp_path, text.format(way))
        assert any(c.verdict in (Verdict.ERROR, Verdict.FAIL) for c in found), way


def test_nothing_tested_is_inconclusive(tmp_path: Path) -> None:
    """No folder, no test, or skipped ones only."""
    [found] = suite.run(tmp_path, "tests/data")
    assert found.verdict is Verdict.INCONCLUSIVE
    for text in ("", "import pytest\ndef test_a(): pytest.skip('not here')\n"):
        [found] = run(tmp_path, text)
        assert found.verdict is Verdict.INCONCLUSIVE


def test_tests_of_the_base_run_against_the_candidate(tmp_path: Path) -> None:
    """They stand elsewhere, are named as the base's, and see the candidate's root and code."""
    base, candidate = tmp_path / "base", tmp_path / "candidate"
    for place, word in ((base, "base"), (candidate, "candidate")):
        (place / "src").mkdir(parents=True)
        (place / "src" / "who_am_i.py").write_text(f"NAME = {word!r}\n")
    run(candidate, "def test_a(): pass\n")
    text = (
        "import os, who_am_i\n"
        "def test_a():\n"
        "    assert who_am_i.NAME == 'candidate'\n"
        f"    assert os.environ['MAINLINE_ROOT'] == {str(candidate)!r}\n"
        "def test_b(): assert False\n"
    )
    (base / "tests" / "data").mkdir(parents=True)
    (base / "tests" / "data" / "test_mine.py").write_text(text)
    bad, good = suite.run(candidate, "tests/data", source=base, kind="base's ")
    assert bad.name.startswith("base's ")
    assert bad.name.endswith("::test_b")
    assert (good.name, good.verdict) == ("base's tests/data", Verdict.PASS)
    sys.modules.pop("who_am_i", None)


def test_one_side_does_not_run_the_others_modules(tmp_path: Path) -> None:
    """Both call theirs `tests.data.test_mine` and share a `conftest`; each gets its own."""
    for name, verdict in (("one", Verdict.PASS), ("two", Verdict.FAIL), ("three", Verdict.PASS)):
        root = tmp_path / name
        (root / "tests").mkdir(parents=True)
        (root / "tests" / "conftest.py").write_text(
            f"import pytest\n@pytest.fixture\ndef fine(): return {verdict is Verdict.PASS}\n"
        )
        found = run(root, "def test_a(fine): assert fine\n")
        assert [c.verdict for c in found] == [verdict], name


def test_settings_of_the_repository_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither pyproject.toml nor the environment deselects a test, and nothing is printed."""
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "-k nothing"\n')
    monkeypatch.setenv("PYTEST_ADDOPTS", "--deselect tests/data")
    path = list(sys.path)
    found = run(tmp_path, "def test_a():\n    print('loud')\n    assert False\n")
    assert [c.verdict for c in found] == [Verdict.FAIL]
    assert os.environ["PYTEST_ADDOPTS"] == "--deselect tests/data"
    assert sys.path == path
    assert capfd.readouterr() == ("", "")
