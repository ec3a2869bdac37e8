from __future__ import annotations

from pathlib import Path

import pytest

from canari.errors import CanariError
from canari.launch.cluster_config import load_config, version_object

GOOD = """
instance: canari
namespace: models
gateway: {name: canari, namespace: models}
feedback: {service: canari-feedback}
bento: {image: canari/runtime:0.2.0}
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "cluster.yaml"
    file.write_text(text)
    return file


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD))
    assert config.gateway.proxy_namespace == "envoy-gateway-system"
    assert config.feedback.url == "http://canari-feedback"
    assert (config.bento.pre_stop_seconds, config.poll_seconds) == (10, 2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD + "pollSecond: 2\n", "pollSecond: Extra inputs"),
        (GOOD.replace("image: canari/runtime:0.2.0", "preStopSeconds: 0"), "bento.image: Field required"),
        ("instance: [", "this is not YAML"),
        ("", "the file: Input should be"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_field(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(CanariError, match=f"cluster.yaml: .*{told}"):
        load_config(write(tmp_path, text))


def test_a_missing_file_is_told_with_the_variable_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(CanariError, match="CANARI_CLUSTER_CONFIG"):
        load_config(tmp_path / "cluster.yaml")


def test_names_hold_no_underscore() -> None:
    assert version_object("cats_dogs", 12) == "cats-dogs-v12"


def test_a_versions_labels_hold_its_selector_and_what_is_listed(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD))
    labels = config.labels("cats_dogs", 2)
    assert labels.items() >= config.selector("cats_dogs", 2).items()
    assert labels.items() >= config.owned.items()
