"""What the feedback API tells Prometheus of the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from canari.launch.postgres import EmbeddedPostgres
from canari.spec import ModelSpec
from canari.store import evaluations, predictions, rollouts, versions
from tests.conftest import GivenPostgres
from tests.integration.services.conftest import Api
from tests.integration.services.test_status import away
from tests.integration.store.samples_of import prediction

_NOT_THE_STORE_S = ("canari_http_", "canari_volume_")
STORE = ("canari_database_up", "canari_predictions_lost", "canari_evaluated_until_timestamp_seconds")


def told(api: Api) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(api.client.get("/metrics").text)
    samples = (sample for family in families for sample in family.samples)
    return {(s.name, *s.labels.values()): s.value for s in samples if not s.name.startswith(_NOT_THE_STORE_S)}


def test_live_versions_tell_what_they_lost_and_until_when_they_are_evaluated(api: Api, cats_dogs: ModelSpec) -> None:
    engine, now = api.context.engine, datetime.now(UTC).replace(microsecond=0)
    number = versions.allot(engine, cats_dogs, manifest_digest="n", synthetic=False)
    versions.mark_ready(engine, "cats_dogs", number, archive="b" * 64, metrics={})
    rollouts.deploy(engine, "cats_dogs", number, weight=20, actor="a test")
    predictions.append(engine, "cats_dogs", 1, [prediction(seq) for seq in (1, 2, 5)])
    evaluations.keep(engine, evaluations.measure(engine, "cats_dogs", 1, now - timedelta(hours=1), now))
    made = versions.version(engine, "cats_dogs", number).created_at.timestamp()
    found = {key: value for key, value in told(api).items() if key[0] in STORE}
    assert found == {
        ("canari_database_up",): 1,
        ("canari_predictions_lost", "cats_dogs", "1"): 2,
        ("canari_predictions_lost", "cats_dogs", str(number)): 0,
        ("canari_evaluated_until_timestamp_seconds", "cats_dogs", "1"): now.timestamp(),
        ("canari_evaluated_until_timestamp_seconds", "cats_dogs", str(number)): pytest.approx(made),
    }


def test_a_database_that_is_away_is_told_and_the_metrics_still_answer(
    api: Api, postgres: EmbeddedPostgres | GivenPostgres
) -> None:
    with away(postgres, api):
        found = told(api)
    assert {key: value for key, value in found.items() if key[0] in STORE} == {("canari_database_up",): 0}
    assert told(api)[("canari_database_up",)] == 1
