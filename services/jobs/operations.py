"""The commands that a cluster's Jobs around an install run: migrate, welcome, leave, probe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from loguru import logger

from canari.errors import CanariError
from canari.packages import find_packages
from canari.runtime.logs import configure
from canari.settings import Settings
from services.jobs.asking import Patience, Tell, client

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

Timeout = Annotated[float, typer.Option(min=1, help="Seconds after which it gives up, and says what it waited for.")]
Gateway = Annotated[str, typer.Option("--gateway-url", help="Where the gateway answers, http://...")]
Namespace = Annotated[str | None, typer.Option(help="The namespace; in a pod by default its own.")]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    for command in (migrate, welcome, leave, probe):
        app.command()(command)


def migrate(timeout: Timeout = 300) -> None:
    """Make the databases, roles and schema what this release needs, and set the passwords that are given."""
    from services.jobs.migrate import migrate_platform

    settings, tell = _begin()
    migrate_platform(settings, seconds=timeout, tell=tell)


def welcome(
    feedback_url: Annotated[str, typer.Option(help="Where the feedback API answers, http://...")],
    gateway_url: Gateway,
    samples: Annotated[Path, typer.Option(help="The folder of the packages.")] = Path("/samples"),
    namespace: Namespace = None,
    timeout: Timeout = 600,
) -> None:
    """Apply the sample Models, push a version of each that has none, and wait until they answer."""
    from canari.kube import Kube
    from canari.kube import connect as cluster
    from services.jobs import welcome as job

    settings, tell = _begin()
    packages = find_packages(samples)
    kube = Kube(cluster(), _own(namespace), manager="canari-welcome")
    with (
        client(feedback_url, settings, "welcome") as feedback,
        client(gateway_url, settings, "welcome") as gateway,
    ):
        job.welcome(kube, packages, feedback, gateway, Patience(timeout, tell), tell)


def leave(
    instance: Annotated[str, typer.Option(help="The chart's release.")],
    namespace: Namespace = None,
    timeout: Timeout = 240,
) -> None:
    """End the controller, and delete the sample Models and everything it made; Models that people made stay."""
    from canari.kube import Kube
    from canari.kube import connect as cluster
    from services.jobs import leave as job

    _, tell = _begin()
    kube = Kube(cluster(), _own(namespace), manager="canari-leave")
    job.leave(kube, instance, Patience(timeout, tell))


def probe(gateway_url: Gateway) -> None:
    """Ask the platform as its users do: health, page, status, and a prediction of each model with its feedback."""
    from services.jobs import probe as job

    settings, tell = _begin()
    with client(gateway_url, settings, "probe") as gateway:
        well = job.probe(gateway, tell)
    if not well:
        raise CanariError("the platform does not work as it should: see what failed above")


def _begin() -> tuple[Settings, Tell]:
    settings = Settings()
    configure(settings.log_format, settings.log_level)
    return settings, logger.info


def _own(namespace: str | None) -> str:
    if namespace is not None:
        return namespace
    try:
        return _NAMESPACE.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise CanariError("outside a pod the namespace has to be named: --namespace NAME") from None
