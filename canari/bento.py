"""Building a version's bento: the runtime, one family's own code, and the trained artifact."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from canari.errors import CanariError
from canari.family import Family
from canari.runtime.files import RUNTIME_FILES
from canari.settings import Layout

_ROOT = Path(__file__).resolve().parent.parent
_FAMILY_FILES = ("__init__.py", "model.py", "model.yaml")
_BENTOFILE = "bentofile.yaml"


def build_bento(family: Family, artifact: Path, version: str, layout: Layout) -> Path:
    """Build the bento `version` from `artifact`'s model.onnx, and its reference.json if any; returns its folder.

    Its tag is the model's name for Kubernetes and `version`. One built before under that tag, by a run that was
    killed, is replaced. Raises CanariError with BentoML's own words where it cannot be built.
    """
    name = family.spec.kubernetes_name
    bento = layout.bentoml_home / "bentos" / name / version
    # In a store of its own: where a run was killed its build may go on for a while.
    with (
        tempfile.TemporaryDirectory(prefix="canari-bento-") as folder,
        tempfile.TemporaryDirectory(prefix="building-", dir=artifact.parent) as home,
    ):
        context, built = Path(folder), Path(home) / "bentos" / name / version
        _stage(family, artifact, context)
        command = [sys.executable, "-m", "bentoml", "build", "--bentofile", _BENTOFILE]
        command += ["--name", name, "--version", version, "--arg", f"family={family.name}", "--output", "tag"]
        done = subprocess.run(
            command, cwd=context, env=_environment(Path(home)), capture_output=True, text=True, check=False
        )
        if done.returncode or not built.is_dir():
            said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise CanariError(f"BentoML could not build {name}:{version}: {said}")
        if bento.exists():
            shutil.rmtree(bento)
        bento.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(built, bento)
    return bento


def _stage(family: Family, artifact: Path, context: Path) -> None:
    """Lay out what the bento is built from; BentoML takes the service from this folder and no other."""
    sources = [file for pattern in RUNTIME_FILES for file in _ROOT.glob(pattern)]
    for source in (*sources, _ROOT / _BENTOFILE):
        _copy(source, context / source.relative_to(_ROOT))
    for name in _FAMILY_FILES:
        _copy(family.folder / name, context / "bentos" / family.name / name)
    _copy(artifact / "model.onnx", context / "artifact" / "model.onnx")
    if (artifact / "reference.json").exists():
        _copy(artifact / "reference.json", context / "artifact" / "reference.json")
    (context / "artifact" / "spec.json").write_text(json.dumps(family.spec.document(), ensure_ascii=False, indent=1))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _environment(home: Path) -> dict[str, str]:
    """The platform's own settings must not reach the service while BentoML looks at it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CANARI_", "BENTOML_"))}
    kept.pop("PYTHONPATH", None)
    return {**kept, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
