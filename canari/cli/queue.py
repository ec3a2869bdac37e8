"""`canari queue`: users' inputs that wait for a person's word, at the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.console import Group

from canari.cli.common import (
    DEFAULT_DATA_DIR,
    AsJson,
    DataDir,
    Model,
    Token,
    Url,
    database,
    emit,
    fetched,
    require_model,
    settings_for,
    table,
)
from canari.cli.rollouts import actor, ask
from canari.errors import CanariError, Problem
from canari.settings import Settings
from canari.types import Review

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from canari.store.reviews import Word

app = typer.Typer(no_args_is_help=True, help="Say what may be learned from of what users sent.")
_SAYS = {Review.ACCEPTED: "accepted as", Review.RELABELLED: "corrected to", Review.REFUSED: "set aside"}


@app.command(name="list")
def list_(
    model: Model,
    review: Annotated[Review, typer.Option(help="Those of which this was made.")] = Review.WAITING,
    limit: Annotated[int, typer.Option(min=1, max=100, help="The most that are shown.")] = 20,
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """What waits for review: what somebody called wrong first, then the least certain."""
    settings = settings_for(data_dir)
    if url is None:
        found = _here(settings, model, review, limit)
    else:
        page = fetched(settings, url, token, f"/api/{model}/queue", {"review": str(review), "limit": limit})
        found = {name: page[name] for name in ("inputs", "counts", "labels")}
    rows = [
        (one["prediction_id"], one["answer"], _percent(one["score"]), _said(one["feedback"]), one["label"])
        for one in found["inputs"]
    ]
    labels = [(one["label"], one["waiting"], one["samples"]) for one in found["labels"]]
    text = Group(
        table(["ID", "ANSWER", "SURE", "PEOPLE SAID", "LABEL"], rows),
        "",
        table(["LABEL", "WAITING", "SAMPLES"], labels),
        ", ".join(f"{count:,} {state}" for state, count in found["counts"].items()),
    )
    emit(found, as_json=as_json, text=text)


@app.command()
def review(
    model: Model,
    prediction_id: Annotated[UUID, typer.Argument(metavar="ID", help="As `canari queue list` tells it.")],
    accept: Annotated[bool, typer.Option("--accept", help="The answer is right.")] = False,
    label: Annotated[str | None, typer.Option(help="It is really this.")] = None,
    refuse: Annotated[bool, typer.Option("--refuse", help="Nothing is to learn from it.")] = False,
    token: Token = None,
    url: Url = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Say what an input is. The last word holds, until a version has learned from it."""
    said = _one_of(accept=accept, label=label, refuse=refuse)
    settings = settings_for(data_dir)
    if url is None:
        from canari.store.reviews import Word

        now = _reviewed_here(settings, model, prediction_id, Word(actor=actor("queue review"), **said))
    else:
        now = ask(settings, url, token, f"/api/{model}/inputs/{prediction_id}/review", said)
    told = " ".join(filter(None, [_SAYS[Review(now["review"])], now["label"]]))
    emit(now, as_json=as_json, text=f"{prediction_id} is {told}{'' if now['changed'] else ', as before'}.")


def _one_of(*, accept: bool, label: str | None, refuse: bool) -> dict[str, Any]:
    """What the options say, as a request says it; raises CanariError unless it is one thing."""
    if accept + refuse + (label is not None) != 1:
        raise CanariError("say one thing of it: --accept, --label LABEL or --refuse")
    if label is not None:
        return {"decision": "relabel", "label": label}
    return {"decision": "accept" if accept else "refuse"}


def _here(settings: Settings, model: str, review: Review, limit: int) -> dict[str, Any]:
    """The queue of the platform on the data folder, whether it runs or not, as its API tells it."""
    from canari.store import queue, versions

    with database(settings) as engine:
        require_model(engine, model)
        labels = versions.live_specs(engine)[model].labels
        found = queue.page(engine, model, review=review, limit=limit)
        counts = queue.counts(engine, model)
    inputs = [
        {
            "prediction_id": str(one.input.prediction_id),
            "answer": one.answer,
            "score": one.score,
            "feedback": [{"right": vote.right, "label": vote.label, "comment": vote.comment} for vote in one.votes],
            "review": one.input.review,
            "label": one.input.label,
        }
        for one in found
    ]
    return {
        "inputs": inputs,
        "counts": {str(state): count for state, count in counts.states.items()},
        "labels": [
            {"label": label, "waiting": counts.waiting.get(label, 0), "samples": counts.samples.get(label, 0)}
            for label in labels
        ],
    }


def _reviewed_here(settings: Settings, model: str, prediction_id: UUID, word: Word) -> dict[str, Any]:
    with database(settings) as engine:
        require_model(engine, model)
        return _reviewed(engine, settings, model, prediction_id, word)


def _reviewed(engine: Engine, settings: Settings, model: str, prediction_id: UUID, word: Word) -> dict[str, Any]:
    from canari.blobs import FolderBlobs
    from canari.store import reviews, versions
    from canari.tombstones import Tombstones

    spec = versions.live_specs(engine)[model]
    tombstones = Tombstones(settings.layout.root)
    try:
        now = reviews.review(
            engine, FolderBlobs(settings.layout.blobs), spec, prediction_id, word, hash_of=tombstones.hash
        )
    except Problem as problem:
        raise CanariError(problem.detail) from None
    return {"prediction_id": str(prediction_id), "review": now.review, "label": now.label, "changed": now.changed}


def _said(votes: list[Mapping[str, Any]]) -> str | None:
    """What people said, in a few words; None where nobody did."""
    return ", ".join(vote["label"] or ("right" if vote["right"] else "wrong") for vote in votes) or None


def _percent(score: float | None) -> str | None:
    return None if score is None else f"{score:.0%}"
