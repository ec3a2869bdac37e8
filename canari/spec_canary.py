"""The part of a specification that says how a new version is judged, and gets its traffic."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from canari.spec_parts import Duration, Part, Share, lasting


class Margin(Part):
    """How one metric takes part in a canary's verdict."""

    margin: Share = Field(description="How much worse than stable still counts as no worse (a difference of rates).")
    required: bool = Field(default=True, description="Whether a promotion waits for this metric's evidence.")


class LatencyMargin(Margin):
    """Latency, judged by the share of requests that exceed a budget."""

    budget: Duration = lasting(
        "500ms",
        "A request slower than this exceeds. It is rounded up to one of the gateway's bounds: 1, 5, 10, 25, 50, 100, "
        "250 or 500 ms, 1, 2.5, 5, 10, 30 or 60 s.",
    )


class VoteMargin(Margin):
    """Satisfaction, judged by the votes that come in time."""

    age: Duration = lasting(
        "10m", "A vote counts if it comes within this time of its request, and is looked at once that time is over."
    )


class LabelMargin(Margin):
    """Accuracy, judged by the late labels that come in time."""

    age: Duration = lasting(
        "1d", "A label counts if it comes within this time of its request, and is looked at once that time is over."
    )


class Metrics(Part):
    """What a canary is judged on. Leave one out (null) and it is not looked at."""

    errors: Margin | None = Field(
        default=Margin(margin=0.005), description="Answers of status 5xx, as the gateway saw."
    )
    throttled: Margin | None = Field(
        default=Margin(margin=0.02, required=False), description="Answers of status 429: too many requests at once."
    )
    latency: LatencyMargin | None = Field(
        default=LatencyMargin(margin=0.05, required=False), description="Requests over the latency budget."
    )
    satisfaction: VoteMargin | None = Field(default=VoteMargin(margin=0.05), description="Feedbacks that say wrong.")
    accuracy: LabelMargin | None = Field(default=None, description="Late labels that differ from the answer.")


class Canary(Part):
    """How a new version gets its traffic, and what it must show to keep it."""

    steps: tuple[Literal["shadow"] | Annotated[int, Field(ge=1, le=100)], ...] = Field(
        default=(5, 25, 50), description="Percent of the traffic, step by step; `shadow` first mirrors it."
    )
    bake: Duration = lasting("10m", "The least time each step lasts.")
    deadline: Duration = lasting("14d", "How long a rollout may stay open.")
    on_deadline: Literal["hold", "promote", "rollback"] = Field(
        default="rollback", description="What happens to a rollout without a verdict at its deadline."
    )
    progress: Duration = lasting(
        "10m", "A version on trial that could not answer for so long, at once or again and again, is rolled back."
    )
    alpha: float = Field(default=0.05, gt=0, lt=0.5, description="The chance of a false alarm over a whole rollout.")
    keep_previous: Duration = lasting("1h", "How long the stable version of before stays ready after a promotion.")
    holdback: int = Field(
        default=0, ge=0, le=20, description="Percent of the traffic it gets meanwhile, as a control for late labels."
    )
    metrics: Metrics = Field(default_factory=Metrics, description="What is judged, and by how much.")

    @model_validator(mode="after")
    def _steps_rise(self) -> Canary:
        weights = [s for s in self.steps if not isinstance(s, str)]
        if "shadow" in self.steps[1:] or not weights or weights != sorted(set(weights)):
            msg = "`steps` are rising percentages; `shadow` may only come first: [shadow, 5, 25, 50]"
            raise ValueError(msg)
        if self.steps[0] == "shadow" and self.metrics.errors is None:
            msg = "a `shadow` is judged by its errors alone: give `metrics.errors` a margin, or leave `shadow` out"
            raise ValueError(msg)
        return self
