"""params.yaml: frozen settings, and entry points that are found by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from copies import ROOT
from pydantic import ValidationError

from mainline import settings
from mainline.errors import SettingsError


def test_the_shipped_settings_are_valid_and_frozen() -> None:
    """What is in the repository can be read and cannot be changed by a step."""
    found = settings.load(ROOT)
    assert found.model.task == "binary"
    with pytest.raises(ValidationError):
        found.gate.delta = 1.0  # type: ignore[misc]


def test_an_entry_point_is_found_under_src(tmp_path: Path) -> None:
    """By `module:function`, relative to `src/`."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "own_one.py").write_text("def build():\n    return 7\n")
    assert settings.entry_point(tmp_path, "own_one:build")() == 7


@pytest.mark.parametrize("name", ["Canary 5", "5-canary", "c", "c" * 41, "canary-", "canary\n"])
def test_a_bad_name_of_a_stage_is_a_sentence(name: str) -> None:
    """What a name may be is said in words; a regular expression is nobody's remedy."""
    with pytest.raises(ValidationError) as caught:
        settings.Stage(name=name, weight=5, requests=1)
    said = str(caught.value)
    assert "a stage's name is 2 to 40 small letters" in said and "[a-z]" not in said
    assert settings.Stage(name="canary-5", weight=5, requests=1).name == "canary-5"


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("own_two:build", None, "no module 'own_two'"),
        ("own_three:build", "x = 1\n", "Define 'build'"),
        ("own_four:build", "import not_there\n", "no module 'not_there'"),
        ("own_five:build", "1 / 0\n", "ZeroDivisionError: division by zero"),
        ("own_six:build", "def build(:\n", "SyntaxError"),
    ],
)
def test_a_broken_entry_point_is_a_sentence(
    tmp_path: Path, name: str, source: str | None, said: str
) -> None:
    """A module that is gone, lacks the function, or fails while it is imported."""
    (tmp_path / "src").mkdir()
    if source is not None:
        (tmp_path / "src" / f"{name.split(':')[0]}.py").write_text(source)
    with pytest.raises(SettingsError, match=said):
        settings.entry_point(tmp_path, name)
