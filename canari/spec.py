"""The one specification of a model: the schema of `model.yaml` and, unchanged, of the Model resource on Kubernetes."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from canari.spec_canary import Canary
from canari.spec_parts import Duration, Label, Part, Share, Text, lasting

NAME_PATTERN = r"^[a-z][a-z0-9_]{0,39}$"
RESERVED_NAMES = frozenset({"erasures", "health", "me", "session", "status"})  # /api/NAME is the platform's own


def kubernetes_name(model: str) -> str:
    """A model's name where Kubernetes allows no underscore."""
    return model.replace("_", "-")


class InputKind(StrEnum):
    """What a model is asked about."""

    IMAGE = "image"
    TEXT = "text"
    AUDIO = "audio"
    TABULAR = "tabular"


class Input(Part):
    """What a request holds, and how much of it is accepted."""

    kind: InputKind = Field(description="image, text, audio or tabular.")
    size: tuple[int, int] | None = Field(
        default=None,
        description="Images only: height and width, in pixels, that the model sees.",
        examples=[[180, 180]],
    )
    features: tuple[Label, ...] = Field(
        default=(), description="Tabular only: the names of the numbers in a row, in the model's order."
    )
    max_bytes: int = Field(default=10 * 2**20, ge=1, le=2**30, description="The largest request body accepted.")
    max_pixels: int = Field(
        default=50_000_000, ge=1, le=500_000_000, description="Images only: the largest width times height accepted."
    )

    @model_validator(mode="after")
    def _fits_kind(self) -> Input:
        if self.kind is InputKind.IMAGE and (self.size is None or min(self.size) < 1 or max(self.size) > 4096):
            msg = "an image input needs `size: [height, width]`, each from 1 to 4096"
            raise ValueError(msg)
        if self.kind is InputKind.TABULAR and not self.features:
            msg = "a tabular input needs `features: [name, ...]`"
            raise ValueError(msg)
        if len(set(self.features)) != len(self.features):
            msg = "`features` names one feature twice"
            raise ValueError(msg)
        return self


class Abstain(Part):
    """When to say "I do not know" rather than guess."""

    below: Share = Field(description="Under this certainty (the best score, 0 to 1) ...")
    label: Label = Field(description="... the answer is this label; it need not be one of `labels`.")


class Quantities(Part):
    """An amount of CPU and memory, as Kubernetes writes them."""

    cpu: str = Field(pattern=r"^\d+(\.\d{1,3})?$|^\d+m$", description="Cores: `2`, `0.5`, or thousandths: `500m`.")
    memory: str = Field(pattern=r"^\d+(Ki|Mi|Gi|Ti|k|M|G|T)$", description="Bytes: `512Mi`, `2Gi`.")


class Resources(Part):
    """What one pod of a version is promised and what it may use. On one machine nothing is held to it."""

    requests: Quantities = Field(default=Quantities(cpu="100m", memory="384Mi"), description="What a pod is promised.")
    limits: Quantities = Field(default=Quantities(cpu="1", memory="1Gi"), description="The most a pod may use.")


class Replicas(Part):
    """How many pods a version has. On one machine it has one process."""

    min: int = Field(default=1, ge=1, le=1000, description="The pods there always are.")
    max: int | None = Field(
        default=None, ge=1, le=1000, description="As many as the load asks for, up to this; unset: always `min`."
    )
    cpu_percent: int = Field(
        default=70, ge=1, le=100, description="With `max`: the part of the requested CPU that more pods are to keep to."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Replicas:
        if self.most < self.min:
            msg = "`max` is less than `min`: give the most pods that may be, or leave `max` out"
            raise ValueError(msg)
        return self

    @property
    def most(self) -> int:
        """The most pods there may be."""
        return self.min if self.max is None else self.max


class Serving(Part):
    """How a version answers."""

    engine: Literal["onnxruntime"] = Field(default="onnxruntime", description="What runs the exported model.")
    batch: int = Field(default=32, ge=1, le=1024, description="The most inputs one request may hold.")
    concurrency: int = Field(
        default=32, ge=1, le=10_000, description="Requests held at once by one process; more are answered 429."
    )
    timeout: Duration = lasting("30s", "The longest a request may take.")
    replicas: Replicas = Field(default_factory=Replicas, description="How many pods a version has.")
    resources: Resources = Field(default_factory=Resources, description="What each pod may use.")


class Satisfaction(Part):
    """The users' own rule: too many of those who answered say the model is wrong."""

    below: Share = Field(description="The share of feedbacks saying right under which users count as unhappy.")
    participation: Share = Field(default=0.1, description="Feedbacks per prediction needed for the rule to speak.")


class Triggers(Part):
    """When a model is trained again. Any one suffices; one left out (null) never fires."""

    satisfaction: Satisfaction | None = Field(default=None, description="Users are unhappy.")
    new_samples: int | None = Field(default=None, ge=1, description="This many new samples may be learned from.")
    accuracy_below: Share | None = Field(default=None, description="Measured accuracy is under this share.")
    drift: Share | None = Field(default=None, description="Share of features whose distribution moved.")
    schedule: str | None = Field(default=None, description="A cron expression, in UTC.", examples=["0 3 * * 1"])


class TrainOn(StrEnum):
    """Where training data may come from."""

    OWN = "own"
    CURATED = "curated"
    CONFIDENT = "confident"


Retention = Literal["never", "consented", "always"]
_KEPT_KINDS = {InputKind.IMAGE, InputKind.TEXT}


class DataPolicy(Part):
    """What may be kept of the users' inputs, and what may be learned from."""

    train_on: TrainOn = Field(
        default=TrainOn.OWN,
        description="own: only what the team adds with `canari data add`; curated: also consented inputs that a person "
        "accepted; confident: also answers at or over `min_confidence`.",
    )
    min_confidence: Share = Field(default=0.95, description="With `train_on: confident`, the least certainty.")
    retain_inputs: Retention = Field(
        default="never",
        description="Whether inputs are kept at all: never; consented: those whose sender agreed; always. Only photos "
        "and texts are: voice never, nor rows of numbers.",
    )
    retain_days: int = Field(default=30, ge=1, le=3650, description="Days after which a kept input is erased.")


class Training(Part):
    """How a version is trained, by whomever and whatever asks for it."""

    options: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")], str] = Field(
        default_factory=dict,
        description="Options of the family's training, as `canari train --option KEY=VALUE` gives them; those given "
        "with a command or a job win.",
        examples=[{"epochs": "40"}],
    )


class Evaluation(Part):
    """How a version is measured before it may serve."""

    threshold: Share = Field(default=0.5, description="A version whose accuracy is lower is refused.")
    share: float = Field(default=0.2, gt=0, lt=0.9, description="Share of the groups held out for ever.")


class Access(Part):
    """Who may ask."""

    anonymous: bool = Field(default=False, description="Whether visitors without a token may predict and say feedback.")


class ModelSpec(Part):
    """Everything Canari knows of a model family: what goes in, what comes out, and the rules of its life."""

    name: str = Field(pattern=NAME_PATTERN, description="The model's name, as in its routes.")
    title: Text = Field(description="The model's name for people.")
    description: Text | None = Field(default=None, description="A sentence on what the model is for.")
    input: Input = Field(description="What a request holds.")
    labels: tuple[Label, ...] = Field(min_length=2, max_length=10_000, description="The answers, in the model's order.")
    label_titles: dict[Label, Text] = Field(default_factory=dict, description="The labels' names for people.")
    abstain: Abstain | None = Field(default=None, description="When to answer that the model does not know.")
    serving: Serving = Field(default_factory=Serving, description="How a version answers.")
    canary: Canary = Field(default_factory=Canary, description="How a new version gets its traffic.")
    triggers: Triggers = Field(default_factory=Triggers, description="When the model is trained again.")
    data: DataPolicy = Field(default_factory=DataPolicy, description="What may be kept and learned from.")
    training: Training = Field(default_factory=Training, description="How a version is trained.")
    evaluation: Evaluation = Field(default_factory=Evaluation, description="How a version is measured.")
    access: Access = Field(default_factory=Access, description="Who may ask.")

    @model_validator(mode="after")
    def _labels_agree(self) -> ModelSpec:
        if len(set(self.labels)) != len(self.labels):
            msg = "`labels` names one label twice"
            raise ValueError(msg)
        known = {*self.labels, *([self.abstain.label] if self.abstain else [])}
        for label in self.label_titles:
            if label not in known:
                msg = f"`label_titles` names {label!r}, which is not one of `labels`"
                raise ValueError(msg)
        return self

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in RESERVED_NAMES:
            msg = f"a model may not be called {', '.join(sorted(RESERVED_NAMES))}: these are routes of the platform"
            raise ValueError(msg)
        return name

    @property
    def kubernetes_name(self) -> str:
        """The name where Kubernetes allows no underscore."""
        return kubernetes_name(self.name)

    @property
    def retains(self) -> Retention:
        """Whether inputs are kept: as the data policy says, where they are of a kind that ever is."""
        return self.data.retain_inputs if self.input.kind in _KEPT_KINDS else "never"

    @property
    def least_accuracy(self) -> float:
        """The accuracy under which a live version is told of: what it takes to serve, or more where a trigger asks."""
        return max(self.evaluation.threshold, self.triggers.accuracy_below or 0.0)

    def document(self) -> dict[str, Any]:
        """The specification as JSON values, defaults included."""
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON: two specifications that mean the same have the same hash."""
        return hashlib.sha256(
            json.dumps(self.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        ).hexdigest()
