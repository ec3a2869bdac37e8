"""The page as a visitor meets it: through the gateway, answered by a real version, kept in the real database."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.platform import Platform, until

pytestmark = pytest.mark.browser


def test_a_visitor_asks_a_real_version_and_says_it_was_wrong(platform: Platform, page: Page) -> None:
    page.goto(str(platform.client.base_url))
    expect(page.get_by_role("heading", level=1)).to_have_text("Dérive")
    page.get_by_label("x1").fill("1.5")
    page.get_by_label("x2").fill("-2")
    page.get_by_role("button", name="Demander au modèle").click()
    expect(page.get_by_role("heading", level=2)).to_contain_text("Sous la droite")
    page.get_by_role("button", name="Non").click()
    page.get_by_label("Au-dessus de la droite", exact=True).check()
    page.get_by_role("button", name="Envoyer").click()
    expect(page.get_by_role("heading", name="Merci")).to_be_visible()
    votes = (
        'SELECT f."right", f.label, p.kind FROM feedback f JOIN predictions p ON p.id = f.prediction_id '
        "WHERE f.subject = p.subject AND f.subject LIKE 'visitor:%'"
    )
    until(lambda: bool(platform.rows(votes)), 10)
    assert platform.rows(votes) == [(False, "above", "arm")]
