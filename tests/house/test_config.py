"""A mistake in a settings file is named with file, line and the nearest right word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from copies import ROOT

from mainline import settings
from mainline.config import parse_yaml
from mainline.data.schema import Schema
from mainline.errors import SettingsError

PARAMS = (ROOT / "params.yaml").read_text("utf-8")
SCHEMA = (ROOT / "schema.yaml").read_text("utf-8")


def line_of(text: str, word: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if word in line)


def complaint(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        settings.parse(text)
    assert caught.value.status == 22
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  delta:", "  dleta:", "'delta'"),
        ("  salt:", "  slat:", "'salt'"),
        ("task: binary", "task: binery", "'binary'"),
        ("kind: entity", "kind: entiti", "'entity'"),
        ("retrain:\n", "retrian:\n", "'retrain'"),
        ("{rule: max_fpr", "{rule: max_frp", "'max_fpr'"),
        ("  name: card-fraud", "  name: card_fraud", "'card-fraud'"),
        ("  test: 0.25", "  test: 1.25", "less than 1"),
        ("  test: 0.25", "  test: 0.8", "less than a tenth"),
        ("  delta: 0.03", "  delta: much", "number"),
        ("  delta: 0.03", "  delta: .nan", "finite"),
        ("  metric: average_precision", "  metric: rmse", "rmse"),
        ("estimator: project.model:build", "estimator: project.model", "module:function"),
        ("  window: 7D", "  window: a week", "7D"),
    ],
)
def test_a_mistake_names_file_line_and_remedy(old: str, new: str, said: str) -> None:
    """Unknown and mistyped keys and values are told where they stand, with what was meant."""
    wrong = PARAMS.replace(old, new, 1)
    found = complaint(wrong)
    match = re.match(r"params\.yaml:(\d+): ", found)
    assert match, found
    assert said in found
    if "rmse" not in new and "0.8" not in new:
        assert int(match[1]) == line_of(wrong, new.strip().split("\n")[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "params.yaml is empty"),
        ("# nothing\n", "params.yaml is empty"),
        ("- a\n- b\n", "params.yaml is empty"),
        ("model: {name: a\n", "not valid YAML"),
        ("a: 1\n\tb: 2\n", "params.yaml:2: not valid YAML"),
        (PARAMS + "model: {}\n", "'model' stands twice"),
        ("model: !!python/object/apply:os.system [echo]\n", "not valid YAML"),
    ],
)
def test_what_is_no_settings_file_is_told(text: str, said: str) -> None:
    """Empty, a list, broken YAML, a key twice, a tag that would run code."""
    assert said in complaint(text)


def test_a_missing_section_is_named() -> None:
    """What must be there and is not is named by its whole path."""
    assert "'gate' is missing" in complaint(re.sub(r"(?s)gate:.*?\n\n", "", PARAMS))


def test_a_file_that_is_gone_or_not_text_is_told(tmp_path: Path) -> None:
    """No file, and a file in another encoding, are a sentence each."""
    with pytest.raises(SettingsError, match=r"params\.yaml was not found"):
        settings.load(tmp_path)
    (tmp_path / "params.yaml").write_bytes(PARAMS.replace("main", "mäin").encode("utf-16"))
    with pytest.raises(SettingsError, match="not UTF-8"):
        settings.load(tmp_path)
    (tmp_path / "params.yaml").write_text("﻿" + PARAMS, encoding="utf-8")
    assert settings.load(tmp_path).model.name == "card-fraud"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("role: featrue", None, "'feature'"),
        ("{name: amount, type: numbr", None, "'number'"),
        ("max_mising: 0", None, "'max_missing'"),
        ("row_id: transaction", None, "transaction"),
        ("{name: amount_ratio, type: number, role: pii", None, None),
    ],
)
def test_a_mistake_in_a_column_names_its_line(old: str, new: None, said: str | None) -> None:
    """The same in schema.yaml, within a list of columns."""
    right = {
        "role: featrue": "role: feature",
        "{name: amount, type: numbr": "{name: amount, type: number",
        "max_mising: 0": "max_missing: 0",
        "row_id: transaction": "row_id: transaction_id",
        "{name: amount_ratio, type: number, role: pii": (
            "{name: amount_ratio, type: number, role: feature"
        ),
    }[old]
    wrong = SCHEMA.replace(right, old, 1)
    if said is None:
        assert "amount_ratio" in parse_yaml(wrong, "schema.yaml", Schema).personal
        return
    with pytest.raises(SettingsError) as caught:
        parse_yaml(wrong, "schema.yaml", Schema)
    assert said in str(caught.value)
    assert str(caught.value).startswith("schema.yaml:")
    if "row_id" not in old:
        assert f"schema.yaml:{line_of(wrong, old)}:" in str(caught.value)
