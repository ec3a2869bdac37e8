from datetime import UTC, datetime, timedelta
from itertools import pairwise

from canari.errors import Problem
from canari.ids import first_id, moment_of, new_id
from canari.types import Arm


def test_ids_are_version_7_and_sort_by_time() -> None:
    made = [new_id() for _ in range(100)]
    assert {i.version for i in made} == {7}
    assert all(a < b for a, b in pairwise(made))
    assert abs(moment_of(made[0]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_first_id_of_a_moment_is_under_every_later_one() -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    bound = first_id(moment)
    assert (bound.version, moment_of(bound)) == (7, moment)
    assert first_id(moment - timedelta(milliseconds=1)) < bound < first_id(moment + timedelta(milliseconds=1))


def test_an_arm_survives_its_stamp_and_nothing_else_is_one() -> None:
    assert Arm.parse(str(Arm(17, 2, 5))) == Arm(17, 2, 5)
    for stamp in ("", "pin", "1.2", "1.2.3.4", "1.2.x", "-1.2.3", " 1.2.3"):
        assert Arm.parse(stamp) is None


def test_a_problem_is_told_as_the_rfc_says() -> None:
    body = Problem(415, "unsupported-media-type", "Send image/jpeg.", accepted=["image/jpeg"]).body("r1")
    assert body == {
        "type": "urn:canari:problem:unsupported-media-type",
        "title": "Unsupported media type",
        "status": 415,
        "detail": "Send image/jpeg.",
        "accepted": ["image/jpeg"],
        "request_id": "r1",
    }
