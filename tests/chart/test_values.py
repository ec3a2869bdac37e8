"""The values' schema: every value is in it and told, and what is wrong is refused in words."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, helm

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def test_every_value_is_in_the_schema_and_described() -> None:
    def look(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        assert schema["additionalProperties"] is False, path
        assert set(values) == set(schema["properties"]) - {"global"}, path
        for name, part in schema["properties"].items():
            if "description" in part:
                assert len(part["description"]) > 5, f"{path}.{name}"
            else:
                look(values[name], part, f"{path}.{name}")

    look(VALUES, SCHEMA, "values")


def test_values_for_charts_above_this_one_pass() -> None:
    helm("template", "canari", str(CHART), "--set=global.anything=1")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("feedback.replicas=none", "'/feedback/replicas': got string, want integer"),
        ("feedback.replicas=0", "'/feedback/replicas': minimum: got 0, want 1"),
        ("feedback.replica=2", "additional properties 'replica' not allowed"),
        ("image.pullPolicy=Sometimes", "value must be one of 'Always', 'IfNotPresent', 'Never'"),
        ("image.tag=latest", "'/image/tag'"),
        ("images.platform.digest=sha256:beef", "'/images/platform/digest': 'sha256:beef' does not match pattern"),
        ("archives.size=ten", "'/archives/size': 'ten' does not match pattern"),
        ("archives.accessMode=ReadOnlyMany", "value must be one of 'ReadWriteOnce', 'ReadWriteMany'"),
        ("gateway.port=70000", "'/gateway/port': maximum: got 70,000, want 65,535"),
        ("gateway.uploadTimeout=forever", "'/gateway/uploadTimeout': 'forever' does not match pattern"),
        ("externalDatabase.url=mysql://db.example/canari", "'/externalDatabase/url'"),
        ("portal.resources.limits=null", "missing property 'limits'"),
        ("logLevel=loud", "'/logLevel': value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
        ("portal.pod.extraEnv[0].value=x", "missing property 'name'"),
    ],
)
def test_a_wrong_value_is_refused_by_its_path(option: str, said: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        helm("template", "canari", str(CHART), f"--set={option}")
    assert said in refused.value.stderr
