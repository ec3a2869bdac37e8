"""Reading `model.yaml`: a wrong file is refused with the line, the field and what is allowed there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from canari.errors import CanariError
from canari.spec import ModelSpec


class SpecError(CanariError):
    """A specification that does not hold; the message has one line per fault, as ``file:line: field: fault``."""


def load_spec(path: Path) -> ModelSpec:
    """Read a `model.yaml` (or a folder that holds one); raises SpecError."""
    file = path / "model.yaml" if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        msg = f"{file}: there is no such file; a model family's folder holds its specification as model.yaml"
        raise SpecError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{file}: cannot be read as UTF-8 text: {error}"
        raise SpecError(msg) from error
    return parse_spec(text, str(file))


def parse_spec(text: str, name: str = "model.yaml") -> ModelSpec:
    """The specification a YAML text holds; `name` stands for the file in messages. Raises SpecError."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        msg = f"{name}:{line}: this is not YAML: {error.problem}"
        raise SpecError(msg) from error
    except yaml.YAMLError as error:
        msg = f"{name}:1: this is not YAML: {error}"
        raise SpecError(msg) from error
    if not isinstance(values, dict) or not isinstance(node, yaml.MappingNode):
        msg = f"{name}:1: a specification is a mapping of fields, starting with `name:`"
        raise SpecError(msg)
    _refuse_duplicates(node, name)
    try:
        return ModelSpec.model_validate(values)
    except ValidationError as error:
        faults = (_fault(fault) for fault in error.errors())
        raise SpecError("\n".join(f"{name}:{_line(node, place)}: {told}" for place, told in faults)) from None


def read_spec(values: object) -> ModelSpec:
    """The specification that values hold which are in no file; raises SpecError, a line per fault: ``field: fault``."""
    try:
        return ModelSpec.model_validate(values)
    except ValidationError as error:
        raise SpecError("\n".join(told for _, told in map(_fault, error.errors()))) from None


def _refuse_duplicates(node: yaml.Node, name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, child in node.value:
            if key.value in seen:
                msg = f"{name}:{key.start_mark.line + 1}: {key.value}: this field is written twice"
                raise SpecError(msg)
            seen.add(key.value)
            _refuse_duplicates(child, name)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _refuse_duplicates(child, name)


def _fault(fault: Any) -> tuple[list[object], str]:
    """Where a fault is, and what it is."""
    location = [part for part in fault["loc"] if not _is_union_tag(part)]
    field = ".".join(str(part) for part in location)
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        siblings = _fields_beside(location)
        message = f"there is no such field; the fields here are: {', '.join(siblings)}" if siblings else message
    elif fault["type"] == "missing":
        message = "this field is required"
    elif fault["type"] == "string_type" and isinstance(fault["input"], bool | int | float):
        message = f"{message}; YAML reads {fault['input']!r} here, so write it in quotes"
    elif not isinstance(fault["input"], dict | list):
        message = f"{message} (it is {fault['input']!r})"
    return location, f"{field or 'the specification'}: {message}"


def _is_union_tag(part: object) -> bool:
    """Pydantic puts the tried alternative of a union into the location; no field is called so."""
    return isinstance(part, str) and (part.startswith(("literal[", "constrained-")) or part in {"int", "[key]"})


def _line(node: yaml.Node, location: Sequence[object]) -> int:
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                return line
            key, node = found
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line


def _fields_beside(location: Sequence[object]) -> list[str]:
    schema = ModelSpec.model_json_schema()
    part = schema
    for step in location[:-1]:
        part = part.get("properties", {}).get(str(step), {})
        options = [part, *part.get("anyOf", [])]
        reference = next((o["$ref"] for o in options if "$ref" in o), None)
        if reference:
            part = schema["$defs"][reference.rsplit("/", 1)[1]]
    return sorted(part.get("properties", {}))
