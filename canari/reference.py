"""The reference pages that follow from the code: ``python -m canari.reference docs/reference`` writes them anew."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml
from pydantic import BaseModel

from canari.cli import app
from canari.spec import ModelSpec
from canari.spec_parts import Part

_NOTE = "<!-- Written by `make docs`, from the code: change it there. -->\n\n"
_MODEL_YAML = """\
# model.yaml

Everything Canari knows of a model family lies in one file, `bentos/NAME/model.yaml`. A wrong file is refused with the
line, the field, and what is allowed there: check one with `canari spec check PATH`. Editors that know JSON Schema can
take it from `canari spec schema`.

The smallest one that holds:

```yaml
name: drift
title: {fr: Dérive, en: Drift}
input: {kind: tabular, features: [x1, x2]}
labels: [below, above]
```

Durations are a whole number and a unit: `500ms`, `30s`, `10m`, `12h`, `14d`. Fields without a default are
required; where the default is "its own", the part may be left out, and its fields take theirs.

Today's platform reads and keeps all of it, and acts on everything but `triggers` (versions are trained by hand so far)
and `data` (no input is kept yet, and a version learns from what the team gives it).
"""


def pages() -> dict[str, str]:
    """Each page's file name and text."""
    return {"cli.md": _NOTE + _cli(), "model-yaml.md": _NOTE + _model_yaml()}


def _cli() -> str:
    from typer.cli import get_docs_for_click

    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="canari"), name="canari")
    return str(text).strip() + "\n"


def _model_yaml() -> str:
    schema = ModelSpec.model_json_schema()
    classes = {part.__name__: part for part in _below(Part)}
    parts: list[str] = []
    _collect(schema, schema["$defs"], parts)
    tables = [_table("The file itself", ModelSpec, schema, schema["$defs"])]
    tables += [_table(f"`{name}`", classes[name], schema["$defs"][name], schema["$defs"]) for name in parts]
    return "\n".join([_MODEL_YAML, *tables])


def _below(part: type[Part]) -> Iterator[type[Part]]:
    for found in part.__subclasses__():
        yield found
        yield from _below(found)


def _collect(part: dict[str, Any], definitions: dict[str, Any], found: list[str]) -> None:
    """Every part below `part`, in the order in which it is met."""
    for field in part["properties"].values():
        values = [_values(field)] if field.get("type") == "object" else []
        for option in (field, *values, *field.get("anyOf", [])):
            name = _named(option)
            if name and "properties" in definitions[name] and name not in found:
                found.append(name)
                _collect(definitions[name], definitions, found)


def _table(title: str, model: type[BaseModel], schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    defaults = model.model_construct().model_dump(mode="json", warnings=False)
    rows = []
    for name, field in schema["properties"].items():
        part = definitions.get(_named(field) or "", {})
        default = "its own" if "properties" in part else f"`{_flow(defaults.get(name))}`"
        meaning = field.get("description") or part["description"]
        cells = [f"`{name}`", _kind(field, definitions), default if name in defaults else "", meaning]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    head = f"## {title}\n\n{schema['description']}\n\n| field | value | default | meaning |\n|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def _kind(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    name = _named(field)
    if name and "properties" in definitions[name]:
        return f"[`{name}`](#{name.lower()})"
    if name:
        return _kind(definitions[name], definitions)
    if "anyOf" in field:
        return " or ".join(_kind(option, definitions) for option in field["anyOf"])
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field["type"] == "array":
        return f"list of {_kind(field['items'] if 'items' in field else field['prefixItems'][0], definitions)}"
    return f"map to {_kind(_values(field), definitions)}" if field["type"] == "object" else _scalar(field)


def _scalar(field: dict[str, Any]) -> str:
    if field.get("pattern", "").endswith("(ms|s|m|h|d)$"):
        return "duration"
    names = {"string": "text", "null": "`null`", "boolean": "`true`, `false`"}
    matching = f" matching `{field['pattern']}`" if "pattern" in field else ""
    return names.get(field["type"], str(field["type"])) + matching + _bounds(field)


def _values(field: dict[str, Any]) -> dict[str, Any]:
    """What a map's keys lead to."""
    return dict(field.get("additionalProperties") or next(iter(field["patternProperties"].values())))


def _bounds(field: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    told = [f"{sign} {field[key]}" for key, sign in signs.items() if key in field]
    return f" {', '.join(told)}" if told else ""


def _named(schema: dict[str, Any]) -> str | None:
    reference = schema.get("$ref")
    return str(reference).rsplit("/", 1)[1] if reference else None


def _flow(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n...\n").strip()


if __name__ == "__main__":
    for file, page in pages().items():
        (Path(sys.argv[1]) / file).write_text(page, encoding="utf-8")
