"""What goes over the wire about samples, with examples."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from canari.types import Origin, Sample

_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class SampleOut(BaseModel):
    """A sample that is kept."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "sha256": _SHA256, "label": "cat", "evaluation": False, "origin": "team", "synthetic": False,
                "source": "cat/tom.jpg",
            }
        }
    )  # fmt: skip

    sha256: str = Field(description="Its content's SHA-256, which is its name.")
    label: str
    evaluation: bool = Field(description="Whether versions are judged on it, rather than learning from it: for ever.")
    origin: Origin = Field(description="team: added here; curated: a user's input that a person accepted.")
    synthetic: bool = Field(description="Whether the family's generator made it.")
    source: str = Field(description="What whoever added it called it.")

    @classmethod
    def of(cls, sample: Sample, *, synthetic: bool) -> SampleOut:
        """From what the store holds."""
        return cls(
            sha256=sample.sha256,
            label=sample.label,
            evaluation=sample.evaluation,
            origin=sample.origin,
            synthetic=synthetic,
            source=sample.source,
        )


class SampleCount(BaseModel):
    """How many samples of a label there are of one kind."""

    label: str
    evaluation: bool = Field(description="Whether versions are judged on them, rather than learning from them.")
    origin: Origin
    synthetic: bool
    count: int


class SampleCounts(BaseModel):
    """A model's samples, counted."""

    labels: list[str] = Field(description="The labels that samples may have.")
    total: int = Field(description="All but the synthetic ones.")
    counts: list[SampleCount]


class NewImages(BaseModel):
    """What came since the stable version was made."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"stable": 3, "new": 412, "threshold": 500, "newest": "2026-11-21T09:00:00Z"}}
    )

    stable: int | None = Field(description="The stable version; null where there is none.")
    new: int = Field(description="Samples that its manifest does not name and the data policy lets one learn from.")
    threshold: int | None = Field(description="From so many on it is trained again; null: not for this reason.")
    newest: datetime | None = Field(description="When the last of them came.")
