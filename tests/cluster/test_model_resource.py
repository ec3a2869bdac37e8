"""The Model resource's schema, judged by a real API server, under a group of the test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from uuid import uuid4

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from canari.crd import definition
from canari.spec import RESERVED_NAMES, ModelSpec
from tests.cluster.tools import Kubectl, command
from tests.conftest import ROOT

SPEC: dict[str, Any] = {
    "name": "mine",
    "title": {"fr": "À moi", "en": "Mine"},
    "input": {"kind": "text"},
    "labels": ["a", "b"],
}


class Models:
    """Models as an API server takes them, without one being kept."""

    def __init__(self, namespace: Kubectl, group: str) -> None:
        self._namespace = namespace
        self._group = group

    def apply(self, *specs: dict[str, Any]) -> None:
        """Fails with the API server's words where it refuses one."""
        items = [
            {
                "apiVersion": f"{self._group}/v1alpha1",
                "kind": "Model",
                "metadata": {"name": spec["name"].replace("_", "-")},
                "spec": spec,
            }
            for spec in specs
        ]
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        self._namespace("apply", "--dry-run=server", "--filename=-", given=document)


@pytest.fixture(scope="module")
def models(kubectl: Kubectl, namespace: Kubectl) -> Iterator[Models]:
    group = f"t{uuid4().hex[:8]}.canari.dev"
    crd = json.loads(json.dumps(definition()).replace("canari.dev", group))
    kubectl("apply", "--server-side", "--filename=-", given=json.dumps(crd))
    kubectl("wait", "--for=condition=Established", f"crd/models.{group}")
    yield Models(namespace, group)
    kubectl("delete", f"crd/models.{group}")


@pytest.mark.parametrize("family", ["cats_dogs", "drift"])
def test_a_familys_model_yaml_is_a_models_spec(models: Models, family: str) -> None:
    models.apply(yaml.safe_load((ROOT / "bentos" / family / "model.yaml").read_text(encoding="utf-8")))


def changed(path: str, value: Any) -> dict[str, Any]:
    spec = deepcopy(SPEC)
    *above, last = path.split(".")
    part = spec
    for step in above:
        part = part.setdefault(step, {})
    part[last] = value
    return spec


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("canary.stepz", [5], "stepz"),
        ("labels", ["a"], "spec.labels in body should have at least 2 items"),
        ("labels", [True, False], "spec.labels[0] in body must be of type string"),
        ("input.kind", "video", 'supported values: "image", "text", "audio", "tabular"'),
        ("input.kind", "image", "an image input needs `size: [height, width]`, each from 1 to 4096"),
        ("input", {"kind": "image", "size": [180, 5000]}, "each from 1 to 4096"),
        ("input.kind", "tabular", "a tabular input needs `features: [name, ...]`"),
        ("serving.timeout", "10 minutes", "should match '^\\d+(ms|s|m|h|d)$'"),
        ("serving.replicas", {"min": 3, "max": 2}, "`max` is less than `min`"),
        ("serving.resources", {"limits": {"cpu": "1", "memory": "1 GB"}}, "spec.serving.resources.limits.memory"),
        ("canary.steps", [50, 25], "`steps` are rising percentages; `shadow` may only come first"),
        ("canary.steps", [5, "shadow"], "`shadow` may only come first"),
        ("canary.steps", [], "`steps` are rising percentages"),
        ("canary.alpha", 0.5, "should be less than 0.5"),
        ("evaluation.threshold", 1.5, "should be less than or equal to 1"),
        ("name", "status", "these are routes of the platform"),
    ],
)
def test_a_typical_mistake_is_refused_in_words_that_help(models: Models, path: str, value: Any, told: str) -> None:
    wrong = changed(path, value)
    with pytest.raises(ValidationError):
        ModelSpec.model_validate(wrong)
    with pytest.raises(AssertionError) as refused:
        models.apply(wrong)
    assert told in str(refused.value)


def test_a_model_is_called_as_its_specification_says(namespace: Kubectl, models: Models) -> None:
    models.apply(changed("name", "my_own"))
    document = {
        "apiVersion": f"{models._group}/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "other"},
        "spec": changed("name", "my_own"),
    }
    with pytest.raises(AssertionError, match=r"metadata\.name is spec\.name with - for _: my-own"):
        namespace("apply", "--dry-run=server", "--filename=-", given=json.dumps(document))


def test_explain_tells_what_a_field_means(models: Models) -> None:
    told = command("kubectl", "explain", f"models.{models._group}.spec.canary.steps")
    assert "step by step" in told
    assert "Default: [5, 25, 50]." in " ".join(told.split())


# Kubernetes' own names end in a letter or a digit.
names = st.from_regex(r"[a-z][a-z0-9_]{0,38}[a-z0-9]", fullmatch=True).filter(lambda name: name not in RESERVED_NAMES)
durations = st.builds("{}{}".format, st.integers(0, 10_000), st.sampled_from(["ms", "s", "m", "h", "d"]))
shares = st.floats(0, 1)
texts = st.fixed_dictionaries({"fr": st.text("éa1 ", min_size=1), "en": st.text("b' :", min_size=1)})
labels = st.from_regex(r"[a-zé0-9'#:\\][a-zé0-9'#:\\ ]{0,79}", fullmatch=True)
margins = st.none() | st.fixed_dictionaries({"margin": shares}, optional={"required": st.booleans()})
quantities = st.fixed_dictionaries(
    {
        "cpu": st.from_regex(r"[0-9]{1,3}m|[0-9]\.[0-9]{1,3}|[0-9]", fullmatch=True),
        "memory": st.builds("{}{}".format, st.integers(1, 999), st.sampled_from(["Ki", "Mi", "Gi", "M"])),
    }
)
sizes = st.tuples(st.integers(1, 4096), st.integers(1, 4096)).map(list)
inputs = (
    st.fixed_dictionaries({"kind": st.just("image"), "size": sizes})
    | st.fixed_dictionaries({"kind": st.just("tabular"), "features": st.lists(labels, min_size=1, unique=True)})
    | st.fixed_dictionaries({"kind": st.sampled_from(["text", "audio"])}, optional={"size": st.none()})
)
steps = st.builds(
    lambda first, weights: [*first, *sorted(weights)],
    st.sampled_from([[], ["shadow"]]),
    st.sets(st.integers(1, 100), min_size=1),
)


def can_be_judged(canary: dict[str, Any]) -> bool:
    """A shadow is judged by its errors alone."""
    return canary["steps"][0] != "shadow" or canary.get("metrics", {}).get("errors", True) is not None


specs = st.fixed_dictionaries(
    {
        "name": names,
        "title": texts,
        "input": inputs,
        "labels": st.lists(labels, min_size=2, max_size=20, unique=True),
    },
    optional={
        "description": st.none() | texts,
        "abstain": st.none() | st.fixed_dictionaries({"below": shares, "label": labels}),
        "serving": st.fixed_dictionaries(
            {},
            optional={
                "timeout": durations,
                "batch": st.integers(1, 1024),
                "replicas": st.fixed_dictionaries(
                    {"min": st.integers(1, 9)}, optional={"max": st.none() | st.integers(9, 1000)}
                ),
                "resources": st.fixed_dictionaries({"requests": quantities}),
            },
        ),
        "canary": st.fixed_dictionaries(
            {"steps": steps},
            optional={
                "bake": durations,
                "alpha": st.floats(0.001, 0.499),
                "metrics": st.fixed_dictionaries({}, optional={"errors": margins, "accuracy": margins}),
            },
        ).filter(can_be_judged),
        "triggers": st.fixed_dictionaries(
            {}, optional={"drift": st.none() | shares, "schedule": st.text("0 *", min_size=1)}
        ),
        "data": st.fixed_dictionaries({"train_on": st.sampled_from(["own", "curated", "confident"])}),
        "access": st.fixed_dictionaries({"anonymous": st.booleans()}),
    },
)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(given_specs=st.lists(specs, min_size=10, max_size=10))
def test_what_the_platform_accepts_the_api_server_accepts(models: Models, given_specs: list[dict[str, Any]]) -> None:
    whole = [ModelSpec.model_validate(spec).document() for spec in given_specs]
    models.apply(*given_specs, *whole)
