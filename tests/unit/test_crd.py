from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from canari.crd import FILES, definition, specification, text
from canari.spec import ModelSpec


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_the_files_hold_what_the_code_says(file: Any) -> None:
    assert file.read_text(encoding="utf-8") == text(), "run `make manifests`"
    assert yaml.safe_load(text()) == definition()


def parts(schema: dict[str, Any], path: str = "spec") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from parts(part, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from parts(schema[key], f"{path}.*")


def test_every_field_of_a_specification_is_there_and_explained() -> None:
    found = dict(parts(specification()))
    assert set(specification()["properties"]) == set(ModelSpec.model_fields)
    assert [path for path, part in found.items() if not path.endswith("*") and "description" not in part] == []
    assert "Default: [5, 25, 50]." in found["spec.canary.steps"]["description"]


def test_nothing_is_filled_in_by_the_api_server() -> None:
    assert [path for path, part in parts(specification()) if "default" in part] == []


def test_what_may_be_left_empty_may_be_null() -> None:
    nullable = {path for path, part in parts(specification()) if part.get("nullable")}
    assert {"spec.description", "spec.input.size", "spec.canary.metrics.errors", "spec.triggers.schedule"} <= nullable
    assert "spec.labels" not in nullable


def test_models_are_listed_with_what_their_rollout_does() -> None:
    (version,) = definition()["spec"]["versions"]
    assert [column["name"].upper() for column in version["additionalPrinterColumns"]] == [
        "STABLE",
        "CANARY",
        "WEIGHT",
        "VERDICT",
        "SATISFACTION",
        "AGE",
        "PROGRESS",
        "WHY",
    ]
    assert [column["name"] for column in version["additionalPrinterColumns"] if column.get("priority")] == [
        "Progress",
        "Why",
    ]
    assert version["subresources"] == {"status": {}}
