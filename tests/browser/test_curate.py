from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select, text

from canari.blobs import FolderBlobs
from canari.spec import DataPolicy, InputKind, ModelSpec, TrainOn
from canari.spec_file import load_spec
from canari.store import access, feedback, versions
from canari.store import tables as t
from canari.tokens import Scope
from canari.types import Feedback
from tests.browser.conftest import Site
from tests.conftest import ROOT
from tests.integration.store.queue_of import keep, photos

pytestmark = pytest.mark.browser
PASSWORD = "correct horse"


@pytest.fixture
def spec(site: Site) -> ModelSpec:
    """cats_dogs as its team lets it learn from what people agree to."""
    policy = DataPolicy(train_on=TrainOn.CURATED, retain_inputs="consented")
    spec = load_spec(ROOT / "bentos" / "cats_dogs").model_copy(update={"data": policy})
    versions.put_spec(site.database.engine, spec)
    return spec


@pytest.fixture
def eve(site: Site, spec: ModelSpec, page: Page) -> Page:
    """A curator's page; she is signed in."""
    access.put_account(site.database.engine, "eve", PASSWORD, scopes=[Scope.CURATE], models=[spec.name])
    answer = page.request.post(f"{site.url}/api/session", data={"name": "eve", "password": PASSWORD})
    assert answer.ok
    return page


@pytest.fixture
def blobs(site: Site) -> FolderBlobs:
    return FolderBlobs(site.models.context.layout.blobs)


@pytest.fixture
def three(site: Site, spec: ModelSpec, blobs: FolderBlobs) -> list[UUID]:
    """Three photos that wait, from the first that the desk shows to the last."""
    assert spec.data.retain_inputs == "consented"
    return [
        keep(site.database.engine, blobs, content, label="dog", score=score, scores={"cat": 1 - score, "dog": score})
        for content, score in zip(photos(), (0.55, 0.7, 0.93), strict=False)
    ]


def stands(site: Site, identifier: UUID) -> tuple[object, ...]:
    query = select(t.inputs.c.review, t.inputs.c.label, t.inputs.c.reviewed_by)
    with site.database.engine.connect() as connection:
        return tuple(connection.execute(query.where(t.inputs.c.prediction_id == identifier)).one())


def samples(site: Site) -> list[tuple[object, ...]]:
    with site.database.engine.connect() as connection:
        rows = connection.execute(text("SELECT label, origin, labelled_by FROM samples ORDER BY label"))
        return [tuple(row) for row in rows]


def seen(page: Page) -> None:
    """Wait until the photo is on the desk and something can be said of it."""
    expect(page.locator(".acts")).to_be_enabled()
    expect(page.get_by_role("img", name="La photo à trier")).to_be_visible()


@pytest.mark.usefixtures("three")
def test_one_is_asked_to_sign_in_and_comes_back(site: Site, spec: ModelSpec, page: Page) -> None:
    access.put_account(site.database.engine, "eve", PASSWORD, scopes=[Scope.CURATE])
    page.goto(f"{site.url}/curate/{spec.name}")
    expect(page.get_by_text("ne sont montrés qu'aux personnes qui les trient")).to_be_visible()
    page.get_by_role("link", name="Se connecter").click()
    page.get_by_label("Nom").fill("eve")
    page.get_by_label("Mot de passe").fill("wrong horse")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Le nom ou le mot de passe est faux.")
    page.get_by_role("link", name="English").click()
    page.get_by_label("Name").fill("Eve")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=2)).to_have_text("Dog, 55% sure")
    assert page.url == f"{site.url}/curate/{spec.name}"
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    assert page.request.get(f"{site.url}/api/me").json()["subject"] is None


@pytest.mark.parametrize(
    "elsewhere", ["https://example.com/", "//example.com/", "javascript:alert(1)", "/\\example.com"]
)
def test_signing_in_leads_to_no_other_site(site: Site, eve: Page, elsewhere: str) -> None:
    eve.goto(f"{site.url}/sign-in?next={elsewhere}")
    link = eve.get_by_role("link", name="Continuer")
    expect(link).to_be_visible()
    assert str(link.evaluate("link => link.href")).startswith(site.url)


def test_photos_are_reviewed_from_the_keyboard(site: Site, three: list[UUID], eve: Page) -> None:
    feedback.put(site.database.engine, Feedback(three[1], "cats_dogs", "visitor:bob", False, "cat", "Mon chat."))
    wrong, first, last = three[1], three[0], three[2]
    eve.goto(f"{site.url}/curate")
    seen(eve)
    expect(eve.get_by_role("heading", level=2)).to_have_text("Chien, sûr à 70\u00a0%")
    expect(eve.get_by_text("Quelqu'un a dit que c'était\u00a0: Chat.")).to_be_visible()
    expect(eve.get_by_text("Mon chat.")).to_be_visible()
    eve.keyboard.press("Digit1")
    expect(eve.locator("#live")).to_have_text("Corrigé\u00a0: Chat")
    expect(eve.get_by_role("heading", level=2)).to_have_text("Chien, sûr à 55\u00a0%")
    expect(eve.get_by_role("heading", level=2)).to_be_focused()
    seen(eve)
    eve.keyboard.press("x")
    expect(eve.get_by_role("heading", level=2)).to_have_text("Chien, sûr à 93\u00a0%")
    seen(eve)
    eve.keyboard.press("Enter")
    expect(eve.get_by_role("heading", level=2)).to_have_text("Tout est trié, merci\u00a0!")
    assert stands(site, wrong) == ("relabelled", "cat", "account:eve")
    assert stands(site, first) == ("refused", None, "account:eve")
    assert stands(site, last) == ("accepted", "dog", "account:eve")
    assert samples(site) == [("cat", "curated", "account:eve"), ("dog", "curated", "account:eve")]


def test_one_may_go_back_and_say_otherwise(site: Site, three: list[UUID], eve: Page) -> None:
    eve.goto(f"{site.url}/curate")
    seen(eve)
    eve.keyboard.press("Enter")
    expect(eve.get_by_role("heading", level=2)).to_have_text("Chien, sûr à 70\u00a0%")
    expect(eve.locator(".left")).to_have_text("2 en attente")
    eve.keyboard.press("ArrowLeft")
    expect(eve.locator(".stands")).to_have_text("Accepté\u00a0: Chien")
    seen(eve)
    expect(eve.get_by_role("button", name="Accepter")).to_have_attribute("aria-pressed", "true")
    eve.get_by_role("group", name="C'est plutôt").get_by_role("button", name="Chat").click()
    expect(eve.get_by_role("heading", level=2)).to_have_text("Chien, sûr à 70\u00a0%")
    assert stands(site, three[0]) == ("relabelled", "cat", "account:eve")
    expect(eve.locator(".left")).to_have_text("2 en attente")
    rows = eve.locator("tbody tr")
    expect(rows.nth(0)).to_contain_text("Chat")
    expect(rows.nth(0).locator("td").nth(1)).to_have_text("1")
    expect(rows.nth(1).locator("td").nth(1)).to_have_text("0")


def test_what_nothing_may_learn_from_is_set_aside_and_one_is_told_why(
    site: Site, blobs: FolderBlobs, eve: Page
) -> None:
    judged = keep(site.database.engine, blobs, next(photos(judged=True)))
    eve.goto(f"{site.url}/curate")
    seen(eve)
    eve.keyboard.press("Enter")
    expect(eve.locator(".told")).to_contain_text("il ressemble à ce qui sert à juger les versions")
    assert stands(site, judged) == ("refused", None, "account:eve")
    assert samples(site) == []


def test_an_input_that_was_erased_meanwhile_is_passed_over(site: Site, three: list[UUID], eve: Page) -> None:
    eve.goto(f"{site.url}/curate")
    seen(eve)
    with site.database.engine.begin() as connection:
        connection.execute(t.inputs.delete().where(t.inputs.c.prediction_id == three[0]))
    eve.keyboard.press("Enter")
    expect(eve.locator(".told")).to_contain_text("Il n'était plus gardé")
    expect(eve.get_by_role("heading", level=2)).to_have_text("Chien, sûr à 70\u00a0%")
    expect(eve.locator(".left")).to_have_text("2 en attente")


def test_nothing_is_said_by_a_key_that_is_held_or_once_keys_are_off(site: Site, three: list[UUID], eve: Page) -> None:
    eve.goto(f"{site.url}/curate")
    seen(eve)
    eve.get_by_label("Clavier").uncheck()
    eve.locator("h2").focus()
    eve.keyboard.press("x")
    eve.keyboard.press("Enter")
    eve.reload()
    seen(eve)
    expect(eve.get_by_label("Clavier")).not_to_be_checked()
    eve.get_by_label("Clavier").check()
    eve.locator("h2").focus()
    for _ in range(2):
        eve.keyboard.down("x")
    expect(eve.get_by_role("heading", level=2)).to_have_text("Chien, sûr à 70\u00a0%")
    seen(eve)
    for _ in range(5):
        eve.keyboard.down("x")
    expect(eve.get_by_role("heading", level=2)).to_have_text("Chien, sûr à 70\u00a0%")
    assert [stands(site, one)[0] for one in three] == ["refused", "waiting", "waiting"]


def test_a_text_is_read_as_text(site: Site, spec: ModelSpec, blobs: FolderBlobs, eve: Page) -> None:
    written = spec.input.model_copy(update={"kind": InputKind.TEXT, "size": None})
    versions.put_spec(site.database.engine, spec.model_copy(update={"input": written}))
    keep(site.database.engine, blobs, "<b>Ça va ?</b>".encode(), media_type="text/plain")
    eve.goto(f"{site.url}/curate")
    expect(eve.get_by_label("Le texte à trier")).to_have_text("<b>Ça va ?</b>")


def test_an_empty_queue_says_how_something_gets_there_and_looks_again_by_itself(
    site: Site, spec: ModelSpec, blobs: FolderBlobs, eve: Page
) -> None:
    eve.clock.install()
    eve.goto(f"{site.url}/curate")
    expect(eve.get_by_role("heading", level=2)).to_have_text("Rien n'attend")
    expect(eve.get_by_text("accepte que son envoi soit gardé")).to_be_visible()
    keep(site.database.engine, blobs, next(photos()), score=0.8)
    eve.clock.fast_forward(16_000)
    expect(eve.get_by_role("heading", level=2)).to_have_text("Chat, sûr à 80\u00a0%")
    never = spec.model_copy(update={"data": DataPolicy()})
    versions.put_spec(site.database.engine, never)
    with site.database.engine.begin() as connection:
        connection.execute(t.inputs.delete())
    eve.goto(f"{site.url}/curate")
    expect(eve.get_by_text("Ce modèle ne garde rien de ce qu'on lui envoie.")).to_be_visible()


@pytest.mark.usefixtures("three")
def test_who_may_not_curate_is_told_so(site: Site, page: Page) -> None:
    access.put_account(site.database.engine, "bob", PASSWORD, scopes=[Scope.PREDICT])
    assert page.request.post(f"{site.url}/api/session", data={"name": "bob", "password": PASSWORD}).ok
    for path in ("/curate", "/curate/cats_dogs"):
        page.goto(site.url + path)
        expect(page.get_by_text("bob ne peut pas trier les envois")).to_be_visible()


def test_a_session_that_ended_leads_to_signing_in(site: Site, three: list[UUID], eve: Page) -> None:
    eve.goto(f"{site.url}/curate")
    seen(eve)
    eve.context.clear_cookies()
    eve.keyboard.press("Enter")
    expect(eve.get_by_role("link", name="Se connecter")).to_be_visible()
    assert stands(site, three[0])[0] == "waiting"


@pytest.fixture
def phone(eve: Page, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(
        locale="fr-FR",
        viewport={"width": 360, "height": 740},
        is_mobile=True,
        has_touch=True,
        device_scale_factor=2,
        storage_state=eve.context.storage_state(),
    )
    yield context.new_page()
    context.close()


def test_a_phone_shows_it_all_and_never_scrolls_sideways(
    site: Site, spec: ModelSpec, three: list[UUID], phone: Page
) -> None:
    labels = ("Amanita muscaria", "dog", *(f"Cortinarius violaceus {n}" for n in range(12)))
    versions.put_spec(site.database.engine, spec.model_copy(update={"labels": labels, "label_titles": {}}))
    phone.goto(f"{site.url}/curate")
    seen(phone)
    assert phone.evaluate("document.documentElement.scrollWidth") == 360
    expect(phone.get_by_role("button", name="Accepter")).to_be_in_viewport()
    phone.get_by_label("Une autre réponse…").select_option("Cortinarius violaceus 11")
    expect(phone.get_by_role("heading", level=2)).to_have_text("dog, sûr à 70\u00a0%")
    expect(phone.get_by_role("img", name="La photo à trier")).to_be_in_viewport()
    assert stands(site, three[0]) == ("relabelled", "Cortinarius violaceus 11", "account:eve")
    phone.goto(f"{site.url}/sign-in")
    expect(phone.get_by_role("link", name="Continuer")).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth") == 360
