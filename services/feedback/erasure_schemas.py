"""What goes over the wire of erasures, with examples."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from canari.store.erasures import Erasure
from services.feedback.schemas import NO_NUL

_ID = "0198c6a2-7f6e-7d52-8f0a-2f9f4f0a3b11"


class ErasureIn(BaseModel):
    """Whose data is to go."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"subject": "visitor:4a3c8e9e-2f5c-4a36-9f0a-6f3f0f3ad2d1"}]},
    )

    subject: Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=NO_NUL)] = Field(
        description="Who, as predictions and tokens name them."
    )
    reason: Annotated[str, StringConstraints(max_length=500, pattern=NO_NUL)] | None = Field(
        default=None, description="Why, such as the request's number; it is kept, so it should name nobody."
    )
    access: bool = Field(
        default=False, description="Whether their tokens are revoked and their account is deleted too."
    )


class ErasureOut(BaseModel):
    """An erasure as it stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": _ID,
                "state": "open",
                "erased_before": "2026-11-21T10:00:00.001Z",
                "requested_by": "account:ada",
                "requested_at": "2026-11-21T10:00:00Z",
                "done_at": None,
                "access": False,
                "certificate": None,
            }
        }
    )

    id: UUID
    state: Literal["open", "done"] = Field(description="Open: it goes on by itself, also after a restart.")
    erased_before: datetime = Field(description="What the person did before is gone, or stays out as it arrives.")
    requested_by: str
    requested_at: datetime
    done_at: datetime | None
    access: bool
    certificate: dict[str, Any] | None = Field(description="What was erased, signed by the platform; once it is done.")

    @classmethod
    def of(cls, found: Erasure) -> ErasureOut:
        """From what the store holds."""
        done = found.done_at is not None
        return cls(
            id=found.tombstone.id,
            state="done" if done else "open",
            erased_before=found.tombstone.erased_before,
            requested_by=found.tombstone.requested_by,
            requested_at=found.requested_at,
            done_at=found.done_at,
            access=found.tombstone.access,
            certificate=dict(found.notes) if done else None,
        )


class ErasureList(BaseModel):
    """Erasures, newest first."""

    erasures: list[ErasureOut]
