"""What a serving process is told: its artifact, the live specification and its own token, read once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from canari.errors import CanariError, Problem
from canari.measures import Reference, read_reference
from canari.spec import Abstain, Access, DataPolicy, ModelSpec, Serving
from canari.tokens import Identity, Scope, Verifier

_Part = TypeVar("_Part", bound=BaseModel)
_TRACE_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@dataclass(frozen=True, slots=True)
class Platform:
    """The platform a process belongs to. A process without one answers, but records nothing."""

    token: str
    feedback_url: str
    spool: Path


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """Everything a serving process is told.

    `spec` holds the labels and input it was built with, and the live access, serving, abstain and retention rules.
    `cpus` is each worker's share. `verifier` is None where no public key is known: every visitor is then anonymous.
    `traces`: whether OpenTelemetry is told where spans go.
    """

    spec: ModelSpec
    version: int
    artifact: Path
    workers: int
    cpus: int
    verifier: Verifier | None
    platform: Platform | None
    log_format: str
    log_level: str
    traces: bool

    @property
    def model_file(self) -> Path:
        """The exported model."""
        return self.artifact / "model.onnx"

    def reference(self) -> Reference | None:
        """Where the version's own inputs lie; None where it was made before there were references.

        Raises CanariError where the file does not hold one.
        """
        file = self.artifact / "reference.json"
        return read_reference(file.read_bytes()) if file.exists() else None


def read_config(artifact: Path, environment: Mapping[str, str]) -> RuntimeConfig:
    """Read ``CANARI_*`` from `environment` and the specification a version was built with from `artifact`.

    Raises CanariError that says which variable to mend.
    """
    built = _built_spec(artifact / "spec.json")
    workers = _number(environment, "CANARI_WORKERS", default=1)
    verifier = _verifier(environment.get("CANARI_PUBLIC_KEY"))
    token = environment.get("CANARI_TOKEN")
    spec = _live_spec(built, environment.get("CANARI_SPEC"))
    version, platform = 0, None
    if token:
        version = _bound_version(token, verifier, built.name)
        platform = Platform(
            token, _required(environment, "CANARI_FEEDBACK_URL"), Path(_required(environment, "CANARI_SPOOL_DIR"))
        )
    else:
        spec = spec.model_copy(update={"access": Access(anonymous=True)})
    return RuntimeConfig(
        spec=spec,
        version=version,
        artifact=artifact,
        workers=workers,
        cpus=max(1, _number(environment, "CANARI_CPUS", default=available_cpus()) // workers),
        verifier=verifier,
        platform=platform,
        log_format=environment.get("CANARI_LOG_FORMAT", "text"),
        log_level=environment.get("CANARI_LOG_LEVEL", "INFO").upper(),
        traces=any(environment.get(name) for name in _TRACE_ENDPOINTS),
    )


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Whole CPUs this process may use: the cgroup's quota (version 2, then 1), else its affinity; at least 1."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except OSError:
            return cpus
    if not quota.isdigit():
        return cpus
    return max(1, min(cpus, int(quota) // int(period)))


def _built_spec(file: Path) -> ModelSpec:
    try:
        return ModelSpec.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise CanariError(f"{file}: there is no such file; a bento holds the specification it was built with") from None
    except ValidationError as error:
        raise CanariError(f"{file}: this is not the specification of a model: {error}") from error


def _live_spec(built: ModelSpec, text: str | None) -> ModelSpec:
    if not text:
        return built
    try:
        live = json.loads(text)
        if live["name"] != built.name:
            raise CanariError(f"CANARI_SPEC is of the model {live['name']!r}, but this bento serves {built.name!r}")
        abstain = live.get("abstain")
        # The engine belongs to the artifact; a newer platform may ask for one this version has no model for.
        serving = {**live.get("serving", {}), "engine": built.serving.engine}
        return built.model_copy(
            update={
                "access": _known_part(Access, live.get("access", {})),
                "serving": _known_part(Serving, serving),
                "abstain": _known_part(Abstain, abstain) if abstain else None,
                # Of the data policy, whether inputs are kept is all that concerns a serving process.
                "data": DataPolicy(retain_inputs=live.get("data", {}).get("retain_inputs", "never")),
            }
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CanariError(f"CANARI_SPEC is not a model's specification as JSON: {error}") from error


def _known_part(part: type[_Part], values: dict[str, Any]) -> _Part:
    # A bento outlives the schema it was built with: fields that came later are not its concern.
    return part.model_validate({name: value for name, value in values.items() if name in part.model_fields})


def _verifier(pem: str | None) -> Verifier | None:
    if not pem:
        return None
    try:
        return Verifier(pem.encode())
    except (ValueError, TypeError) as error:
        raise CanariError(f"CANARI_PUBLIC_KEY is not an Ed25519 public key in PEM: {error}") from error


def _bound_version(token: str, verifier: Verifier | None, model: str) -> int:
    if verifier is None:
        raise CanariError("CANARI_TOKEN is set, so CANARI_PUBLIC_KEY must be too: it verifies the users' tokens")
    try:
        identity = verifier.verify(token)
    except Problem as problem:
        raise CanariError(f"CANARI_TOKEN: {problem.detail}") from problem
    if not _is_bound(identity, model):
        raise CanariError(f"CANARI_TOKEN is not a bento's token for {model!r}: it needs one version and scope record")
    assert identity.version is not None
    return identity.version


def _is_bound(identity: Identity, model: str) -> bool:
    return identity.models == {model} and identity.version is not None and identity.may(Scope.RECORD, model)


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name)
    if not text:
        return default
    try:
        number = int(float(text))
    except (ValueError, OverflowError):
        number = 0
    if number < 1:
        raise CanariError(f"{name} is {text!r}; it must be a number of at least 1")
    return number


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise CanariError(f"CANARI_TOKEN is set, so {name} must be too: recorded predictions go there")
    return value
