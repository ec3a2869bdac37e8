"""What Prometheus learns of the store: whether it answers, what was lost, and until when versions are evaluated."""

from __future__ import annotations

from collections.abc import Iterator

from loguru import logger
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from canari.store import evaluations, predictions, rollouts, versions
from services.feedback.context import Cached

# Every process is asked at each scrape; the store need not be.
_SECONDS, _SHARE = 10.0, 0.05
_LABELS = ("model", "version")
_Figures = list[tuple[str, int, int, float]]


class StoreCollector(Collector):
    """Gauges read from the store when Prometheus asks, at most every ten seconds."""

    def __init__(self, engine: Engine) -> None:
        self._figures = Cached(lambda: _read(engine), _SECONDS, _SHARE)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """`canari_database_up` always, the others while the database answers."""
        up = GaugeMetricFamily("canari_database_up", "1 while the database answers, 0 while it does not.")
        lost = GaugeMetricFamily(
            "canari_predictions_lost", "Predictions that were made and have not arrived.", labels=_LABELS
        )
        evaluated = GaugeMetricFamily(
            "canari_evaluated_until_timestamp_seconds",
            "Until when a live version is evaluated; where it never was, when it was made.",
            labels=_LABELS,
        )
        try:
            for model, version, missing, until in self._figures.get():
                lost.add_metric((model, str(version)), missing)
                evaluated.add_metric((model, str(version)), until)
            up.add_metric((), 1)
        except SQLAlchemyError as error:
            logger.warning("the database does not answer: {}", str(error).partition("\n")[0])
            up.add_metric((), 0)
        yield from (up, lost, evaluated)


def _read(engine: Engine) -> _Figures:
    newest = evaluations.latest(engine)
    figures: _Figures = []
    for model, wanted in rollouts.desired(engine).items():
        losses = predictions.losses(engine, model)
        for number in wanted.versions:
            measured = newest.get((model, number))
            until = measured.until if measured else versions.version(engine, model, number).created_at
            figures.append((model, number, losses.get(number, 0), until.timestamp()))
    return figures
