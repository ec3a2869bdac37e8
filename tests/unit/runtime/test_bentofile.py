from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import yaml

from canari.runtime.files import RUNTIME_FILES

ROOT = Path(__file__).resolve().parents[3]
BENTOFILE = yaml.safe_load((ROOT / "bentofile.yaml").read_text())


def test_the_bentofile_includes_what_every_build_must() -> None:
    assert set(RUNTIME_FILES) <= set(BENTOFILE["include"])


def test_the_runtime_imports_nothing_of_canari_that_a_build_leaves_out() -> None:
    included = {path for pattern in RUNTIME_FILES for path in ROOT.glob(pattern)}
    assert ROOT / "canari/runtime/serve.py" in included
    for file in included:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("canari"):
                place = ROOT.joinpath(*str(node.module).split("."))
                assert {place.with_suffix(".py"), place / "__init__.py"} & included, f"{file}: {node.module}"


def test_the_bentofile_asks_for_what_the_serve_extra_asks_for_and_no_other_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = set(BENTOFILE["python"]["packages"])
    assert set(project["optional-dependencies"]["serve"]) <= packages
    assert packages <= {*project["optional-dependencies"]["serve"], *project["dependencies"]}
