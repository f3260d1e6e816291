"""What the tests of the comparison share: a repository with a version in production."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import small


@pytest.fixture(scope="session")
def production(sample_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small sample with v1.0.0 in production; look at it, and copy it to change it."""
    root = tmp_path_factory.mktemp("production") / "repository"
    shutil.copytree(sample_repository, root, symlinks=True)
    for words in (("compare",), ("register",), ("promote", "v1.0.0")):
        ran = small.run(root, *words)
        assert ran.status == 0, ran.out + ran.err
    return root


@pytest.fixture
def released(production: Path, tmp_path: Path) -> Path:
    """A copy of the repository with v1.0.0 in production."""
    return Path(shutil.copytree(production, tmp_path / "released", symlinks=True))


@pytest.fixture
def branch(released: Path) -> Path:
    """The same, on a branch of its own."""
    small.git(released, "switch", "--quiet", "--create", "change")
    return released
