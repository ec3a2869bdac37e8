"""MLflow: where each version comes from. A projection of what Postgres holds, on no serving path, never read back."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import httpx
from loguru import logger

from canari.store.engine import connect

_SERVER_SECONDS = 5.0
_NUMBER_TAG = "canari.version"
_LIBRARIES = ("canari", "numpy", "keras", "tensorflow", "scikit-learn", "onnx", "onnxruntime", "bentoml", "mlflow")


@dataclass(frozen=True, slots=True)
class Lineage:
    """What one version was made of. `figures` is Evaluation.document(), `manifest` the dataset's document."""

    model: str
    number: int
    spec_hash: str
    manifest_digest: str
    manifest: Mapping[str, Any]
    archive: str
    parameters: Mapping[str, str | int | float]
    figures: Mapping[str, Any]
    picture: bytes
    synthetic: bool
    git_revision: str | None


def library_versions() -> dict[str, str]:
    """The versions of what a model was trained and exported with, where installed."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class Registry:
    """The lineage: in an MLflow database, with its files under `artifacts`, or on an MLflow server, with them there.

    MLflow counts its own versions; a version of ours is found there by the tag `canari.version`. Every method only
    warns where MLflow fails.
    """

    def __init__(self, url: str, artifacts: Path) -> None:
        self._url = url.rstrip("/")
        self._served = url.startswith(("http://", "https://"))
        self._artifacts = artifacts

    def record(self, lineage: Lineage, model: Path) -> bool:
        """Write a version's run, with the folder `model` beside it, and register it, once. Returns whether it is."""
        what = f"the lineage of {lineage.model} {lineage.number}"
        return self._attempt(what, lambda client: self._record(client, lineage, model))

    def set_alias(self, model: str, number: int, alias: Literal["champion", "challenger"]) -> bool:
        """Let `alias` name a version of ours. Returns whether it does."""

        def act(client: Any) -> None:
            found = _registered(client, model, number)
            if found is None:
                raise LookupError(f"{model} {number} was never registered")
            client.set_registered_model_alias(model, alias, found.version)

        return self._attempt(f"the alias {alias} of {model}", act)

    def attach(self, model: str, number: int, name: str, file: Path) -> bool:
        """Keep `file` as `name` (such as live/evaluation.html) with the run of a version, in place of one kept before.

        Returns whether it is.
        """

        def act(client: Any) -> None:
            found = _registered(client, model, number)
            if found is None:
                raise LookupError(f"{model} {number} was never registered")
            folder, _, last = name.rpartition("/")
            with tempfile.TemporaryDirectory(prefix="canari-lineage-") as temporary:
                copy = Path(temporary) / last
                copy.write_bytes(file.read_bytes())
                client.log_artifact(found.run_id, str(copy), folder or None)

        return self._attempt(f"{name} of {model} {number}", act)

    def _attempt(self, what: str, act: Callable[[Any], None]) -> bool:
        try:
            act(self._client())
        except Exception as error:  # noqa: BLE001 - whatever breaks in MLflow, the version stands
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            logger.warning("MLflow could not keep {}: {}", what, reason)
            return False
        return True

    def _client(self) -> Any:
        # MLflow itself tries for minutes to reach a database or a server that is away.
        if self._served:
            httpx.get(f"{self._url}/health", timeout=_SERVER_SECONDS).raise_for_status()
            url = self._url
        else:
            engine = connect(self._url, pool=1)
            try:
                engine.connect().close()
                url = engine.url.render_as_string(hide_password=False)
            finally:
                engine.dispose()
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        return MlflowClient(tracking_uri=url, registry_uri=url)

    def _record(self, client: Any, lineage: Lineage, model: Path) -> None:
        if _registered(client, lineage.model, lineage.number) is not None:
            return
        experiment = self._experiment(client, lineage.model)
        _forget_unfinished(client, experiment, lineage.number)
        tags = {
            _NUMBER_TAG: str(lineage.number),
            "canari.spec": lineage.spec_hash,
            "canari.manifest": lineage.manifest_digest,
            "canari.archive": lineage.archive,
            "canari.synthetic": str(lineage.synthetic).lower(),
            **({"mlflow.source.git.commit": lineage.git_revision} if lineage.git_revision else {}),
            **{f"library.{name}": version for name, version in library_versions().items()},
        }
        run = client.create_run(experiment, tags=tags, run_name=f"{lineage.model} {lineage.number}")
        run_id = run.info.run_id
        for key, parameter in lineage.parameters.items():
            client.log_param(run_id, key, parameter)
        for key, metric in _metrics(lineage.figures).items():
            client.log_metric(run_id, key, metric)
        self._log_files(client, run_id, lineage)
        client.log_artifacts(run_id, str(model), "model")
        client.set_terminated(run_id)
        if not client.search_registered_models(f"name = '{lineage.model}'"):
            client.create_registered_model(lineage.model)
        client.create_model_version(
            lineage.model, run.info.artifact_uri, run_id, tags={_NUMBER_TAG: str(lineage.number)}
        )

    def _experiment(self, client: Any, model: str) -> str:
        experiment = client.get_experiment_by_name(model)
        if experiment is not None:
            return str(experiment.experiment_id)
        if self._served:
            return str(client.create_experiment(model))
        folder = self._artifacts / model
        folder.mkdir(parents=True, exist_ok=True)
        return str(client.create_experiment(model, artifact_location=folder.as_uri()))

    @staticmethod
    def _log_files(client: Any, run_id: str, lineage: Lineage) -> None:
        with tempfile.TemporaryDirectory(prefix="canari-lineage-") as temporary:
            folder = Path(temporary)
            (folder / "evaluation.png").write_bytes(lineage.picture)
            (folder / "evaluation.json").write_text(json.dumps(lineage.figures, ensure_ascii=False, indent=1))
            (folder / "manifest.json").write_text(json.dumps(lineage.manifest, ensure_ascii=False, indent=1))
            client.log_artifacts(run_id, temporary)


def _registered(client: Any, model: str, number: int) -> Any:
    found = client.search_model_versions(f"name = '{model}' and tags.`{_NUMBER_TAG}` = '{number}'")
    return found[0] if found else None


def _forget_unfinished(client: Any, experiment: str, number: int) -> None:
    """Delete what a run that was killed while it recorded this version left."""
    for run in client.search_runs([experiment], f"tags.`{_NUMBER_TAG}` = '{number}'"):
        client.delete_run(run.info.run_id)


def _metrics(figures: Mapping[str, Any]) -> dict[str, float]:
    """Plain numbers of an evaluation, and precision, recall and F1 of each label, under names MLflow takes."""
    metrics = {key: float(value) for key, value in figures.items() if isinstance(value, int | float)}
    for label, row in figures.get("labels", {}).items():
        name = re.sub(r"[^\w.\- ]", "_", label)
        metrics |= {f"{key}.{name}": float(value) for key, value in row.items() if value is not None}
    return metrics
