"""What all tests share: the same Git on every machine, and the project's own data and model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainline.errors import MainlineError

GIT_CONFIG = """\
[user]
    name = tests
    email = tests@localhost
[init]
    defaultBranch = main
[commit]
    gpgSign = false
[tag]
    gpgSign = false
[protocol "file"]
    allow = always
[gc]
    auto = 0
"""


@pytest.fixture(scope="session", autouse=True)
def same_git(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Git without the settings of whoever runs the tests; clean machines have no name at all."""
    config = tmp_path_factory.mktemp("git") / "config"
    config.write_text(GIT_CONFIG, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", str(config))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("GIT_TERMINAL_PROMPT", "0")
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of this repository, with its data; they are pulled where they are not there yet."""
    from mainline.data.store import pull

    # The tests of a base stand elsewhere than the data and the model that they look at.
    here = Path(os.environ.get("MAINLINE_ROOT") or Path(__file__).resolve().parents[1])
    if not (here / "data").is_dir():
        if not (here / "data.dvc").exists():
            pytest.skip("there is no data yet: `./mainline data add FILE`")
        try:
            pull(here)
        except MainlineError as error:
            pytest.skip(f"the data cannot be had: {error}")
    return here


@pytest.fixture(scope="session")
def trained(root: Path) -> Path:
    """The root of this repository, with the model that the pipeline trained."""
    if not (root / "models" / "model.json").exists():
        pytest.skip("there is no model yet: `./mainline pipeline`")
    return root
