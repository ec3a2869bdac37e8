"""The words that a specification is written in."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

LABEL_PATTERN = r"^[^\s/][^/\n]{0,79}$"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PATTERN = r"^\d+(ms|s|m|h|d)$"


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        for unit, seconds in _UNITS.items():
            digits = value.removesuffix(unit)
            if digits != value and digits.isascii() and digits.isdigit():
                return timedelta(seconds=int(digits) * seconds)
    msg = "a duration is a whole number and a unit, such as 500ms, 30s, 10m, 12h or 14d"
    raise ValueError(msg)


def _duration_text(value: timedelta) -> str:
    milliseconds = round(value.total_seconds() * 1000)
    for unit in ("d", "h", "m", "s"):
        size = round(_UNITS[unit] * 1000)
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def lasting(default: str, description: str) -> Any:
    """A duration's field; its default stands in the JSON Schema as it is written in a specification."""
    return Field(default=_duration(default), description=description, json_schema_extra={"default": default})


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(_duration_text, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN, "examples": ["500ms", "30s", "10m", "14d"]}),
]
Label = Annotated[str, Field(pattern=LABEL_PATTERN)]
Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """What is written down once and knows no other fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Text(Part):
    """A text that people read, in both of Canari's languages."""

    fr: str = Field(description="In French.", min_length=1)
    en: str = Field(description="In English.", min_length=1)
