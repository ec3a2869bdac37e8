"""What a model is, and which versions it has."""

from __future__ import annotations

from fastapi import APIRouter

from canari.spec import ModelSpec
from canari.spec_parts import Text
from canari.store import rollouts, versions
from canari.types import Desired, Version
from services.feedback.context import InContext
from services.feedback.schemas import InputOut, KeepingOut, LabelOut, ModelOut, VersionOut
from services.web.problems import problems

router = APIRouter(tags=["Models"])


@router.get("/api/{model}", summary="A model, its labels and its versions", responses=problems(404, 503))
def model(model: str, context: InContext) -> ModelOut:
    """What to send, what comes back, and who answers."""
    spec = context.spec(model)
    wanted = rollouts.desired(context.engine)[model]
    return ModelOut(
        name=spec.name,
        title=spec.title,
        description=spec.description,
        input=InputOut.model_validate(spec.input, from_attributes=True),
        labels=[_label(spec, label) for label in spec.labels],
        abstain=_label(spec, spec.abstain.label) if spec.abstain else None,
        anonymous=spec.access.anonymous,
        keeping=KeepingOut(inputs=spec.retains, days=None if spec.retains == "never" else spec.data.retain_days),
        stable=wanted.stable,
        versions=[version_out(v, wanted) for v in versions.versions(context.engine, model)],
    )


def version_out(version: Version, wanted: Desired) -> VersionOut:
    """A version with the percent of the traffic that it is to get."""
    return VersionOut(
        number=version.number,
        state=version.state,
        synthetic=version.synthetic,
        weight=wanted.weight(version.number),
    )


def _label(spec: ModelSpec, label: str) -> LabelOut:
    return LabelOut(label=label, title=spec.label_titles.get(label) or Text(fr=label, en=label))
