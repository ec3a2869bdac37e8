"""A described world: who asks how much, what goes wrong in each arm, and how users and labels tell of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from canari.errors import CanariError
from canari.spec_canary import Canary, Margin
from canari.spec_parts import Duration, Share
from canari.stats import RARE, VOTES, Method

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Arms(_Part):
    """A share in each arm."""

    stable: Share
    canary: Share


class Labels(_Part):
    """How late the truth comes, by what it says, and the age at which each request's is counted."""

    right: Duration = Field(description="The mean time until the label of a right answer is there.")
    wrong: Duration = Field(description="The same for a wrong answer.")
    age: Duration = Field(description="Requests are scored once they are this old, with the labels there then.")


class Metric(_Part):
    """One metric: how often outcomes are bad in each arm, and how many are seen at all."""

    stable: Share = Field(description="Stable's rate of bad outcomes.")
    canary: Share = Field(description="The canary's.")
    margin: Share = Field(description="How much worse still counts as no worse.")
    required: bool = True
    participation: Share | Arms = Field(default=1.0, description="Outcomes seen per request, the same or by arm.")
    labels: Labels | None = Field(default=None, description="For outcomes that come late.")
    kind: Literal["votes", "rare"] | None = Field(default=None, description="Unset: by the metric's name.")

    @property
    def seen(self) -> Arms:
        """Outcomes seen per request."""
        given = self.participation
        return given if isinstance(given, Arms) else Arms(stable=given, canary=given)


class Drift(_Part):
    """Both arms' rates move together: by `by` in all over the simulated time, in a straight line."""

    by: Annotated[float, Field(ge=-1, le=1)]


class Incident(_Part):
    """For a while, both arms have `extra` bad outcomes more; it begins anywhere in the simulated time."""

    lasts: Duration
    extra: Share


class Season(_Part):
    """Traffic rises and falls as a sine, by `swing` of its mean."""

    period: Duration = timedelta(days=1)
    swing: Share = 0.5


class World(_Part):
    """All that a simulation needs to know."""

    name: str = "world"
    traffic: str = Field(
        default="20/s", pattern=r"^\d+(\.\d+)?/[smhd]$", description="Requests per second, minute, hour or day: `20/s`."
    )
    look: Duration = Field(default=timedelta(minutes=1), description="The time between two looks.")
    looks: int = Field(default=200, ge=1, le=100_000, description="How many looks there are.")
    steps: tuple[Annotated[int, Field(ge=1, le=99)], ...] = Field(default=(5, 25, 50), min_length=1)
    bake: Duration = timedelta(minutes=10)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    metrics: dict[str, Metric] = Field(min_length=1)
    drift: Drift | None = None
    incident: Incident | None = None
    season: Season | None = None

    @model_validator(mode="after")
    def _lasts(self) -> World:
        if self.look <= timedelta(0):
            raise ValueError("`look` must be longer than nothing: 5s, 1m, 1d")
        return self

    @property
    def requests(self) -> float:
        """Requests between two looks, on average."""
        number, unit = self.traffic.split("/")
        return float(number) / _UNITS[unit] * self.look.total_seconds()

    def method(self, name: str) -> Method:
        """The test's constants for a metric."""
        kind = self.metrics[name].kind or ("votes" if name in {"satisfaction", "accuracy"} else "rare")
        return VOTES if kind == "votes" else RARE

    def harmful(self, name: str) -> bool:
        """Whether the canary is worse than stable by more than the margin."""
        metric = self.metrics[name]
        return metric.canary > metric.stable + metric.margin + 1e-12

    @property
    def harms(self) -> bool:
        """Whether any metric of the canary is harmful."""
        return any(self.harmful(name) for name in self.metrics)

    @property
    def worse(self) -> bool:
        """Whether a required metric is worse by the margin or more: such a canary should not be promoted."""
        return any(m.required and m.canary >= m.stable + m.margin - 1e-12 for m in self.metrics.values())


def load_world(path: Path) -> World:
    """Read a world from YAML; raises CanariError with what is wrong and where."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CanariError(f"{path}: cannot be read as a world: {error}") from error
    if not isinstance(values, dict):
        raise CanariError(f"{path}: a world is a mapping of fields, with `metrics:` at least")
    return _checked(values, str(path))


def _checked(values: dict[str, Any], name: str) -> World:
    try:
        return World.model_validate(values)
    except ValidationError as error:
        faults = [f"{name}: {'.'.join(map(str, e['loc'])) or 'the world'}: {e['msg']}" for e in error.errors()]
        raise CanariError("\n".join(faults)) from None


# What is usual for a model that is well, and how much of it the gateway and the users see.
_USUAL = {"errors": (0.001, 1.0), "latency": (0.01, 1.0), "satisfaction": (0.15, 0.1), "accuracy": (0.1, 0.05)}


def world_of(canary: Canary, *, name: str, worse_by: float | None = None, **changes: Any) -> World:
    """The world in which a specification's `canary` part is tried: usual rates, and a canary that is as good.

    With `worse_by`, the canary is worse by so many margins on each metric. `changes` are fields of `World`. Raises
    CanariError where there is nothing to judge, or a field does not hold.
    """
    metrics: dict[str, Metric] = {}
    for metric, (rate, participation) in _USUAL.items():
        part: Margin | None = getattr(canary.metrics, metric)
        if part is not None:
            metrics[metric] = Metric(
                stable=rate,
                canary=min(1.0, rate + (worse_by or 0) * part.margin),
                margin=part.margin,
                required=part.required,
                participation=participation,
            )
    if not metrics:
        raise CanariError(f"{name}: its canary is judged on no metric, so there is nothing to simulate")
    steps = tuple(min(step, 99) for step in canary.steps if not isinstance(step, str))
    fixed = {"name": name, "steps": steps, "bake": canary.bake, "alpha": canary.alpha, "metrics": metrics}
    return _checked({**fixed, **changes}, name)
