"""YAML that a person edits, read into frozen models; a complaint names file, line and remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mainline.errors import SettingsError

Key = tuple[str | int, ...]


class Section(BaseModel):
    """A frozen part of a settings file: unknown keys, NaN and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


def load_yaml(path: Path, model: type[Model]) -> Model:
    """Read `path` into `model`.

    Raises SettingsError (22) with `file:line`, the cause and the nearest right key when the file
    is missing, empty, not UTF-8, not YAML, or does not fit the model.
    """
    return parse_yaml(read_text(path), path.name, model)


def read_text(path: Path) -> str:
    """The UTF-8 text of a settings file; SettingsError when it cannot be had."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise SettingsError(
            f"{path.name} was not found in {path.parent.name or path.parent}",
            "Run the command at the root of the repository, or restore the file from Git",
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name} is not UTF-8", "Save it as UTF-8") from error
    except OSError as error:
        raise SettingsError(f"{path.name} could not be read ({error.strerror})") from error
    return text


def parse_yaml(text: str, name: str, model: type[Model]) -> Model:
    """Parse the YAML `text` of the file called `name` into `model`; raises like `load_yaml`."""
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
        document = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise SettingsError(f"{where}: not valid YAML: {problem}", "Mend this line") from error
    if not isinstance(document, dict) or node is None:
        raise SettingsError(f"{name} is empty", "Restore it from Git or start from the docs")
    lines = dict(_lines(node, ()))
    duplicate = next(_duplicates(node), None)
    if duplicate:
        raise SettingsError(f"{name}:{duplicate[1]}: {duplicate[0]!r} stands twice", "Remove one")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise _explain(error, name, lines, model, text) from error


def _lines(node: yaml.Node, path: Key) -> Iterator[tuple[Key, int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, key.value)
            yield from _lines(value, here)
            yield here, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, index))


def _duplicates(node: yaml.Node) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.value, key.start_mark.line + 1
            seen.add(key.value)
            yield from _duplicates(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _duplicates(value)


def _explain(
    error: ValidationError, name: str, lines: dict[Key, int], model: type[BaseModel], text: str
) -> SettingsError:
    # A mistyped key is also a missing one; the mistake is what the reader wants to hear of.
    found = error.errors(include_url=False)
    first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
    location: Key = tuple(first["loc"])
    known = next((location[:n] for n in range(len(location), -1, -1) if location[:n] in lines), ())
    where = f"{name}:{_line_of(first['msg'], lines.get(known, 1), text)}"
    dotted = ".".join(str(p) for p in location) or "the file"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        names = list(_fields_at(model, location[:-1]))
        near = difflib.get_close_matches(str(location[-1]), names, n=1, cutoff=0.5)
        remedy = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(names)}"
        return SettingsError(f"{where}: unknown key {dotted!r}{more}", remedy)
    if first["type"] == "missing":
        return SettingsError(f"{where}: {dotted!r} is missing{more}", f"Add {dotted!r}")
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] == "literal_error":
        options = [str(o) for o in first["ctx"]["expected"].replace("'", "").split(", ")]
        near = difflib.get_close_matches(str(first["input"]), options, n=1, cutoff=0.5)
        said += f", not {first['input']!r}"
        if near:
            return SettingsError(f"{where}: {dotted}: {said}{more}", f"Did you mean {near[0]!r}?")
    return SettingsError(f"{where}: {dotted}: {said}{more}", "Mend this line")


def _line_of(message: str, section: int, text: str) -> int:
    """The line of the value that `message` quotes, below the line of its section."""
    quoted = re.search(r"'([^']+)'", message)
    if quoted and message.startswith("Value error"):
        word = re.compile(rf"(?<![\w-]){re.escape(quoted[1])}(?![\w-])")
        for number, line in enumerate(text.splitlines(), start=1):
            if number >= section and word.search(line.partition(" #")[0]):
                return number
    return section


def _fields_at(model: type[BaseModel], location: Key) -> list[str]:
    """The field names of the model that `location` leads to, through lists and optionals."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part)
        if field is None:
            return []
        found = [t for t in _types(field.annotation) if issubclass(t, BaseModel)]
        if not found:
            return []
        current = found[0]
    return list(current.model_fields)


def _types(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _types(argument)
