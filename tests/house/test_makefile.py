"""The Makefile says nothing that the house does not know."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from mainline import cli

ROOT = Path(__file__).resolve().parents[2]


def test_its_targets_are_commands_of_the_house() -> None:
    """Every word that `make` takes is one that `./mainline` takes."""
    text = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ")
    listed = re.search(r"^COMMANDS := (.*)$", text, flags=re.MULTILINE)
    assert listed
    known = set(getattr(get_command(cli.app), "commands", ()))
    assert known
    assert set(listed[1].split()) <= known
