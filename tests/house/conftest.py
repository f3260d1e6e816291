"""What the house's own tests share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import small
import tools


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
