"""The OpenAPI document: valid, complete, and of one mind with what the service accepts."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from mainline.data.schema import Schema
from mainline.serve import openapi
from mainline.serve.inputs import Inputs, Refused
from mainline.serve.openapi import OPERATIONS, About

COLUMNS = """
- {name: id, type: text, role: id}
- {name: customer, type: integer, role: entity}
- {name: email, type: text, role: pii}
- {name: "the amount", type: number, role: feature, max_missing: 0, hard: {min: 0, max: 100.5}}
- {name: hour, type: integer, role: feature, max_missing: 0, hard: {min: 0}, soft: {max: 20}}
- {name: count, type: integer, role: feature, max_missing: 0.5}
- {name: risk, type: number, role: feature, max_missing: 0.5}
- {name: channel, type: category, role: feature, max_missing: 0, categories: [pos, web]}
- {name: grade, type: category, role: feature, max_missing: 0.5, categories: ["1", "-2", "007"]}
- {name: country, type: category, role: feature, max_missing: 0.5, allow_new: true,
   categories: [FR]}
- {name: note, type: text, role: feature, max_missing: 0.5}
- {name: foreign, type: bool, role: feature, max_missing: 0}
- {name: bad, type: integer, role: target}
"""
GOLDEN = [{"row": {
    "the amount": 2.5, "hour": 3.0, "count": None, "risk": 0.25, "channel": "web", "grade": "1",
    "country": "FR", "note": "", "foreign": "true",
}, "scores": [0.5]}]  # fmt: skip
ABOUT = About("card-fraud", "v1.0.0", "sha256:" + "a" * 64, "binary", ["0", "1"], GOLDEN)
VALUES = [
    None, True, False, 0, 1, -2, 3, 7, 20, 24, -1, 1.0, 0.5, 100.5, 100.6, -0.0, 1e400, 2**53,
    2**53 + 2, -(2**53), -(2**53) - 2, 10**30, "", "pos", "web", "POS", "1", "-2", "007", "7", "FR",
    "a\u0000b", "x" * 200, "x" * 201, "x" * 10_000, "x" * 10_001, "é" * 200, [], {}, [1], {"a": 1},
]  # fmt: skip


def schema() -> Schema:
    """The schema of the columns above."""
    rules = {"version": 1, "row_id": "id", "entity": "customer", "target": "bad"}
    return Schema.model_validate({**rules, "columns": yaml.safe_load(COLUMNS)})


def made(**more: Any) -> dict[str, Any]:
    """The document with all paths."""
    return openapi.document(schema(), ABOUT, list(OPERATIONS), **more)


def validator(document: dict[str, Any], name: str) -> jsonschema.Draft202012Validator:
    """Checks a value against one of the document's schemas."""
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    )


@pytest.mark.parametrize("keys", [False, True])
def test_the_document_is_openapi_3_1(keys: bool) -> None:
    """By the schema that the OpenAPI Initiative publishes; and each schema in it is one."""
    from schemathesis.specs.openapi.definitions import OPENAPI_31

    document = json.loads(json.dumps(made(keys=keys), allow_nan=False))
    jsonschema.Draft202012Validator(OPENAPI_31).validate(document)
    assert document["openapi"].startswith("3.1")
    for found in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(found)


def test_each_reference_leads_somewhere() -> None:
    """No part is named that is not there."""
    document = made(keys=True)

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            if "$ref" in part:
                place: Any = document
                for word in part["$ref"].removeprefix("#/").split("/"):
                    place = place[word]
            for value in part.values():
                walk(value)
        elif isinstance(part, list):
            for value in part:
                walk(value)

    walk(document)


def test_the_example_works() -> None:
    """The golden row, as a caller would send it, passes the schema and the service's own check."""
    document = made()
    (shown,) = document["components"]["schemas"]["Row"]["examples"]
    validator(document, "Row").validate(shown)
    assert Inputs(schema()).parse(json.dumps(shown).encode()) == [shown]
    assert shown["foreign"] is True


@pytest.mark.parametrize("name", [c.name for c in schema().features] + ["id", "customer"])
def test_a_value_is_valid_where_the_service_takes_it_and_nowhere_else(name: str) -> None:
    """Bounds, types, lengths, categories as text and number, null: both say the same."""
    check = validator(made(), "Row")
    inputs = Inputs(schema())
    (good,) = made()["components"]["schemas"]["Row"]["examples"]
    for value in VALUES:
        row = {**good, name: value}
        try:
            inputs.check([dict(row)])
            taken = True
        except Refused:
            taken = False
        if value == 1e400:  # JSON has no infinity, so a JSON schema need not speak of it
            assert not taken
            continue
        if type(value) is float and not taken and check.is_valid(row):
            # To a JSON schema 1.0 is 1; a text is never made of it.
            assert value.is_integer() and name in ("id", "customer", "grade", "country")
            continue
        assert check.is_valid(row) == taken, (name, value)


def test_fields_that_are_missing_or_unknown_are_invalid_in_both() -> None:
    """Required is what may not be missing; nothing else may be sent."""
    check = validator(made(), "Row")
    inputs = Inputs(schema())
    (good,) = made()["components"]["schemas"]["Row"]["examples"]
    rows = [{k: v for k, v in good.items() if k != name} for name in good]
    rows += [{**good, "x": 1}, {**good, "email": "a@b"}, {**good, "bad": 1}, {}]
    for row in rows:
        try:
            inputs.check([row])
            taken = True
        except Refused:
            taken = False
        assert check.is_valid(row) == taken, row


def test_a_body_is_one_row_or_a_list_up_to_the_limit() -> None:
    """As `Inputs.parse` reads it."""
    document = made(max_rows=3)
    (good,) = document["components"]["schemas"]["Row"]["examples"]
    check, inputs = validator(document, "Rows"), Inputs(schema(), max_rows=3)
    for body in (good, {"rows": [good]}, {"rows": [good] * 3}, {"rows": [good] * 4}, {"rows": []},
                 {"rows": good}, {"rows": [good], "x": 1}, [good], None, 1, "x"):  # fmt: skip
        try:
            inputs.parse(json.dumps(body).encode())
            taken = True
        except Refused:
            taken = False
        assert check.is_valid(body) == taken, body
    one = validator(document, "OneRow")
    assert one.is_valid({"rows": [good]})
    assert not one.is_valid({"rows": [good, good]})


@pytest.mark.parametrize(("task", "classes"), [
    ("binary", ["0", "1"]), ("multiclass", ["a", "true", "-2"]), ("regression", None),
])  # fmt: skip
def test_a_label_is_valid_where_feedback_takes_it(task: str, classes: list[str] | None) -> None:
    """Classes by name and number, values of a regression, alone or in a list; nothing else."""
    from datetime import UTC, datetime

    from mainline.serve.feedback import Rules, parse

    about = About("m", "v1.0.0", "sha256:" + "a" * 64, task, classes, GOLDEN)
    document = openapi.document(schema(), about, list(OPERATIONS), max_rows=3)
    check = validator(document, "Feedback")
    rules = Rules(tuple(classes) if classes else None, max_labels=3)
    good = {"prediction_id": "01900000-0000-7000-8000-000000000000",
            "label": (classes or [1.5])[0]}  # fmt: skip
    bodies: list[Any] = [good, {"labels": [good]}, {"labels": [good] * 4}, {"labels": []}, [], {},
                         {**good, "x": 1}, {**good, "source": "x" * 201}, {**good, "source": None},
                         {**good, "known_at": "2024-09-01T12:00:00Z"}, {"label": 1},
                         {**good, "prediction_id": "x"}, {**good, "known_at": 1}]  # fmt: skip
    labels = [None, 0, 1, 2, -2, "0", "1", "a", "true", True, False, 0.5, [], {}, "1.5", 10**20]
    bodies += [{**good, "label": value} for value in labels]
    for body in bodies:
        try:
            parse(json.dumps(body).encode(), rules, datetime.now(UTC))
            taken = True
        except Refused:
            taken = False
        if body == {**good, "label": 10**20} and task == "regression":
            continue  # beyond what a float64 counts exactly it is refused
        assert check.is_valid(body) == taken, body


def test_every_refusal_is_a_problem_document() -> None:
    """What `Refused` makes is what the document promises, for each status of each path."""
    document = made(keys=True)
    fault = {"row": 0, "field": "hour", "reason": "must be at least 0"}
    refused = Refused(422, "invalid-rows", "Rows break the schema", "row 0", [fault])
    validator(document, "Problem").validate(refused.document())
    for path in document["paths"].values():
        for operation in path.values():
            for status, answer in operation["responses"].items():
                assert (status == "200") != ("application/problem+json" in answer["content"])


def test_keys_are_asked_for_where_they_are_set() -> None:
    """A scheme and a scope a guarded path; what stays open says so; 401 and 403 are answers."""
    document = made(keys=True)
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    wanted = {p: next(iter(o.values()))["security"] for p, o in document["paths"].items()}
    assert wanted["/predict"] == wanted["/explain"] == [{"bearer": ["predict"]}]
    assert wanted["/metrics"] == [{"bearer": ["metrics"]}]
    assert wanted["/healthz"] == wanted["/readyz"] == []
    assert {"401", "403"} <= set(document["paths"]["/predict"]["post"]["responses"])
    open_ = made()
    assert "securitySchemes" not in open_["components"]
    assert "401" not in open_["paths"]["/predict"]["post"]["responses"]


@pytest.mark.parametrize(("task", "classes", "k"), [
    ("binary", ["0", "1"], 1), ("multiclass", ["a", "b", "c"], 3), ("regression", None, 1),
])  # fmt: skip
def test_the_answer_has_as_many_scores_as_the_task(
    task: str, classes: list[str] | None, k: int
) -> None:
    """One of a binary model or a regression, one a class otherwise."""
    about = About("m", "v1.0.0", "sha256:" + "a" * 64, task, classes, GOLDEN)
    document = openapi.document(schema(), about, list(OPERATIONS))
    scores = document["components"]["schemas"]["Prediction"]["properties"]["scores"]
    assert (scores["minItems"], scores["maxItems"]) == (k, k)
    decision = document["components"]["schemas"]["Prediction"]["properties"]["decision"]
    assert decision["type"] == ("number" if task == "regression" else "integer")
