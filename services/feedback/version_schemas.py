"""What goes over the wire about versions, with examples."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from canari.types import Version
from services.feedback.schemas import VersionOut

_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ArchiveOut(BaseModel):
    """An archive that is kept."""

    sha256: str
    bytes: int


class VersionIn(BaseModel):
    """A version that was made elsewhere, whose archive was sent before."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"archive": _SHA256, "metrics": {"accuracy": 0.94, "count": 400}, "synthetic": False}]
        },
    )

    archive: _Digest = Field(description="The SHA-256 of its archive.")
    metrics: dict[str, Any] = Field(default={}, description="Its evaluation, as training measured it.")
    synthetic: bool = Field(default=False, description="Whether it learned from drawn or generated samples.")
    manifest: dict[str, Any] | None = Field(
        default=None, description="What it learned from and was judged on: `model`, and `samples` by content."
    )
    spec_hash: _Digest | None = Field(
        default=None, description="What the sender believes it was built with; refused where the archive says else."
    )


class PushedOut(BaseModel):
    """The number a version has here."""

    model_config = ConfigDict(json_schema_extra={"example": {"number": 2}})

    number: int


class VersionDetail(VersionOut):
    """A version, how good it was when it was made, and what became of it."""

    archive: str | None = Field(description="The SHA-256 of its bento; null until it is ready.")
    spec_hash: str
    metrics: dict[str, Any]
    created_at: datetime
    error: str | None = Field(description="Why it failed.")

    @classmethod
    def of(cls, shown: VersionOut, version: Version) -> VersionDetail:
        """From what the store holds."""
        return cls(
            **shown.model_dump(),
            archive=version.archive,
            spec_hash=version.spec_hash,
            metrics=version.metrics,
            created_at=version.created_at,
            error=version.error,
        )


class VersionList(BaseModel):
    """Versions, newest first."""

    versions: list[VersionDetail]
