from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from canari.errors import CanariError
from canari.family import find_family
from canari.measures import NO_NUMBER, PLACES, Measure, Reference
from canari.store import predictions, references, versions
from canari.store.references import MOST_INPUTS
from canari.store.tables import hours, input_references
from canari.types import Prediction, RequestKind
from tests.conftest import ROOT, Database
from tests.integration.store.samples_of import id_at, prediction

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
REFERENCE = Reference(
    view="features",
    measures=(Measure("x1", (0.0, 1.0), (5, 4, 3, *[0] * 8)), Measure("x2", (), (12, *[0] * 10))),
    answers={"below": 7, "above": 5},
)


def put(database: Database, *rows: Prediction) -> None:
    predictions.append(database.engine, "line", 1, rows)


def asked(seq: int, *bins: int, **changes: object) -> Prediction:
    values: dict[str, Any] = {
        "id": id_at(NOW - timedelta(hours=1)),
        "seq": seq,
        "input_sha256": f"{seq:064}",
        "bins": bins,
    }
    return prediction(**{**values, "label": "above", **changes})


def places(**counts: int) -> NDArray[np.int64]:
    found = np.zeros(PLACES, np.int64)
    for place, n in counts.items():
        found[int(place[1:])] = n
    return found


def seen(database: Database) -> references.Seen:
    return references.seen(database.engine, "line", 1, REFERENCE, NOW - DAY, NOW)


def test_a_versions_reference_comes_back_and_one_made_again_gives_way(
    database: Database,
) -> None:
    cats_dogs = find_family(ROOT / "bentos", "cats_dogs").spec
    number = versions.allot(database.engine, cats_dogs, manifest_digest=None, synthetic=False)
    assert references.read(database.engine, "cats_dogs", number) is None
    other = Reference(view="features", measures=REFERENCE.measures[:1], answers={})
    for made in (other, REFERENCE):
        references.put(database.engine, "cats_dogs", number, made)
    assert references.read(database.engine, "cats_dogs", number) == REFERENCE
    with database.engine.begin() as connection:
        connection.execute(input_references.update().values(body={"view": "dreams"}))
    with pytest.raises(CanariError, match="this is not a reference of inputs: view"):
        references.read(database.engine, "cats_dogs", number)


def test_each_different_input_counts_once_on_every_measure(database: Database) -> None:
    put(database, asked(1, 2, 0), asked(2, 2, NO_NUMBER, label="below"), asked(3, 0, 0), asked(4, 0, 0))
    put(database, *(asked(seq, 0, 0, input_sha256="f" * 64) for seq in (5, 6, 7)))
    found = seen(database)
    assert found.counts.keys() == {"x1", "x2"}
    assert (found.counts["x1"] == places(_0=3, _2=2)).all()
    assert (found.counts["x2"] == places(_0=4, _10=1)).all()
    assert found.answers == {"above": 4, "below": 1}


def test_only_answers_of_the_window_that_users_got_count(database: Database) -> None:
    put(
        database,
        asked(1, 1, 1, kind=RequestKind.DIRECT),
        asked(2, 1, 1, kind=RequestKind.PIN),
        asked(3, 1, 1, kind=RequestKind.SHADOW),
        asked(4, 1, 1, status=500),
        asked(5, 1, 1, id=id_at(NOW - 2 * DAY)),
        asked(6, 1, 1, id=id_at(NOW)),
        asked(7, bins=None),
    )
    predictions.append(database.engine, "line", 2, [asked(8, 1, 1)])
    found = seen(database)
    assert (found.counts["x1"] == places(_1=1)).all()
    assert found.answers == {"above": 1}


def test_of_very_many_inputs_a_part_is_looked_at_spread_over_all_of_them(database: Database) -> None:
    many = 200
    put(database, *(asked(seq, seq % 2, 0, input_sha256=sha256(b"%d" % seq).hexdigest()) for seq in range(many)))
    assert seen(database).counts["x2"].sum() == many
    values = {"model": "line", "version": 1, "hour": NOW - timedelta(hours=1), "predictions": 4 * MOST_INPUTS}
    with database.engine.begin() as connection:
        connection.execute(hours.delete())
        connection.execute(hours.insert().values(values))
    part = seen(database).counts
    assert many / 8 < part["x2"].sum() < many / 2.5
    assert part["x1"][0] > 0 < part["x1"][1]


def test_places_that_a_bento_of_another_make_wrote_do_no_harm(database: Database) -> None:
    put(database, asked(1, 1, 2, 3), asked(2, -1, 99), asked(3, 4))
    found = seen(database)
    assert (found.counts["x1"] == places(_1=1, _4=1)).all()
    assert (found.counts["x2"] == places(_2=1)).all()


def test_a_prediction_comes_back_with_its_places_as_they_were(database: Database) -> None:
    row = asked(1, 3, 10)
    put(database, row)
    found = predictions.get(database.engine, "line", row.id)
    assert found is not None
    assert found[0].prediction.bins == (3, 10)
