import json
from pathlib import Path

import pytest

from canari.errors import CanariError
from canari.packages import find_packages, load_package
from canari.spec import ModelSpec
from canari.spec_file import load_spec
from tests.conftest import ROOT
from tests.integration.bentos import packaged, write_package


@pytest.fixture
def drift() -> ModelSpec:
    return load_spec(ROOT / "bentos" / "drift")


def test_packages_are_found_by_name_and_read_as_they_were_written(drift: ModelSpec, tmp_path: Path) -> None:
    other = drift.model_copy(update={"name": "angle"})
    written = [packaged(spec, tmp_path / spec.name) for spec in (drift, other)]
    for package in written:
        write_package(package, tmp_path / "packages")
    found = find_packages(tmp_path / "packages")
    assert [package.model for package in found] == ["angle", "drift"]
    assert [(p.spec, p.archive, p.metrics, p.synthetic, p.manifest) for p in found] == [
        (p.spec, p.archive, p.metrics, p.synthetic, p.manifest) for p in reversed(written)
    ]
    assert found[1].file.read_bytes() == written[0].file.read_bytes()


def test_a_folder_that_is_no_package_is_told_with_what_it_lacks(drift: ModelSpec, tmp_path: Path) -> None:
    with pytest.raises(CanariError, match=r"is not a package: it holds no package\.json"):
        load_package(tmp_path)
    package = packaged(drift, tmp_path / "made")
    folder = write_package(package, tmp_path / "packages")
    (folder / package.file.name).unlink()
    with pytest.raises(CanariError, match=f"it lacks {package.archive}"):
        load_package(folder)
    held = json.loads((folder / "package.json").read_text())
    (folder / "package.json").write_text(json.dumps({**held, "spec": {"name": "drift"}}))
    with pytest.raises(CanariError, match=r"package\.json cannot be read as a package's: Field required"):
        load_package(folder)
    (folder / "package.json").write_text("{")
    with pytest.raises(CanariError, match="cannot be read"):
        load_package(folder)
