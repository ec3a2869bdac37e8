"""`python helm/generate.py [--check]`: write what follows from the chart and its values. Needs `helm` on the path.

values.schema.json and README.md follow from the comments of values.yaml, k8s/canari.yaml from the templates; the
chart's files/monitoring is a copy of monitoring/, because a chart holds no file of elsewhere.

A value's description is the comment above it that starts with `# --`. A line `# @schema {...}` adds JSON Schema
keywords (as YAML) to what follows from the value itself.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CHART = Path(__file__).resolve().parent / "canari"
MONITORING = CHART.parents[1] / "monitoring"
COPIED = ("prometheus", "rules", "alertmanager", "grafana")
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_AMOUNTS = {"type": "object", "additionalProperties": {"type": ["string", "number"], "pattern": _QUANTITY}}
_DEFS: dict[str, Any] = {
    "strings": {"type": "object", "additionalProperties": {"type": "string"}},
    "named": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}},
    "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "quantity": {"type": "string", "pattern": _QUANTITY},
    "cidr": {"type": "string", "pattern": r"^[0-9a-fA-F.:]+/[0-9]{1,3}$"},
    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "postgresUrl": {"type": "string", "pattern": r"^(postgresql(\+psycopg2)?://.+)?$"},
    "s3Url": {"type": "string", "pattern": "^(s3://[^/]+.*)?$"},
    "resources": {
        "type": "object",
        "additionalProperties": False,
        "required": ["requests", "limits"],
        "properties": {part: {**_AMOUNTS, "required": ["cpu", "memory"]} for part in ("requests", "limits")},
    },
}
_PLAIN = """\
# Canari for a cluster, for those without Helm. Written from helm/canari by `make manifests`: change it there.
# README.md beside this file tells what to do first."""
_HOOKS = re.compile("^    app.kubernetes.io/component: (leave|probe)$", re.MULTILINE)
_TYPES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
}


class Value(NamedTuple):
    """A key of values.yaml: its dotted path, its default, what its comment says and which schema it adds."""

    path: str
    default: Any
    description: str
    schema: dict[str, Any]


def documented(text: str) -> list[Value]:
    """Every documented value of a values.yaml, in its order."""
    tree = yaml.compose(text)
    assert tree is not None
    return list(_documented(tree, text.splitlines(), yaml.safe_load(text), ""))


def _documented(node: yaml.Node, lines: list[str], values: dict[str, Any], prefix: str) -> Iterator[Value]:
    assert isinstance(node, yaml.MappingNode)
    for key, child in node.value:
        path, default = f"{prefix}{key.value}", values[key.value]
        description, schema = _comment(lines, key.start_mark.line)
        if description:
            yield Value(path, default, description, schema)
        elif isinstance(child, yaml.MappingNode):
            yield from _documented(child, lines, default, f"{path}.")
        else:
            msg = f"{path} has no description: put a comment `# -- ...` above it in values.yaml"
            raise ValueError(msg)


def _comment(lines: list[str], line: int) -> tuple[str, dict[str, Any]]:
    first = line
    while first and lines[first - 1].strip().startswith("#"):
        first -= 1
    words: list[str] = []
    schema: dict[str, Any] = {}
    for text in (entry.strip().removeprefix("#").strip() for entry in lines[first:line]):
        if text.startswith("@schema"):
            schema = yaml.safe_load(text.removeprefix("@schema"))
        elif text.startswith("--") or words:
            words.append(text.removeprefix("--").strip())
    return " ".join(words), schema


def schema(values: list[Value]) -> dict[str, Any]:
    """The values' JSON Schema (draft 7: every Helm 3 knows it). What is not named is refused, except under `global`."""
    root = _object()
    root["properties"]["global"] = {"type": "object", "description": "Left to charts that hold this one."}
    for value in values:
        *folders, name = value.path.split(".")
        place = root
        for folder in folders:
            place = place["properties"].setdefault(folder, _object())
        place["properties"][name] = _schema(value)
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Canari", **root, "definitions": _DEFS}


def _object() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _schema(value: Value) -> dict[str, Any]:
    described: dict[str, Any] = {"description": value.description}
    if "$ref" not in value.schema:
        described["type"] = _TYPES[type(value.default)]
    return {**described, **value.schema, "default": value.default}


def readme(values: list[Value], chart: dict[str, Any], text: str) -> str:
    """The chart's README: `text`, and a table of its values."""
    rows = [f"| `{v.path}` | `{json.dumps(v.default)}` | {v.description} |" for v in values]
    table = "\n".join(["| value | default | meaning |", "|---|---|---|", *rows])
    return text.replace("{version}", chart["version"]).replace("{values}", table)


def plain() -> str:
    """The chart's manifests for those without Helm: no hooks, and a Secret that they make themselves."""
    options = ["--namespace=canari", "--no-hooks", "--set=samples.install=false", "--set=existingSecret=canari-secrets"]
    # The schema that lies there is the one before this change; without a cluster, Helm takes its own version for one's.
    options += ["--set=gateway.envoyPolicies=always", "--skip-schema-validation", "--kube-version=1.30.0"]
    command = ["helm", "template", "canari", str(CHART), *options]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    documents = (part.strip() for part in re.split(r"^---$", text, flags=re.MULTILINE))
    kept = [part for part in documents if part and not _HOOKS.search(part)]
    return "\n---\n".join([_PLAIN, *(re.sub(r"\n{2,}", "\n", part) for part in kept)]) + "\n"


def rendered() -> dict[Path, str]:
    """What the generated files must hold."""
    values = documented((CHART / "values.yaml").read_text())
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    text = (CHART.parent / "README.md.in").read_text()
    copies = [file for folder in COPIED for file in sorted((MONITORING / folder).rglob("*")) if file.is_file()]
    return {
        **{CHART / "files" / "monitoring" / file.relative_to(MONITORING): file.read_text() for file in copies},
        CHART / "values.schema.json": json.dumps(schema(values), indent=1, ensure_ascii=False) + "\n",
        CHART / "README.md": readme(values, chart, text),
        CHART.parents[1] / "k8s" / "canari.yaml": plain(),
    }


def main() -> None:
    """Write the files; with `--check`, say which of them are behind instead, and fail."""
    behind = {path: text for path, text in rendered().items() if not path.exists() or path.read_text() != text}
    if "--check" in sys.argv[1:]:
        if behind:
            sys.exit("run `make manifests`, these are behind: " + ", ".join(str(path) for path in behind))
        return
    for path, text in behind.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
