"""`python -m tests.chart.definitions FILE...`: JSON Schemas for kubeconform, from CustomResourceDefinitions in YAML.

The schemas beside this module were made so from the definitions of Gateway API 1.6, Envoy Gateway 1.9 and
prometheus-operator 0.85, which know what the chart writes for them. Texts are left out; unknown fields are faults.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "schemas"


def schemas(definition: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A strict JSON Schema for each version of a CustomResourceDefinition, with the file name kubeconform looks for."""
    spec = definition["spec"]
    for version in spec["versions"]:
        schema = _strict(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        group = spec["group"].partition(".")[0]
        yield f"{spec['names']['kind'].lower()}-{group}-{version['name']}.json", schema


def standalone(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema of Kubernetes' own whose references lie in another file, made one that holds what it refers to."""
    held: dict[str, Any] = {}

    def local(node: Any) -> Any:
        if isinstance(node, list):
            return [local(item) for item in node]
        if not isinstance(node, dict):
            return node
        if isinstance(reference := node.get("$ref"), str):
            name = reference.rpartition("/")[2]
            if name not in held:
                held[name] = {}  # a definition may refer to itself
                held[name] = local(definitions[name])
            return {"$ref": f"#/$defs/{name}"}
        return {key: local(value) for key, value in node.items()}

    return {**local(schema), "$defs": held}


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: {name: _strict(part) for name, part in value.items()} if key == "properties" else _strict(value)
        for key, value in node.items()
        if not key.startswith("x-kubernetes") and key not in {"description", "default"}
    }
    if node.get("x-kubernetes-int-or-string"):
        kept.pop("type", None)
    elif "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        kept["additionalProperties"] = False
    return kept


def main() -> None:
    """Write the schemas of the definitions in the named files."""
    for file in sys.argv[1:]:
        for document in yaml.safe_load_all(Path(file).read_text()):
            for name, schema in schemas(document):
                (FOLDER / name).write_text(json.dumps(schema, sort_keys=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
