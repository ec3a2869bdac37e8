import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from canari.errors import CanariError
from canari.family import find_families, find_family
from canari.spec import ModelSpec
from canari.spec_file import SpecError, load_spec, parse_spec
from canari.spec_parts import Duration
from tests.conftest import ROOT

GOOD = """\
name: mine
title: {fr: À moi, en: Mine}
input: {kind: text}
labels: [a, b]
"""


def fault(text: str) -> str:
    with pytest.raises(SpecError) as refused:
        parse_spec(text)
    return str(refused.value)


def test_a_minimal_specification_has_sound_defaults() -> None:
    spec = parse_spec(GOOD)
    assert spec.canary.steps == (5, 25, 50)
    assert spec.data.train_on == "own"
    assert spec.data.retain_inputs == "never"
    assert not spec.access.anonymous
    assert spec.serving.timeout == timedelta(seconds=30)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: [", "model.yaml:1: this is not YAML"),
        ("- a", "model.yaml:1: a specification is a mapping"),
        (GOOD.replace("mine", "Mine"), "model.yaml:1: name: String should match pattern"),
        (GOOD.replace("name: mine", "name: " + "a" * 41), "model.yaml:1: name:"),
        (GOOD + "name: other\n", "model.yaml:5: name: this field is written twice"),
        (GOOD.replace(", en: Mine", ""), "model.yaml:2: title.en: this field is required"),
        (GOOD.replace("kind: text", "kind: video"), "model.yaml:3: input.kind: Input should be 'image', 'text'"),
        (
            GOOD.replace("kind: text", "kind: image"),
            "model.yaml:3: input: an image input needs `size: [height, width]`",
        ),
        (GOOD.replace("kind: text", "kind: tabular"), "a tabular input needs `features"),
        (GOOD.replace("kind: text", "kind: tabular, features: [x, x]"), "names one feature twice"),
        (GOOD.replace("[a, b]", "[a]"), "model.yaml:4: labels:"),
        (GOOD.replace("[a, b]", "[yes, no]"), "YAML reads True here, so write it in quotes"),
        (GOOD.replace("[a, b]", "[a, a]"), "`labels` names one label twice"),
        (GOOD + "label_titles:\n  c: {fr: c, en: c}\n", "'c', which is not one of `labels`"),
        (GOOD + "serving:\n  concurrency: 0\n", "model.yaml:6: serving.concurrency: Input should be greater"),
        (GOOD + "serving:\n  timeout: 3\n", "model.yaml:6: serving.timeout: a duration is a whole number and a unit"),
        (
            GOOD + "serving:\n  speed: 3\n",
            "the fields here are: batch, concurrency, engine, replicas, resources, timeout",
        ),
        (GOOD + "canary:\n  steps: [5, 2]\n", "model.yaml:6: canary.steps"),
        (GOOD + "canary:\n  steps: [5, shadow]\n", "`shadow` may only come first"),
        (GOOD + "canary:\n  steps: [shadow, 5]\n  metrics: {errors: null}\n", "is judged by its errors alone"),
        (GOOD + "data:\n  train_on: all\n", "model.yaml:6: data.train_on: Input should be 'own', 'curated'"),
        (GOOD + "abstain: {below: 2, label: none}\n", "model.yaml:5: abstain.below: Input should be less than"),
    ],
)
def test_a_wrong_file_is_refused_with_line_field_and_what_is_allowed(text: str, told: str) -> None:
    message = fault(text)
    assert told in message or told.removeprefix("model.yaml:6: canary.steps") in message, message


def test_every_fault_is_told_at_once() -> None:
    assert len(fault(GOOD.replace("mine", "Mine").replace("[a, b]", "[a]")).splitlines()) == 2


def test_a_missing_file_says_where_a_specification_belongs(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"holds its specification as model\.yaml"):
        load_spec(tmp_path)
    (tmp_path / "model.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="cannot be read as UTF-8"):
        load_spec(tmp_path)


def test_the_hash_tells_meaning_not_spelling() -> None:
    assert parse_spec(GOOD).hash == parse_spec(GOOD + "serving: {timeout: 30000ms}\n").hash
    assert parse_spec(GOOD).hash != parse_spec(GOOD + "serving: {timeout: 31s}\n").hash


@given(st.integers(min_value=1, max_value=10**9))
def test_durations_survive_a_round_trip(milliseconds: int) -> None:
    adapter = TypeAdapter(Duration)
    value = timedelta(milliseconds=milliseconds)
    assert adapter.validate_python(adapter.dump_python(value)) == value


def test_a_document_is_a_specification_again() -> None:
    for family in find_families(ROOT / "bentos"):
        assert ModelSpec.model_validate(family.spec.document()) == family.spec


def test_every_field_is_documented() -> None:
    schema = ModelSpec.model_json_schema()
    parts = {"ModelSpec": schema, **schema["$defs"]}
    bare = [
        f"{name}.{field}"
        for name, part in parts.items()
        for field, value in part.get("properties", {}).items()
        if not value.get("description") and not parts[value["$ref"].rsplit("/", 1)[1]].get("description")
    ]
    assert bare == []


def test_defaults_stand_in_the_schema_as_a_specification_writes_them() -> None:
    fields = ModelSpec.model_json_schema()["$defs"]
    assert fields["Serving"]["properties"]["timeout"]["default"] == "30s"
    assert fields["Canary"]["properties"]["deadline"]["default"] == "14d"
    durations = [p for part in fields.values() for p in part.get("properties", {}).values() if "pattern" in p]
    assert [p["default"] for p in durations if "default" in p and not re.fullmatch(p["pattern"], p["default"])] == []


def test_kubernetes_names_have_no_underscore() -> None:
    assert find_family(ROOT / "bentos", "cats_dogs").spec.kubernetes_name == "cats-dogs"


def test_an_unknown_family_is_refused_with_those_there_are() -> None:
    with pytest.raises(CanariError, match="the models there are: cats_dogs, drift"):
        find_family(ROOT / "bentos", "horses")


def test_a_folder_and_its_specification_agree_on_the_name(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.yaml").write_text(GOOD)
    with pytest.raises(CanariError, match="but the folder is called 'other'"):
        find_family(tmp_path, "other")
