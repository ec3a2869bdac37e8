"""``python -m services.jobs``: what `canari train` and `canari data add` run, and on a cluster the Jobs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from canari.errors import CanariError
from canari.family import find_family, parse_options
from canari.settings import Settings
from canari.store.engine import connect
from services.jobs import diagnosing, operations, scheduled
from services.jobs.lineage import lineage_url
from services.jobs.progress import reporting

if TYPE_CHECKING:
    from services.jobs.train import Outcome

_DEMO_SAMPLES = 200
_DEMO_EPOCHS = 10
_SHOWN = 10

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
operations.add_to(app)
scheduled.add_to(app)
diagnosing.add_to(app)
Model = Annotated[str, typer.Argument(help="The model's name, such as cats_dogs.")]
AsJson = Annotated[bool, typer.Option("--json", help="End with one line of JSON.")]


@app.command()
def train(
    model: Model,
    data: Annotated[Path | None, typer.Option(help="A folder per label; else what the team added.")] = None,
    base_weights: Annotated[str | None, typer.Option(help="A local file of weights, or `imagenet`.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="The most passes over the samples.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the family's training.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed and data train the same.")] = 0,
    generate: Annotated[int | None, typer.Option(min=2, help="Train on this many synthetic samples.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="A quick first version from synthetic samples.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train the model's next version, measure it, export it and keep its bento."""
    from canari.archives import archives
    from canari.registry import Registry
    from services.jobs.making import Order
    from services.jobs.train import train_version

    options = parse_options(option or [])
    if base_weights is not None:
        options["base_weights"] = base_weights if base_weights == "imagenet" else str(Path(base_weights).resolve())
    if epochs is not None or demo:
        options["epochs"] = str(epochs or _DEMO_EPOCHS)
    if generate is None and demo:
        generate = _DEMO_SAMPLES
    if generate is not None and data is not None:
        raise CanariError("train on --data or on synthetic samples, not on both")
    settings = Settings()
    family = find_family(settings.families_dir, model)
    with _database(settings) as engine, reporting() as report:
        registry = Registry(lineage_url(settings), settings.layout.mlflow)
        kept = archives(settings.archives_url, settings.layout.archives)
        order = Order(seed, data, generate, {**family.spec.training.options, **options})
        try:
            outcome = train_version(engine, settings.layout, kept, family, order, registry, report)
        except KeyboardInterrupt:
            raise CanariError("stopped; the same command goes on from here") from None
    _say(_train_result(model, outcome), _train_text(model, outcome), as_json=as_json)


@app.command()
def pack(
    model: Model,
    to: Annotated[Path, typer.Option(help="The folder that gets the package, as MODEL/package.json and its archive.")],
    data: Annotated[Path | None, typer.Option(help="A folder per label.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Train on synthetic samples instead.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed and data train the same.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train a version into a package, with no platform and no database: `canari push` takes it to one."""
    from services.jobs.making import Order
    from services.jobs.pack import pack_version

    if demo == (data is not None):
        raise CanariError("a package is trained on --data DIR or, with --demo, on synthetic samples: choose one")
    family = find_family(Settings().families_dir, model)
    options = {**family.spec.training.options, **({"epochs": str(_DEMO_EPOCHS)} if demo else {})}
    order = Order(seed, data, _DEMO_SAMPLES if demo else None, options)
    with reporting() as report:
        package = pack_version(family, order, to, report)
    accuracy = package.evaluation.document()["accuracy"]
    result = {"model": model, "package": str(package.folder), "archive": package.archive, "accuracy": accuracy}
    text = f"{model}: {package.folder} is written: {accuracy:.1%} right{_skipped(package.skipped)}"
    _say(result | {"skipped": dict(package.skipped)}, text, as_json=as_json)


@app.command()
def add(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="A folder per label, with the samples' files.")],
    as_json: AsJson = False,
) -> None:
    """Keep a folder's samples to learn from; those that are there already are left alone."""
    from services.jobs.samples import add_folder

    settings = Settings()
    family = find_family(settings.families_dir, model)
    with _database(settings) as engine, reporting() as report:
        added = add_folder(engine, settings.layout, family, folder, report)
    result = {"model": model, "found": added.found, "added": added.added, "skipped": dict(added.skipped)}
    text = f"{model}: {added.added} new samples of {added.found}{_skipped(added.skipped)}"
    _say(result, text, as_json=as_json)


def main() -> None:
    """Run a job; what a person can mend is said in one line and ends with status 1."""
    try:
        app()
    except CanariError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    except OperationalError as error:
        sys.stderr.write(f"error: the database is away: {str(error.orig).partition(chr(10))[0]}\n")
        sys.exit(1)


@contextmanager
def _database(settings: Settings) -> Iterator[Engine]:
    engine = connect(_database_url(settings), pool=1)
    try:
        yield engine
    finally:
        engine.dispose()


def _database_url(settings: Settings) -> str:
    if not settings.database_url:
        raise CanariError("CANARI_DATABASE_URL is not set; on a laptop use `canari train` or `canari data add` instead")
    return settings.database_url


def _train_result(model: str, outcome: Outcome) -> dict[str, Any]:
    figures = outcome.evaluation.document()
    return {
        "model": model,
        "version": outcome.number,
        "accuracy": figures["accuracy"],
        "evaluation": figures,
        "synthetic": outcome.synthetic,
        "archive": outcome.archive,
        "skipped": dict(outcome.skipped),
        "lineage": outcome.lineage,
        "seconds": round(outcome.seconds, 1),
    }


def _train_text(model: str, outcome: Outcome) -> str:
    measured = outcome.evaluation
    made_of = "synthetic samples" if outcome.synthetic else "samples"
    return (
        f"{model} {outcome.number} is ready: {measured.accuracy:.1%} right of {measured.count} held-out {made_of}, "
        f"in {outcome.seconds:.0f} s{_skipped(outcome.skipped)}"
    )


def _skipped(skipped: tuple[tuple[str, str], ...]) -> str:
    lines = [f"  {name}: {why}" for name, why in skipped[:_SHOWN]]
    if len(skipped) > _SHOWN:
        lines.append(f"  and {len(skipped) - _SHOWN} more")
    return "\n".join([f"; {len(skipped)} skipped:", *lines]) if skipped else ""


def _say(result: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    sys.stdout.write((json.dumps(result, ensure_ascii=False) if as_json else text) + "\n")


if __name__ == "__main__":
    main()
