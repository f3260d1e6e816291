"""GET /openapi.json: the service as OpenAPI 3.1, from schema.yaml and the model that is served.

The types here are those that `mainline.serve.inputs` accepts, neither more nor less; a test sends
what they allow and what they forbid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainline.data.schema import Column, Schema
from mainline.serve.inputs import EXACT, MAX_ID, MAX_TEXT, Row

Json = dict[str, Any]
JSON = "application/json"
PROBLEM = "application/problem+json"
DIALECT = "https://spec.openapis.org/oas/3.1/dialect/base"
REFUSALS = {
    400: "No JSON, or not what is asked for",
    401: "No key, or one that is not known",
    403: "The key does not open this",
    408: "The body came too slowly",
    413: "Too many bytes or too many rows",
    415: "Not application/json, or a compressed body",
    422: "Rows break the schema; `errors` names row, field and reason",
    500: "The service failed; its own log says why",
    501: "This service cannot explain",
    503: "Too much is waiting, not ready, or it took too long; Retry-After says when to come back",
}
BOOLS = ("false", "true")
UUID7 = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$"
POSTED = (400, 408, 413, 415, 422, 500, 503)


@dataclass(frozen=True)
class About:
    """What the document says of the model: who it is, k scores a row, and its golden rows."""

    name: str
    version: str
    digest: str
    task: str
    classes: Sequence[str] | None
    golden: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Operation:
    """One path: method, summary, key that it asks for, schemas of body and answer, refusals."""

    method: str
    summary: str
    answer: Json
    body: str | None = None
    scope: str | None = None
    refusals: tuple[int, ...] = (500,)
    kind: str = JSON


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


STATUS = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
OPERATIONS: dict[str, Operation] = {
    "/predict": Operation(
        "post", "Scores and decision of one row or many", _ref("Predictions"), "Rows",
        "predict", POSTED,
    ),
    "/explain": Operation(
        "post", "What each column contributed to one row's score", _ref("Explained"), "OneRow",
        "predict", (*POSTED, 501),
    ),
    "/feedback": Operation(
        "post", "Labels that came later, by prediction id", _ref("Counted"), "Feedback",
        "feedback", POSTED,
    ),
    "/healthz": Operation("get", "The process lives", STATUS),
    "/readyz": Operation("get", "The golden rows have their scores", STATUS, refusals=(500, 503)),
    "/metrics": Operation(
        "get", "Prometheus metrics", {"type": "string"}, scope="metrics", kind="text/plain"
    ),
    "/version": Operation("get", "Which model answers", _ref("Version")),
    "/openapi.json": Operation("get", "This document", {"type": "object"}),
}  # fmt: skip


def document(
    schema: Schema, about: About, paths: Sequence[str], *, max_rows: int = 1000, keys: bool = False
) -> Json:
    """The document, for the `paths` that are served; `keys` where callers must have one."""
    known = {path: OPERATIONS[path] for path in paths if path in OPERATIONS}
    made: Json = {
        "openapi": "3.1.1",
        "jsonSchemaDialect": DIALECT,
        "info": {
            "title": about.name,
            "version": about.version,
            "summary": f"Predictions of {about.name} {about.version}",
            "description": f"Model {about.digest}. A refusal is a problem document (RFC 9457).",
        },
        "servers": [{"url": "/"}],
        "paths": {path: _path(path, op, keys) for path, op in known.items()},
        "components": {
            "schemas": _schemas(schema, about, max_rows),
            "headers": _headers(),
        },
    }
    if keys:
        made["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "A key: mlk_..."}
        }
    return made


def _path(path: str, op: Operation, keys: bool) -> Json:
    guarded = keys and op.scope is not None
    refusals = sorted({*op.refusals, *((401, 403) if guarded else ())})
    kind = f"{op.kind}; version=1.0.0; charset=utf-8" if path == "/metrics" else op.kind
    made: Json = {
        "operationId": path.strip("/").partition(".")[0],
        "summary": op.summary,
        "responses": {
            "200": {"description": "Done", "headers": _answer_headers(),
                    "content": {kind: {"schema": op.answer}}},
            **{str(status): _refusal(status) for status in refusals},
        },
        "security": [{"bearer": [op.scope]}] if guarded else [],
    }  # fmt: skip
    if op.body is not None:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": _ref(op.body)}}}
    if path == "/predict":
        made["parameters"] = [_request_id()]
    return {op.method: made}


def _request_id() -> Json:
    return {
        "name": "x-request-id", "in": "header", "required": False,
        "description": "The caller's own name of the request; comes back and goes into the log. "
        "What is not one to 128 printable characters without a blank is replaced.",
        "schema": {"type": "string"},
    }  # fmt: skip


def _refusal(status: int) -> Json:
    headers = _answer_headers()
    if status == 401:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/WWW-Authenticate"}
    if status == 503:
        headers["Retry-After"] = {"$ref": "#/components/headers/Retry-After"}
    return {"description": REFUSALS[status], "headers": headers,
            "content": {PROBLEM: {"schema": _ref("Problem")}}}  # fmt: skip


def _answer_headers() -> Json:
    names = ("x-request-id", "x-model-version")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _headers() -> Json:
    text = {"type": "string"}
    return {
        "x-request-id": {"description": "The caller's own, or a new one", "schema": text},
        "x-model-version": {"description": "Twelve digits of the model's digest", "schema": text},
        "WWW-Authenticate": {"description": "RFC 6750", "schema": text},
        "Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 0}},
    }


# ---- what goes in ------------------------------------------------------------------------------


def column(column: Column) -> Json:
    """The JSON schema of one feature; null where the schema allows it to be missing."""
    made = _value(column)
    soft = column.soft
    if soft.min is not None or soft.max is not None:
        made["description"] = f"Usually between {soft.min} and {soft.max}"
    if column.max_missing > 0:
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
        else:
            kinds = made["type"]
            made["type"] = [*(kinds if isinstance(kinds, list) else [kinds]), "null"]
    return made


def _value(column: Column) -> Json:
    if column.type in ("number", "integer"):
        whole = column.type == "integer"
        low, high = column.hard.min, column.hard.max
        low = low if low is not None else (-EXACT if whole else None)
        high = high if high is not None else (EXACT if whole else None)
        bounds = {"minimum": low, "maximum": high}
        kept = {k: _whole(v) for k, v in bounds.items() if v is not None}
        return {"type": column.type, **kept}
    if column.type == "bool":
        return {"type": "boolean"}
    if column.categories is not None and not column.allow_new:
        # A category 1 is the text "1"; a caller may send either.
        return {"enum": [*column.categories, *_numbers(column.categories)]}
    limit = MAX_TEXT if column.type == "text" else MAX_ID
    made: Json = {"type": "string", "maxLength": limit}
    if column.type == "category":
        made = {**made, "type": ["string", "integer"]}
        if column.categories:
            made["examples"] = list(column.categories[:20])
    return made


def _whole(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def row(schema: Schema) -> Json:
    """The JSON schema of one row: the features, and the caller's own ids where there are such."""
    properties = {c.name: column(c) for c in schema.features}
    for name in (schema.row_id, schema.entity):
        if name is not None:
            properties[name] = {
                "type": ["string", "integer", "null"], "maxLength": MAX_ID,
                "description": "Goes into the log (an entity hashed) and never to the model",
            }  # fmt: skip
    required = [c.name for c in schema.features if c.max_missing == 0]
    return {"type": "object", "properties": properties, "required": required,
            "additionalProperties": False}  # fmt: skip


def example(schema: Schema, golden: Sequence[Mapping[str, Any]]) -> Row | None:
    """A made-up row that works: the middle golden row, in the types that a caller sends."""
    if not golden:
        return None
    values: Mapping[str, Any] = golden[len(golden) // 2]["row"]
    return {c.name: _sent(c, values.get(c.name)) for c in schema.features}


def _sent(column: Column, value: Any) -> Any:
    if column.type == "bool" and isinstance(value, str):
        return value == "true"
    if column.type == "integer" and isinstance(value, float):
        return int(value)
    return value


# ---- what comes out ----------------------------------------------------------------------------


def _schemas(schema: Schema, about: About, max_rows: int) -> Json:
    shown = example(schema, about.golden)
    row_schema = row(schema) | ({"examples": [shown]} if shown is not None else {})
    many: Json = {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": _ref("Row"), "minItems": 1,
                                "maxItems": max_rows}},
        "required": ["rows"], "additionalProperties": False,
    }  # fmt: skip
    one = {**many, "properties": {"rows": {**many["properties"]["rows"], "maxItems": 1}}}
    if "rows" in schema.by_name and schema.by_name["rows"].role == "feature":
        bodies = {"Rows": _ref("Row"), "OneRow": _ref("Row")}
    else:
        bodies = {"Rows": {"oneOf": [_ref("Row"), many]}, "OneRow": {"oneOf": [_ref("Row"), one]}}
    label, feedback = _labels(about, max_rows)
    return {"Row": row_schema, **bodies, "Label": label, "Feedback": feedback,
            **_answers(about), "Problem": PROBLEM_SCHEMA}  # fmt: skip


def _labels(about: About, most: int) -> tuple[Json, Json]:
    """The schemas of one label and of a body of them, as `mainline.serve.feedback` reads them."""
    value: Json = {"type": "number"}
    if about.task != "regression":
        names = list(about.classes or ())
        value = {"enum": [*names, *_numbers(names), *(n == "true" for n in names if n in BOOLS)]}
    label: Json = {
        "type": "object",
        "properties": {
            "prediction_id": {"type": "string", "pattern": UUID7},
            "label": value,
            "known_at": {"type": ["string", "null"], "format": "date-time", "maxLength": 40,
                         "description": "When it became known; now where it is left out"},
            "source": {"type": ["string", "null"], "maxLength": MAX_ID},
        },
        "required": ["prediction_id", "label"],
        "additionalProperties": False,
    }  # fmt: skip
    many = {
        "type": "object",
        "properties": {"labels": {"type": "array", "items": _ref("Label"), "minItems": 1,
                                  "maxItems": most}},
        "required": ["labels"], "additionalProperties": False,
    }  # fmt: skip
    return label, {"oneOf": [_ref("Label"), many]}


def _numbers(names: Sequence[str]) -> list[int]:
    return [int(n) for n in names if n.lstrip("-").isdigit() and str(int(n)) == n]


def _answers(about: About) -> Json:
    k = len(about.classes or ()) if about.task == "multiclass" else 1
    meaning = {
        "binary": "The probability of the positive class",
        "multiclass": f"Probabilities of the classes {', '.join(about.classes or ())}",
        "regression": "The value",
    }[about.task]
    scores: Json = {"type": "array", "items": {"type": "number"}, "minItems": k, "maxItems": k}
    decision = {"type": "number"} if about.task == "regression" else {"type": "integer"}
    version = {"name": {"type": "string"}, "version": {"type": "string"},
               "digest": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}}  # fmt: skip
    who = {"model": version["name"], "version": version["version"], "digest": version["digest"]}
    by_column: Json = {"type": "object", "additionalProperties": scores}
    return {
        "Prediction": _object({
            "prediction_id": {"type": "string", "format": "uuid"},
            "scores": {**scores, "description": meaning},
            "decision": decision,
        }),
        "Predictions": _object(
            {"predictions": {"type": "array", "items": _ref("Prediction"), "minItems": 1}, **who}
        ),
        "Explanation": _object({
            "scores": scores,
            "base": {**scores, "description": "The mean score of the golden rows"},
            "contributions": {**by_column, "description": "Base and contributions sum to scores"},
        }),
        "Explained": _object({"explanation": _ref("Explanation"), **who}),
        "Version": _object(version),
        "Counted": _object({
            name: {"type": "integer", "minimum": 0}
            for name in ("accepted", "duplicates", "contradictions", "unverified", "late")
        }),
    }  # fmt: skip


def _object(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


PROBLEM_SCHEMA: Json = {
    "type": "object",
    "description": "RFC 9457",
    "properties": {
        "type": {"type": "string", "pattern": "^urn:mainline:problem:"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "row": {"type": "integer", "minimum": 0},
                    "field": {"type": ["string", "null"]},
                    "reason": {"type": "string"},
                },
                "required": ["row", "field", "reason"],
            },
        },
    },
    "required": ["type", "title", "status", "detail"],
}
