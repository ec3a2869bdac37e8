"""Inputs that bentos hand in: the platform asks its own policy again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import pytest

from canari.ids import new_id
from canari.runtime.client import INPUTS
from canari.runtime.inputs import MEDIA_TYPE, MOST_BYTES, Head, pack
from canari.store import inputs, versions
from canari.tokens import Scope
from tests.integration.services.conftest import Api


def policy(api: Api, **data: Any) -> None:
    spec = versions.live_specs(api.context.engine)["cats_dogs"]
    versions.put_spec(
        api.context.engine, spec.model_copy(update={"data": spec.data.model_copy(update=data)})
    )  # fmt: skip


def put(api: Api, made: UUID, *, consented: bool = True, **changes: Any) -> httpx.Response:
    photo = b"\xff\xd8 photo"
    head = Head(made, "visitor:1", "image/jpeg", consented, len(photo))
    options = {"content": pack(head, photo), "headers": {"Content-Type": MEDIA_TYPE, **api.bento()}}
    answer: httpx.Response = api.client.put(f"{INPUTS}/{made}", **{**options, **changes})
    return answer


@pytest.mark.parametrize(
    ("retain", "consented", "status"),
    [
        ("never", True, 204),
        ("consented", False, 204),
        ("consented", True, 201),
        ("always", False, 201),
    ],
)
def test_the_live_policy_decides_whatever_the_bento_was_told(
    api: Api, retain: str, consented: bool, status: int
) -> None:
    policy(api, retain_inputs=retain, retain_days=7)
    made = new_id()
    assert put(api, made, consented=consented).status_code == status
    found = inputs.read(api.context.engine, "cats_dogs", made)
    assert (found is not None) is (status == 201)
    if found:
        assert (found.version, found.consented, (found.keep_until - found.created_at).days) == (1, consented, 7)
        assert api.context.blobs.get(found.folder, found.sha256) == b"\xff\xd8 photo"
        assert put(api, made).status_code == 200


def test_an_input_of_an_erased_person_is_dropped(api: Api) -> None:
    policy(api, retain_inputs="consented")
    made = new_id()
    one = api.context.eraser.begin("visitor:1", "an administrator")
    assert put(api, made).status_code == 204
    api.context.eraser.finish(one, ["visitor:1"])
    assert inputs.read(api.context.engine, "cats_dogs", made) is None
    assert put(api, new_id()).status_code == 201


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"headers": {"Content-Type": MEDIA_TYPE}}, 401),
        ({"content": b"no line of JSON"}, 422),
        ({"content": pack(Head(new_id(), "visitor:1", "image/jpeg", consented=True, bytes=1), b"x")}, 422),
        ({"content": b"x" * (MOST_BYTES + 2**20)}, 413),
    ],
)
def test_what_is_no_input_is_refused(api: Api, changes: dict[str, Any], status: int) -> None:
    policy(api, retain_inputs="always")
    assert put(api, new_id(), **changes).status_code == status


def test_only_a_bento_may_and_only_types_that_a_page_may_show(api: Api) -> None:
    policy(api, retain_inputs="always")
    headers = {"Content-Type": MEDIA_TYPE, **api.token(Scope.ADMIN)}
    assert put(api, new_id(), headers=headers).status_code == 403
    made = new_id()
    page = pack(Head(made, "visitor:1", "text/html", consented=True, bytes=1), b"x")
    assert put(api, made, content=page).status_code == 422
    plain = {"Content-Type": "application/json", **api.bento()}
    assert put(api, made, headers=plain).status_code == 415
