"""The forker's tests of data and model, run by the pipeline, and what they found as checks.

They run in this process (pandas and the model's libraries are loaded already), with a
configuration of our own: neither pyproject.toml nor an installed plugin changes what is run.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from mainline.variables import lent
from mainline.verdict import Check, Verdict

LONGEST = 300
NOTHING = 5  # pytest's exit status when no test was collected


@dataclass(eq=False)
class Collector:
    """A plugin of pytest that keeps the outcome of each test."""

    passed: int = 0
    skipped: list[str] = field(default_factory=list)
    bad: dict[str, tuple[Verdict, str]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def pytest_itemcollected(self, item: Any) -> None:
        """Keep the sentence of each test."""
        doc = getattr(getattr(item, "obj", None), "__doc__", None) or ""
        self.said[item.nodeid] = doc.strip().partition("\n")[0].rstrip(".")

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Keep which tests came to their end."""
        self.ended.add(nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        """A file that cannot be imported is an ERROR."""
        if report.failed:
            name = report.nodeid or "collection"
            self.bad[name] = (Verdict.ERROR, f"{name} cannot be imported: {_last_line(report)}")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A test that fails is a FAIL; one whose surroundings fail is an ERROR."""
        if report.failed:
            verdict = Verdict.FAIL if report.when == "call" else Verdict.ERROR
            self.bad.setdefault(report.nodeid, (verdict, _last_line(report)))
        elif report.skipped:
            self.skipped.append(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed += 1


def run(root: Path, folder: str, source: Path | None = None, kind: str = "") -> list[Check]:
    """Run the tests in `folder` (such as `tests/data`) against the repository `root`.

    The tests stand under `source` (default: `root`), which is another folder where they are those
    of the base; `kind` goes before the name of each check. One PASS check counts what passed;
    every failed test is a check of its own (FAIL), and one that could not run an ERROR, as is a run
    that somebody ended early. No folder, no test, or skipped ones only: INCONCLUSIVE, because
    nothing was tested.
    """
    import pytest

    source = source or root
    name = f"{kind}{folder}"
    if not (source / folder).is_dir():
        return [Check(name, Verdict.INCONCLUSIVE, f"There is no {folder}/, so nothing was tested")]
    found = Collector()
    words = [
        "-c", os.devnull, "--rootdir", str(source), "--import-mode=importlib", "-q",
        "-p", "no:cacheprovider", "-p", "no:faulthandler", "--capture=sys",
        "--confcutdir", str(source / "tests"), str(source / folder),
    ]  # fmt: skip
    with _aside(root):
        status = int(pytest.main(words, plugins=[found]))
    checks = [
        Check(f"{kind}{test}", verdict, _told(found.said.get(test), why), scope=folder)
        for test, (verdict, why) in found.bad.items()
    ]
    unfinished = sorted(set(found.said) - found.ended - set(found.bad))
    # Where a file cannot be imported none begins, which its own check says.
    if unfinished and found.ended:
        reason = f"{len(unfinished)} tests of {folder} did not run to their end: one stopped them"
        checks.append(Check(f"{name}: unfinished", Verdict.ERROR, reason, value=len(unfinished),
                            limit=0, unit="tests", scope=folder))  # fmt: skip
    if found.passed:
        skipped = f", {len(found.skipped)} skipped" if found.skipped else ""
        reason = f"{found.passed} tests of {folder} passed{skipped}"
        checks.append(Check(name, Verdict.PASS, reason, value=found.passed, n=found.passed,
                            unit="tests", scope=folder))  # fmt: skip
    elif not checks:
        verdict = Verdict.INCONCLUSIVE if status in (0, NOTHING) else Verdict.ERROR
        why = {True: "all were skipped", False: f"pytest ended with {status}"}[bool(found.skipped)]
        if status == NOTHING and not found.skipped:
            why = "there is none in it"
        checks.append(Check(name, verdict, f"No test of {folder} ran: {why}", scope=folder))
    return checks


@contextlib.contextmanager
def _aside(root: Path) -> Iterator[None]:
    """No plugin that is merely installed, no output, and the candidate as the root of the tests.

    Modules of tests are called `tests.data.test_x` wherever they stand: those that are loaded are
    put aside, so that neither side of a comparison runs the other's.
    """
    environ = {"PYTEST_ADDOPTS": None, "PYTEST_PLUGINS": None,
               "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "MAINLINE_ROOT": str(root)}  # fmt: skip
    path, loaded, said = list(sys.path), _take_tests(), io.StringIO()
    sys.path.insert(0, str(root / "src"))
    try:
        with lent(environ), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield
    finally:
        _take_tests()
        sys.modules.update(loaded)
        sys.path[:] = path


def _take_tests() -> dict[str, ModuleType]:
    """Take the modules of tests out of those that are loaded; returns them."""
    names = [n for n in sys.modules if n.split(".")[0] in ("tests", "conftest")]
    return {name: sys.modules.pop(name) for name in names}


def _last_line(report: Any) -> str:
    """The line of a failure that says what was wrong."""
    crash = getattr(getattr(report, "longrepr", None), "reprcrash", None)
    text = getattr(crash, "message", None) or str(getattr(report, "longreprtext", "")) or "failed"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if crash is None:  # an import that fails, or a fixture that is not there
        lines = [line[1:].strip() for line in lines if line.startswith("E ")][-1:] or lines[-1:]
    return (lines[0] if lines else "failed")[:LONGEST]


def _told(sentence: str | None, why: str) -> str:
    return f"{sentence}: {why}" if sentence else why
