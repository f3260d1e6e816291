"""What a request may carry: the schema as a strict input model, refusals as problem documents."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import from_json
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from mainline.data.schema import Column, Schema
from mainline.errors import DataError

Row = dict[str, Any]
MAX_ERRORS = 20
MAX_TEXT = 10_000
MAX_ID = 200
EXACT = 2**53  # beyond it a float64 cannot hold every whole number


class Refused(DataError):
    """A request that is answered with a problem document (RFC 9457) and no prediction.

    `http` is its status; `errors` names row, field and reason of each fault, values never;
    `headers` go with the answer (Retry-After, WWW-Authenticate).
    """

    def __init__(
        self, http: int, kind: str, title: str, detail: str, errors: Sequence[Row] = (),
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:  # fmt: skip
        super().__init__(f"{title}: {detail}")
        self.http = http
        self.kind = kind
        self.title = title
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers

    def document(self) -> dict[str, Any]:
        """The body of the answer, media type `application/problem+json`."""
        document: dict[str, Any] = {
            "type": f"urn:mainline:problem:{self.kind}",
            "title": self.title,
            "status": self.http,
            "detail": self.detail,
        }
        return {**document, "errors": self.errors} if self.errors else document


def _whole(value: float) -> float:
    if not value.is_integer():
        raise ValueError("must be a whole number")
    return value


def _text(value: Any) -> Any:
    # A table's category 1 is the text "1"; a client may send either.
    return str(value) if type(value) is int else value


def column_type(column: Column) -> Any:
    """The pydantic type of one feature column: strict type, hard limits, known categories."""
    if column.type in ("number", "integer"):
        whole = column.type == "integer"
        low, high = column.hard.min, column.hard.max
        bounds = Field(
            ge=low if low is not None else (-EXACT if whole else None),
            le=high if high is not None else (EXACT if whole else None),
            allow_inf_nan=False,
        )
        number: Any = Annotated[float, Strict(), bounds]
        return Annotated[number, AfterValidator(_whole)] if whole else number
    if column.type == "bool":
        return Annotated[bool, Strict()]
    if column.categories is not None and not column.allow_new:
        known: Any = Literal[column.categories]
        plain = not any(c.lstrip("-").isdigit() for c in column.categories)
        return known if plain else Annotated[known, BeforeValidator(_text)]
    limit = MAX_TEXT if column.type == "text" else MAX_ID
    text: Any = Annotated[str, Strict(), Field(max_length=limit)]
    return Annotated[text, BeforeValidator(_text)] if column.type == "category" else text


def row_type(schema: Schema) -> Any:
    """The typed dictionary of one row: features, and optionally the row id and the entity.

    Where schema.yaml allows missing values a field may be null or left out.
    """
    fields: dict[str, Any] = {}
    for column in schema.features:
        kind = column_type(column)
        fields[column.name] = NotRequired[kind | None] if column.max_missing > 0 else kind
    for name in (schema.row_id, schema.entity):
        if name is not None:
            fields[name] = NotRequired[
                Annotated[str, Strict(), Field(max_length=MAX_ID)] | Annotated[int, Strict()] | None
            ]
    row = TypedDict("Row", fields)  # type: ignore[operator, misc]
    row.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return row


class Inputs:
    """Parses and checks the body of a request against a schema."""

    def __init__(self, schema: Schema, max_rows: int = 1000) -> None:
        self.schema = schema
        self.max_rows = max_rows
        self.features = tuple(c.name for c in schema.features)
        kind: Any = list[row_type(schema)]  # type: ignore[misc]
        self._rows: TypeAdapter[list[Row]] = TypeAdapter(kind)
        self._soft = [
            (c.name, _or(c.soft.min, -math.inf), _or(c.soft.max, math.inf))
            for c in schema.features
            if c.type in ("number", "integer") and (c.soft.min, c.soft.max) != (None, None)
        ]

    def parse(self, body: bytes) -> list[Row]:
        """The rows of `{"rows": [row, ...]}` or of one bare row, checked, in their order.

        Raises Refused with 400 when the body is not such JSON, 413 beyond `max_rows`, 422 when
        rows break the schema (at most 20 faults are listed).
        """
        try:
            document = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise Refused(400, "not-json", "The body is not JSON", _where(error)) from error
        rows = self._raw_rows(document)
        # Of two equal keys the parser keeps the last without a word. As many colons as keys: none
        # was dropped. More: one was, or a text holds a colon, and the slow way finds out which.
        keys = sum(len(row) for row in rows if isinstance(row, dict)) + (rows[0] is not document)
        if body.count(b":") != keys:
            _refuse_twins(body)
        return self.check(rows)

    def beyond_soft(self, rows: Sequence[Row]) -> int:
        """How many checked rows have a value beyond a soft limit of the schema."""
        count = 0
        for row in rows if self._soft else ():
            for name, low, high in self._soft:
                value = row.get(name)
                if value is not None and not low <= value <= high:
                    count += 1
                    break
        return count

    def _raw_rows(self, document: Any) -> list[Any]:
        if not isinstance(document, dict):
            raise Refused(
                400, "not-rows", "The body holds no rows", 'Send {"rows": [{...}]} or one row {...}'
            )
        if "rows" not in document or "rows" in self.features:
            return [document]
        rows = document["rows"]
        if len(document) > 1 or not isinstance(rows, list) or not rows:
            raise Refused(
                400, "not-rows", "The body holds no rows",
                '"rows" must be the only key and a list of at least one row',
            )  # fmt: skip
        if len(rows) > self.max_rows:
            raise Refused(
                413, "too-many-rows", "Too many rows",
                f"{len(rows)} rows in one request, {self.max_rows} are allowed",
            )  # fmt: skip
        return rows

    def check(self, rows: list[Any]) -> list[Row]:
        """`rows` with checked values; Refused (422) names row and field of each fault."""
        try:
            return self._rows.validate_python(rows)
        except ValidationError as error:
            # A union reports one fault a member; a caller wants one a field.
            every = error.errors(include_url=False, include_input=False)
            faults = list({fault["loc"][:2]: fault for fault in every}.values())
            errors = [self._fault(f) for f in faults[:MAX_ERRORS]]
            more = f", {len(faults) - MAX_ERRORS} more are not listed" * (len(faults) > MAX_ERRORS)
            first = errors[0]
            raise Refused(
                422, "invalid-rows", "Rows break the schema",
                f"row {first['row']}, {first['field'] or 'the row'}: {first['reason']}{more}",
                errors,
            ) from error  # fmt: skip

    def _fault(self, fault: Mapping[str, Any]) -> Row:
        location = fault["loc"]
        field = str(location[1])[:MAX_ID] if len(location) > 1 else None
        return {"row": location[0], "field": field, "reason": self._reason(fault, field)}

    def _reason(self, fault: Mapping[str, Any], field: str | None) -> str:
        kind, context = fault["type"], fault.get("ctx", {})
        column = self.schema.by_name.get(field or "")
        if kind == "extra_forbidden":
            return "is no feature of this model" if column else "is not known"
        if kind == "missing":
            return "is missing"
        if kind == "greater_than_equal":
            return f"must be at least {context['ge']:g}"
        if kind == "less_than_equal":
            return f"must be at most {context['le']:g}"
        if kind == "finite_number":
            return "must be a finite number"
        if kind == "literal_error" and column is not None:
            return f"must be one of {', '.join(column.categories or ())}"
        if kind == "string_too_long":
            return f"must have at most {context['max_length']} characters"
        if kind == "value_error":
            return str(context["error"])
        if kind.startswith("dict") or field is None:
            return "must be an object of columns and values"
        if field in (self.schema.row_id, self.schema.entity):
            return "must be a text or a whole number"
        return f"must be {_article(column.type) if column else 'a text or a whole number'}"


def _or(limit: float | None, other: float) -> float:
    return other if limit is None else limit


def _refuse_twins(body: bytes) -> None:
    """Raise Refused where an object of this JSON, which parsed, has a key twice."""

    def look(pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) == len(pairs):
            return
        seen: set[str] = set()
        twin = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Refused(
            400, "twin-keys", "A key stands twice", f"{twin[:MAX_ID]!r} stands twice in one object"
        )

    json.loads(body, object_pairs_hook=look)


def _article(kind: str) -> str:
    return {
        "number": "a number",
        "integer": "a whole number",
        "bool": "true or false",
    }.get(kind, "a text")


def _where(error: ValueError) -> str:
    # jiter's message says what and where ("expected value at line 1 column 5"), never the value.
    return str(error)[:200]
