"""What all tests share: the same Git on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
