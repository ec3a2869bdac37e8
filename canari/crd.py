"""The Model resource's definition, made from ModelSpec: ``python -m canari.crd`` writes its files anew.

Kubernetes wants a *structural* schema in OpenAPI v3's dialect, which knows no references, no `const` and no `null`
(https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema).
It holds no defaults: what the API server fills in would stay in stored objects when the platform's defaults change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from canari.spec import RESERVED_NAMES, ModelSpec

GROUP, VERSION, PLURAL = "canari.dev", "v1alpha1", "models"
_ROOT = Path(__file__).resolve().parent.parent
FILES = (_ROOT / "k8s" / "crd.yaml", _ROOT / "helm" / "canari" / "files" / f"{PLURAL}.{GROUP}.yaml")
_KEPT = frozenset(
    {"description", "enum", "format", "maxItems", "maximum", "maxLength", "minItems", "minimum", "minLength"}
    | {"nullable", "pattern", "type", "x-kubernetes-int-or-string"}
)
Schema = dict[str, Any]


def _rule(rule: str, message: str) -> Schema:
    return {"rule": rule, "message": message}


# What pydantic's validators hold across fields, in the words they say it with, by the path of the part they stand on.
# What would cost the API server too much is left to the controller: that labels differ, that titles belong to labels.
_RULES: dict[str, list[Schema]] = {
    "name": [
        _rule(
            f"!(self in {json.dumps(sorted(RESERVED_NAMES))})",
            f"a model may not be called {', '.join(sorted(RESERVED_NAMES))}: these are routes of the platform",
        )
    ],
    "input": [
        _rule(
            "self.kind != 'image' || (has(self.size) && self.size.all(n, n >= 1 && n <= 4096))",
            "an image input needs `size: [height, width]`, each from 1 to 4096",
        ),
        _rule(
            "self.kind != 'tabular' || (has(self.features) && self.features.size() > 0)",
            "a tabular input needs `features: [name, ...]`",
        ),
    ],
    "serving.replicas": [
        _rule(
            "!has(self.max) || self.max >= (has(self.min) ? self.min : 1)",
            "`max` is less than `min`: give the most pods that may be, or leave `max` out",
        )
    ],
    "canary.steps": [
        _rule(
            "self.exists(s, type(s) == int)"
            " && self.filter(s, type(s) == int).map(s, int(s)).isSorted()"
            " && self.all(s, self.exists_one(t, t == s))"
            " && (!('shadow' in self) || self[0] == 'shadow')",
            "`steps` are rising percentages; `shadow` may only come first: [shadow, 5, 25, 50]",
        )
    ],
}
_NAMED = {
    "rule": "self.metadata.name == self.spec.name.replace('_', '-')",
    "messageExpression": "'metadata.name is spec.name with - for _: ' + self.spec.name.replace('_', '-')",
    "message": "metadata.name is spec.name with - for _",
}
# Bounds that a specification keeps anyway and that let the API server reckon what a rule may cost.
_BOUNDS: dict[str, Schema] = {"canary.steps": {"maxItems": 101}, "input.features": {"maxItems": 10_000}}


def _column(name: str, kind: str, path: str) -> Schema:
    return {"name": name, "type": kind, "jsonPath": path}


_PROGRESS = '.status.conditions[?(@.type=="Progressing")]'
_COLUMNS = [
    _column("Stable", "integer", ".status.stable"),
    _column("Canary", "integer", ".status.canary"),
    _column("Weight", "integer", ".status.weight"),
    _column("Verdict", "string", ".status.verdict"),
    _column("Satisfaction", "string", ".status.satisfaction"),
    _column("Age", "date", ".metadata.creationTimestamp"),
    # Shown by `kubectl get models --output=wide` alone.
    _column("Progress", "string", f"{_PROGRESS}.reason") | {"priority": 1},
    _column("Why", "string", f"{_PROGRESS}.message") | {"priority": 1},
]


def _integer(description: str) -> Schema:
    return {"type": "integer", "format": "int64", "description": description}


def _string(description: str) -> Schema:
    return {"type": "string", "description": description}


# https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md
_CONDITION = {
    "type": "object",
    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
    "properties": {
        "type": _string("Accepted, VersionsReady, TrafficSplit or Progressing."),
        "status": _string("True, False or Unknown.") | {"enum": ["True", "False", "Unknown"]},
        "observedGeneration": _integer("The generation of the specification it speaks of."),
        "lastTransitionTime": _string("Since when it has this status.") | {"format": "date-time"},
        "reason": _string("Why, for machines."),
        "message": _string("Why, for people."),
    },
}
_STATUS = {
    "type": "object",
    "description": "What the controller made of it; never read back.",
    "properties": {
        "observedGeneration": _integer("The generation of the specification that the controller saw last."),
        "stable": _integer("The version that serves."),
        "canary": _integer("The version on trial, while a rollout is open."),
        "weight": _integer("The canary's part of the traffic, in percent."),
        "verdict": _string(
            "What the judge says of the open rollout, as hold; else what was decided last, as promoted."
        ),
        "satisfaction": _string("The part of the last day's feedbacks that say right."),
        "url": _string("Where predictions are asked for."),
        "conditions": {
            "type": "array",
            "items": _CONDITION,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    },
}


def definition() -> Schema:
    """The CustomResourceDefinition."""
    root = {
        "type": "object",
        "description": "A model that Canari serves. Its versions come from `canari push`; their traffic is split here.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": specification(),
            "status": _STATUS,
        },
        "x-kubernetes-validations": [_NAMED],
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": root},
        "subresources": {"status": {}},
        "additionalPrinterColumns": _COLUMNS,
    }
    names = {"kind": "Model", "listKind": "ModelList", "plural": PLURAL, "singular": "model", "shortNames": ["mdl"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def specification() -> Schema:
    """ModelSpec as a structural schema."""
    schema = ModelSpec.model_json_schema()
    return _structural(schema, schema["$defs"], "")


def text() -> str:
    """The definition as its files hold it."""
    note = "# Written by `make manifests`, from canari/spec.py and canari/crd.py: change it there.\n"
    return note + yaml.safe_dump(definition(), sort_keys=False, allow_unicode=True, width=120)


def _structural(schema: Schema, definitions: Schema, path: str) -> Schema:
    """One part of a JSON Schema, and all below it. `path` leads to it from the specification."""
    schema = _resolved(schema, definitions)
    found = {key: value for key, value in schema.items() if key in _KEPT}
    if "default" in schema and schema["default"] not in (None, [], {}):
        found["description"] = f"{schema['description']} Default: {json.dumps(schema['default'], ensure_ascii=False)}."
    if "const" in schema:
        found["enum"] = [schema["const"]]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in schema:
            found |= {bound: schema[exclusive], exclusive: True}
    if "properties" in schema:
        found["properties"] = {
            name: _structural(part, definitions, f"{path}.{name}".removeprefix("."))
            for name, part in schema["properties"].items()
        }
        found |= {"required": list(schema["required"])} if "required" in schema else {}
    elif schema.get("type") == "object":
        (values,) = schema["patternProperties"].values()
        found["additionalProperties"] = _structural(values, definitions, f"{path}.*")
    elif schema.get("type") == "array":
        items = schema["items"] if "items" in schema else schema["prefixItems"][0]
        found["items"] = _structural(items, definitions, f"{path}[]")
    if path in _RULES:
        found["x-kubernetes-validations"] = _RULES[path]
    return found | _BOUNDS.get(path, {})


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """A part without its reference and its `anyOf`; what stands beside them goes before what they lead to."""
    beside = {key: value for key, value in schema.items() if key not in {"$ref", "anyOf"}}
    if "$ref" in schema:
        return {**definitions[schema["$ref"].rsplit("/", 1)[1]], **beside}
    if "anyOf" not in schema:
        return schema
    options = [option for option in schema["anyOf"] if option != {"type": "null"}]
    if len(options) == 1:
        return _resolved(options[0], definitions) | beside | {"nullable": True}
    # A word or a number. Each bound speaks to its own type only.
    (word,) = [option["const"] for option in options if "const" in option]
    (number,) = [option for option in options if option["type"] == "integer"]
    bounds = {key: value for key, value in number.items() if key != "type"}
    return beside | bounds | {"pattern": f"^{word}$", "maxLength": len(word), "x-kubernetes-int-or-string": True}


if __name__ == "__main__":
    for file in FILES:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text(), encoding="utf-8")
