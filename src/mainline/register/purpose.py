"""What only a person can say of a model: `docs/model_card.yaml`, checked, as a part of the card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from mainline.config import Section as Part
from mainline.config import load_yaml
from mainline.errors import MainlineError
from mainline.report.blocks import Alert, Block, Bullets, Inline, Line, Paragraph, Section, Strong

FILE = "docs/model_card.yaml"
Text = Annotated[str, Field(max_length=600)]
Lines = Annotated[tuple[Text, ...], Field(max_length=20)]


class Person(Part):
    """The keys of docs/model_card.yaml; what is not said is None or empty."""

    purpose: Text | None = None
    intended_use: Lines = ()
    not_for: Lines = ()
    limits: Lines = ()
    people_affected: Text | None = None
    data_source: Text | None = None
    owner: Text | None = None
    contact: Text | None = None
    license: Text | None = None


SPOKEN = {"purpose": "Purpose", "intended_use": "Intended use", "not_for": "Not for",
          "limits": "Known limits", "people_affected": "People affected",
          "data_source": "Where the data comes from", "owner": "Owner", "contact": "Contact",
          "license": "License"}  # fmt: skip


def section(root: Path) -> Section:
    """What a person said, and by name what nobody has said.

    A file that cannot be read stops no release: the card says so in its place.
    """
    try:
        said = load_yaml(root / FILE, Person) if (root / FILE).exists() else Person()
    except MainlineError as error:
        return Section("Purpose and limits", (Alert("warning", (str(error),)),))
    blocks: list[Block] = []
    missing = []
    for key, title in SPOKEN.items():
        value = getattr(said, key)
        texts = [value] if isinstance(value, str) else list(value or ())
        texts = [t.strip() for t in texts if t.strip()]
        if not texts:
            missing.append(title)
        elif isinstance(value, str):
            blocks.append(Paragraph((Strong(title), f": {texts[0]}")))
        else:
            items: tuple[Line, ...] = tuple((t,) for t in texts)
            blocks += [Paragraph((Strong(title), ":")), Bullets(items)]
    if missing:
        told: tuple[Inline, ...] = (
            Strong("A person has not filled in"),
            f": {', '.join(missing)}. They stand in {FILE}; nobody else can say them.",
        )
        blocks.insert(0, Alert("warning", told))
    return Section("Purpose and limits", tuple(blocks))
