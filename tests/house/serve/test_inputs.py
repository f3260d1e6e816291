"""The input model: what is taken, and how each refusal names its cause."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from mainline.data.schema import Schema
from mainline.serve.inputs import Inputs, Refused

COLUMNS = """
- {name: id, type: text, role: id}
- {name: customer, type: integer, role: entity}
- {name: email, type: text, role: pii}
- {name: "the amount", type: number, role: feature, max_missing: 0, hard: {min: 0, max: 100}}
- {name: hour, type: integer, role: feature, max_missing: 0, hard: {max: 23}}
- {name: risk, type: number, role: feature, max_missing: 0.5}
- {name: channel, type: category, role: feature, max_missing: 0, categories: [pos, web]}
- {name: grade, type: category, role: feature, max_missing: 0.5, categories: ["1", "2"]}
- {name: country, type: category, role: feature, max_missing: 0.5, allow_new: true}
- {name: note, type: text, role: feature, max_missing: 0.5}
- {name: foreign, type: bool, role: feature, max_missing: 0}
- {name: bad, type: integer, role: target}
"""
GOOD = {"the amount": 1.5, "hour": 3, "channel": "pos", "foreign": False}


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """The inputs of the schema above, at most 3 rows a request."""
    columns = yaml.safe_load(COLUMNS)
    rules = {"version": 1, "row_id": "id", "entity": "customer", "target": "bad"}
    return Inputs(Schema.model_validate({**rules, "columns": columns}), max_rows=3)


def body(*rows: Any) -> bytes:
    """A request of `rows`."""
    return json.dumps({"rows": rows}).encode()


def refusal(inputs: Inputs, content: bytes) -> Refused:
    """What the inputs say to `content`."""
    with pytest.raises(Refused) as caught:
        inputs.parse(content)
    return caught.value


def test_one_bare_row_and_many_are_taken(inputs: Inputs) -> None:
    """A row may stand alone or in a list; whole numbers are numbers; nothing is added."""
    assert inputs.parse(json.dumps(GOOD).encode()) == [GOOD]
    assert inputs.parse(body(GOOD, GOOD)) == [GOOD, GOOD]


def test_missing_values_are_taken_where_the_schema_allows_them(inputs: Inputs) -> None:
    """Null and absent both mean missing; elsewhere they are refused by name."""
    assert inputs.parse(body({**GOOD, "risk": None, "country": None}))
    refused = refusal(inputs, body({**GOOD, "hour": None}))
    assert refused.errors == [{"row": 0, "field": "hour", "reason": "must be a whole number"}]
    without = {k: v for k, v in GOOD.items() if k != "the amount"}
    refused = refusal(inputs, body(GOOD, without))
    assert refused.errors == [{"row": 1, "field": "the amount", "reason": "is missing"}]


def test_row_id_and_entity_may_come_along(inputs: Inputs) -> None:
    """They are for the log; as text or as whole number."""
    rows = inputs.parse(body({**GOOD, "id": "t-1", "customer": 42}))
    assert (rows[0]["id"], rows[0]["customer"]) == ("t-1", 42)


def test_a_category_of_digits_is_taken_as_number_too(inputs: Inputs) -> None:
    """A table's class 1 is the text "1"; a client may send either."""
    assert inputs.parse(body({**GOOD, "grade": 1}))[0]["grade"] == "1"
    assert inputs.parse(body({**GOOD, "grade": "2"}))[0]["grade"] == "2"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("the amount", -1, "must be at least 0"),
        ("the amount", 101, "must be at most 100"),
        ("the amount", "1", "must be a number"),
        ("the amount", True, "must be a number"),
        ("the amount", [1], "must be a number"),
        ("hour", 2.5, "must be a whole number"),
        ("hour", 24, "must be at most 23"),
        ("hour", -(2**60), "must be at least -9.0072e+15"),
        ("channel", "moon", "must be one of pos, web"),
        ("channel", 1, "must be one of pos, web"),
        ("grade", 3, "must be one of 1, 2"),
        ("country", "x" * 201, "must have at most 200 characters"),
        ("country", {"a": 1}, "must be a text"),
        ("note", "x" * 10_001, "must have at most 10000 characters"),
        ("foreign", 1, "must be true or false"),
        ("foreign", "true", "must be true or false"),
        ("customer", [1], "must be a text or a whole number"),
        ("email", "a@b.example", "is no feature of this model"),
        ("bad", 1, "is no feature of this model"),
        ("amuont", 1, "is not known"),
    ],
)
def test_each_broken_rule_is_named_with_row_and_field(
    inputs: Inputs, field: str, value: Any, reason: str
) -> None:
    """A 422 says which row and field, and what would be right, never the value."""
    refused = refusal(inputs, body(GOOD, {**GOOD, field: value}))
    assert refused.http == 422
    assert refused.errors == [{"row": 1, "field": field, "reason": reason}]
    assert "a@b.example" not in json.dumps(refused.document())


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_none_are_refused(inputs: Inputs, number: str) -> None:
    """NaN and infinity never reach the model, however they are written."""
    content = body(GOOD).replace(b'"the amount": 1.5', f'"the amount": {number}'.encode())
    assert refusal(inputs, content).http in (400, 422)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"a": "\xff"}', 400),
        (b'{"a": "\\ud800"}', 400),
        (b"[" * 100_000, 400),
        (b"[]", 400),
        (b"1", 400),
        (b'{"rows": []}', 400),
        (b'{"rows": {}}', 400),
        (b'{"rows": [{}], "more": 1}', 400),
        (b'{"rows": [1]}', 422),
        (b'{"rows": [null]}', 422),
        (b'{"rows": [[]]}', 422),
        (b"{}", 422),
    ],
)
def test_what_holds_no_rows_is_refused(inputs: Inputs, content: bytes, status: int) -> None:
    """Broken JSON, wrong encodings, deep nesting and other shapes are the caller's fault."""
    assert refusal(inputs, content).http == status


def test_too_many_rows_are_refused_before_they_are_looked_at(inputs: Inputs) -> None:
    """More rows than serve.max_rows is a 413."""
    assert refusal(inputs, body(*[{}] * 4)).http == 413


def test_a_problem_document_has_the_members_of_rfc_9457(inputs: Inputs) -> None:
    """type, title, status and detail, and at most twenty errors."""
    document = refusal(inputs, body(*[{f"x{i}": 1 for i in range(9)}] * 3)).document()
    assert set(document) == {"type", "title", "status", "detail", "errors"}
    assert document["status"] == 422
    assert len(document["errors"]) == 20
    assert "more are not listed" in document["detail"]


@pytest.mark.parametrize(
    "content",
    [
        b'{"hour": 1, "hour": 2}',
        b'{"hour": 1, "\\u0068our": 2}',
        b'{"rows": [{"hour": 1}, {"note": "a:b", "hour": 1, "hour": 2}]}',
        b'{"rows": [{}], "rows": [{}]}',
        b'{"note": {"a": 1, "a": 2}}',
    ],
)
def test_a_key_that_stands_twice_is_refused(inputs: Inputs, content: bytes) -> None:
    """Parsers disagree which of two values counts, so neither does, however it is written."""
    refused = refusal(inputs, content)
    assert (refused.http, refused.kind) == (400, "twin-keys")


def test_colons_in_texts_are_no_keys(inputs: Inputs) -> None:
    """What only looks like more keys than there are is taken."""
    row = {**GOOD, "note": 'a: {"hour": 1, "hour": 2}', "country": "::"}
    assert inputs.parse(body(row, row)) == [row, row]


def test_rows_beyond_a_soft_limit_are_taken_and_counted() -> None:
    """A soft limit warns; missing values and other rows do not count."""
    columns = """
    - {name: a, type: number, role: feature, max_missing: 0.5, soft: {min: 0, max: 9}}
    - {name: b, type: integer, role: feature, max_missing: 0.5, soft: {max: 5}, hard: {max: 7}}
    """
    rules = {"version": 1, "target": "y", "columns": yaml.safe_load(columns)}
    rules["columns"].append({"name": "y", "type": "integer", "role": "target"})
    taken = Inputs(Schema.model_validate(rules))
    rows = [{"a": 9.0}, {"a": 9.5, "b": 6}, {"a": -1}, {"b": 6}, {"a": None, "b": 5}, {}]
    assert taken.beyond_soft(taken.parse(body(*rows))) == 3
