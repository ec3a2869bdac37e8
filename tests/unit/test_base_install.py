from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT


def named(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(one).name) for one in requirements}


def test_the_command_line_starts_on_the_base_dependencies_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set().union(*map(named, project["optional-dependencies"].values())) - named(project["dependencies"])
    ask = "import sys, canari.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    owners = packages_distributions()
    found = {canonicalize_name(owner) for name in loaded for owner in owners.get(name, [])}
    assert "typer" in found
    assert found & extras == set()
