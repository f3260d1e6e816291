"""What the house's own tests share."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import small
import tools
from _pytest.runner import runtestprotocol


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a drill or slow test that failed once more, in fresh surroundings, and believe that.

    They start real processes and wait for them; a machine that stalls for a second looks like a
    fault. A defence that is out fails twice.
    """
    if "drills" not in item.path.parts and item.get_closest_marker("slow") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if any(report.failed for report in reports):
        # Surroundings that do not end in order must not end the whole run: the second try tells.
        with contextlib.suppress(Exception, pytest.fail.Exception):
            item.session._setupstate.teardown_exact(None)
        item._initrequest()  # type: ignore[attr-defined]
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], Path]:
    """The path of a program by its name; the test is skipped, or fails if it is required."""

    def find(name: str) -> Path:
        return getattr(tools, name)()

    return find


@pytest.fixture(scope="session")
def sample_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small, committed, trained sample repository; look at it, and copy it to change it."""
    return small.make(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def repository(sample_repository: Path, tmp_path: Path) -> Path:
    """A copy of the small sample repository that a test may change."""
    return Path(shutil.copytree(sample_repository, tmp_path / "repository", symlinks=True))


@pytest.fixture
def call(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., small.Ran]:
    """`call(root, "train")`: a command through `cli.main`, in this process."""
    return lambda root, *words: small.call(root, capfd, monkeypatch, *words)
