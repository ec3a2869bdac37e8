from __future__ import annotations

import base64
import io

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import text

from canari.errors import Problem
from canari.spec_file import load_spec
from canari.store import rollouts, versions
from tests.browser.conftest import Site
from tests.conftest import ROOT

pytestmark = pytest.mark.browser

_DROP = """([content, type]) => {
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], "photo", { type }));
  const event = EVENT;
  document.querySelector(".drop").dispatchEvent(event);
}"""
DROP = _DROP.replace("EVENT", 'new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })')
PASTE = _DROP.replace("EVENT", 'new ClipboardEvent("paste", { clipboardData: data, bubbles: true })')


def photo() -> bytes:
    content = io.BytesIO()
    Image.effect_noise((320, 240), 60).convert("RGB").save(content, "JPEG")
    return content.getvalue()


def give(page: Page, how: str = DROP, content: bytes | None = None, media_type: str = "image/jpeg") -> None:
    page.locator(".drop").wait_for()
    page.evaluate(how, [base64.b64encode(content or photo()).decode(), media_type])


def rows(site: Site) -> list[tuple[object, ...]]:
    query = text(
        'SELECT f."right", f.first_right, f.label, f.comment, f.subject = p.subject '
        "FROM feedback f JOIN predictions p ON p.id = f.prediction_id"
    )
    with site.database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]


def test_a_dropped_photo_is_answered_and_what_it_really_was_lands_in_the_database(site: Site, page: Page) -> None:
    page.goto(site.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("Chats et chiens")
    expect(page.locator(".badge")).to_have_text("Modèle de démonstration, appris sur des dessins")
    give(page)
    expect(page.get_by_role("heading", level=2)).to_have_text("Chien, sûr à 94\u00a0%")
    expect(page.get_by_text("Réponse de la version 1 en 28 ms")).to_be_visible()
    assert page.locator(".bars li .name").all_text_contents() == ["Chien", "Chat"]
    expect(page.get_by_role("img", name="La photo envoyée")).to_be_visible()
    page.get_by_role("button", name="Non").click()
    page.get_by_label("Chat", exact=True).check()
    page.get_by_label("Un commentaire ? (facultatif)".replace(" ?", "\u00a0?")).fill("C'est mon chat.")
    assert page.get_by_role("radio").count() == 2
    page.get_by_role("button", name="Envoyer").click()
    expect(page.get_by_text("Merci\u00a0!", exact=True)).to_be_visible()
    expect(page.get_by_text("Vous avez dit que c'était\u00a0: Chat.").last).to_be_visible()
    assert rows(site) == [(False, False, "cat", "C'est mon chat.", True)]
    assert site.models.asked[0][0] == "image/jpeg"


def keeping(site: Site, **data: object) -> None:
    spec = load_spec(ROOT / "bentos" / "cats_dogs")
    versions.put_spec(
        site.database.engine, spec.model_copy(update={"data": spec.data.model_copy(update=data)})
    )  # fmt: skip


def test_who_sends_a_photo_is_asked_whether_it_may_be_kept_each_time(site: Site, page: Page) -> None:
    keeping(site, retain_inputs="consented", retain_days=14)
    page.goto(site.url)
    box = page.get_by_label("Garder ma photo 14 jours")
    expect(box).not_to_be_checked()
    with page.expect_response("**/predict"):
        give(page)
    box.check()
    with page.expect_response("**/predict"):
        give(page, PASTE)
    address = page.get_by_label("ou son adresse sur le web")
    address.fill("https://example.com/cat.jpg")
    with page.expect_response("**/predict-url"):
        address.press("Enter")
    assert site.models.consents == [None, "keep", "keep"]
    page.goto(f"{site.url}?lang=en")
    expect(page.get_by_label("Keep my photo for 14 days")).not_to_be_checked()


def test_where_nothing_is_kept_nothing_is_asked_and_where_all_is_it_is_told(site: Site, page: Page) -> None:
    page.goto(site.url)
    page.locator(".drop").wait_for()
    assert page.locator(".consent").count() == 0
    keeping(site, retain_inputs="always", retain_days=7)
    page.goto(site.url)
    expect(page.locator(".consent")).to_contain_text("Les photos sont gardées 7 jours")
    assert page.get_by_role("checkbox").count() == 0


def test_a_photo_may_be_named_by_its_address(site: Site, page: Page) -> None:
    page.goto(site.url)
    address = page.get_by_label("ou son adresse sur le web")
    address.fill("cat.jpg")
    page.get_by_role("button", name="Aller la chercher").click()
    assert site.models.asked == []
    address.fill("https://example.com/cat.jpg")
    address.press("Enter")
    expect(page.get_by_role("heading", level=2)).to_have_text("Chien, sûr à 94\u00a0%")
    assert site.models.asked == [("application/json", b'{"url":"https://example.com/cat.jpg"}')]
    site.models.refusals = [Problem(422, "address-not-public", "No.")]
    address.press("Enter")
    expect(page.get_by_text("Une photo se prend sur un site public")).to_be_visible()


def test_a_mind_may_change(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/models/cats_dogs")
    give(page)
    page.get_by_role("button", name="Oui").click()
    page.get_by_role("button", name="Changer d'avis").click()
    page.get_by_role("button", name="Non").click()
    page.get_by_label("Autre, ou je ne sais pas").check()
    page.get_by_role("button", name="Envoyer").click()
    expect(page.get_by_text("Vous avez dit que c'était faux.").last).to_be_visible()
    assert rows(site) == [(False, True, None, None, True)]


def test_a_pasted_and_a_chosen_photo_are_asked_about_too(site: Site, page: Page) -> None:
    page.goto(site.url)
    give(page, PASTE)
    expect(page.locator(".verdict")).to_be_visible()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Une autre photo").click()
    chooser.value.set_files({"name": "b.png", "mimeType": "image/png", "buffer": photo()})
    expect(page.locator(".verdict")).to_be_visible()
    page.wait_for_function("document.querySelectorAll('.answer').length === 1")
    assert [media_type for media_type, _ in site.models.asked] == ["image/jpeg", "image/png"]


def test_a_photo_too_large_for_the_model_is_made_smaller_first(site: Site, page: Page) -> None:
    spec = load_spec(ROOT / "bentos" / "cats_dogs")
    small = spec.model_copy(update={"input": spec.input.model_copy(update={"max_bytes": 2_000})})
    versions.put_spec(site.database.engine, small)
    content = io.BytesIO()
    Image.linear_gradient("L").resize((2600, 1300)).save(content, "PNG")
    page.goto(site.url)
    give(page, content=content.getvalue(), media_type="image/png")
    expect(page.locator(".verdict")).to_be_visible()
    media_type, sent = site.models.asked[0]
    assert (media_type, Image.open(io.BytesIO(sent)).size) == ("image/jpeg", (2048, 1024))


def test_everything_can_be_done_from_the_keyboard(site: Site, page: Page) -> None:
    page.goto(site.url)
    page.locator(".drop").wait_for()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Aller au contenu")).to_be_focused()
    page.keyboard.press("Enter")
    while page.evaluate("document.activeElement.textContent") != "Choisir une photo":
        page.keyboard.press("Tab")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files({"name": "a.jpg", "mimeType": "image/jpeg", "buffer": photo()})
    expect(page.locator("#live")).to_have_text("Chien, sûr à 94\u00a0%")
    for _ in range(4):
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Non")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    page.keyboard.press("Enter")
    expect(page.get_by_label("Chat", exact=True)).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.type("au clavier")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Merci")).to_be_focused()
    assert rows(site) == [(False, False, "cat", "au clavier", True)]


def test_the_language_is_the_browsers_until_another_is_chosen_and_then_stays(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/models/cats_dogs")
    expect(page.get_by_role("heading", level=1)).to_have_text("Chats et chiens")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cats and dogs")
    give(page)
    expect(page.locator(".verdict")).to_have_text("Dog, 94% sure")
    page.goto(site.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("Cats and dogs")
    assert page.locator("html").get_attribute("lang") == "en"


def test_numbers_are_asked_about_in_a_form(site: Site, page: Page) -> None:
    page.goto(site.url)
    page.get_by_role("link", name="Dérive").click()
    expect(page.locator(".badge")).to_have_text("Modèle de démonstration, appris sur des données inventées")
    page.get_by_label("x1").fill("0.5")
    page.get_by_label("x2").fill("-1.25")
    page.get_by_role("button", name="Demander au modèle").click()
    expect(page.locator(".verdict")).to_have_text("Au-dessus de la droite, sûr à 80\u00a0%")
    assert site.models.asked == [("application/json", b'{"x1":0.5,"x2":-1.25}')]


def test_a_model_that_is_not_certain_says_so_and_rules_no_label_out(site: Site, page: Page) -> None:
    site.models.answer, site.models.scores["cats_dogs"] = "unknown", {"cat": 0.52, "dog": 0.48}
    page.goto(site.url)
    give(page)
    expect(page.locator(".verdict")).to_have_text("Je ne sais pas")
    expect(page.get_by_text("Au mieux\u00a0: chat, sûr à 52\u00a0%.")).to_be_visible()
    page.get_by_role("button", name="Non").click()
    expect(page.get_by_role("radio")).to_have_count(3)


def test_a_refusal_is_told_kindly_and_can_be_tried_again(site: Site, page: Page) -> None:
    site.models.refusals.append(Problem(400, "not-an-image", "The bytes are not a photo that can be read."))
    page.goto(site.url)
    give(page)
    expect(page.get_by_role("alert")).to_contain_text("n'est pas une photo que nous savons lire")
    page.get_by_text("Détail technique").click()
    expect(page.get_by_text("Référence\u00a0: r-1")).to_be_visible()
    page.get_by_role("button", name="Réessayer").click()
    expect(page.locator(".verdict")).to_be_visible()


def test_where_it_is_crowded_the_page_comes_back_by_itself(site: Site, page: Page) -> None:
    busy = Problem(429, "too-many-requests", "All places are taken.", headers={"Retry-After": "1"})
    site.models.refusals += [busy, busy]
    page.goto(site.url)
    give(page)
    expect(page.locator(".result .waiting")).to_contain_text("nouvel essai dans 1 s")
    expect(page.locator(".verdict")).to_be_visible()
    assert len(site.models.asked) == 3


def test_an_unknown_model_is_said_to_be_unknown(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/models/birds")
    expect(page.get_by_role("alert")).to_contain_text("Il n'y a pas de modèle de ce nom.")


def test_a_platform_that_starts_says_what_it_does_until_it_can_be_asked(empty_site: Site, page: Page) -> None:
    engine = empty_site.database.engine
    page.goto(empty_site.url)
    expect(page.locator(".waiting")).to_have_text("La plate-forme démarre…")
    spec = load_spec(ROOT / "bentos" / "cats_dogs")
    versions.put_spec(engine, spec)
    expect(page.locator(".waiting")).to_contain_text("n'a pas encore de version")
    number = versions.allot(engine, spec, manifest_digest="m", synthetic=False)
    expect(page.locator(".waiting")).to_contain_text("La version 1 de ce modèle est en cours d'apprentissage")
    versions.mark_ready(engine, "cats_dogs", number, archive="a" * 64, metrics={})
    rollouts.deploy(engine, "cats_dogs", number, weight=100, actor="a test")
    expect(page.get_by_role("button", name="Choisir une photo")).to_be_visible()
    expect(page.locator(".badge")).to_be_hidden()


@pytest.mark.parametrize("path", ["/", "/models/drift", "/models/birds"])
def test_a_phone_never_scrolls_sideways(site: Site, browser: Browser, path: str) -> None:
    context = browser.new_context(
        locale="fr-FR", viewport={"width": 360, "height": 640}, is_mobile=True, has_touch=True, device_scale_factor=2
    )
    page = context.new_page()
    page.goto(site.url + path)
    page.wait_for_selector(".drop, .row, .problem")
    if path == "/":
        expect(page.get_by_role("button", name="Prendre une photo")).to_be_visible()
        give(page)
        page.get_by_role("button", name="Non").click()
        page.get_by_role("radio").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    context.close()


def test_an_inline_script_would_not_run(site: Site, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(site.url)
    page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.ran = true'; document.body.append(s)"
    )
    assert page.evaluate("window.ran") is None
    page.close()
