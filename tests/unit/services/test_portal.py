import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.portal import app as portal
from services.portal.app import create_app
from services.portal.assets import Assets
from services.portal.languages import TEXTS, choose

ROOT = Path(portal.__file__).parent


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app()) as client:
        yield client


def test_both_languages_have_the_same_texts_with_the_same_placeholders() -> None:
    french, english = TEXTS["fr"], TEXTS["en"]
    assert french.keys() == english.keys()
    for key, text in french.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", english[key])), key


def test_every_text_is_used_and_every_text_used_is_there() -> None:
    sources = [p.read_text() for p in ROOT.rglob("*") if p.suffix in {".js", ".html"}]
    used = {key for source in sources for key in re.findall(r"[\"']((?:\w+\.)[a-z.-]+)[\"']", source)}
    known = {key.partition(".")[0] for key in TEXTS["fr"]}
    assert {key for key in used if key.partition(".")[0] in known} == set(TEXTS["fr"])


def test_french_has_no_break_before_its_high_punctuation() -> None:
    assert [text for text in TEXTS["fr"].values() if re.search(r" [?!;:]", text)] == []


@pytest.mark.parametrize(
    ("asked", "kept", "accepted", "language"),
    [
        ("en", "fr", "fr", "en"),
        ("xx", "en", "fr", "en"),
        (None, None, "en-GB,en;q=0.9", "en"),
        (None, None, "de, en;q=0.5, fr;q=0.8", "fr"),
        (None, None, "de, fr;q=0, en;q=0.1", "en"),
        (None, None, "en;q=nonsense", "fr"),
        (None, None, None, "fr"),
    ],
)
def test_the_language_is_asked_for_kept_or_the_browsers(
    asked: str | None, kept: str | None, accepted: str | None, language: str
) -> None:
    assert choose(asked, kept, accepted) == language


def test_a_chosen_language_is_kept_and_pages_of_both_are_told_apart_by_caches(client: TestClient) -> None:
    answer = client.get("/?lang=en")
    assert '<html lang="en">' in answer.text
    assert "canari_lang=en" in answer.headers["set-cookie"]
    assert "Cookie" in answer.headers["vary"]
    assert answer.headers["cache-control"] == "no-cache"
    client.cookies.clear()
    assert "set-cookie" not in client.get("/").headers


def test_every_answer_tells_browsers_what_to_refuse(client: TestClient) -> None:
    for url in ("/", "/nothing", "/healthz"):
        headers = client.get(url).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_pages_name_only_assets_that_are_there_and_they_are_cached_for_good(client: TestClient) -> None:
    urls = re.findall(r'(?:src|href)="(/assets/[^"]+)"', client.get("/models/cats_dogs").text)
    assert len(urls) >= 4
    for url in urls:
        answer = client.get(url)
        assert (answer.status_code, answer.headers["cache-control"]) == (
            200,
            "public, max-age=31536000, immutable",
        ), url
        for imported in re.findall(r'from "(\.[^"]+)"', answer.text):
            assert client.get(str(answer.url.join(imported))).status_code == 200, imported


def test_an_asset_of_an_older_page_is_still_sent_but_not_kept(client: TestClient) -> None:
    answer = client.get("/assets/0000000000000000/static/base.css")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    for missing in ("pages/ask/page.html", "static/none.css", "../app.py"):
        assert client.get(f"/assets/0000000000000000/{missing}").status_code == 404, missing


def test_assets_change_their_address_with_their_content(tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    file = tmp_path / "static" / "a.css"
    file.write_text("a { color: red }")
    first = Assets(tmp_path, ["static"])
    file.write_text("a { color: tan }")
    second = Assets(tmp_path, ["static"])
    assert first.url("static/a.css") != second.url("static/a.css")
    with pytest.raises(KeyError):
        first.url("static/b.css")


def test_a_model_name_from_the_address_cannot_become_markup(client: TestClient) -> None:
    page = client.get("/models/%22%3E%3Cimg%20onerror=alert(1)%3E")
    assert page.headers["content-type"].startswith("text/html")
    assert "<img onerror" not in page.text


def test_the_rest_answers(client: TestClient) -> None:
    assert client.get("/healthz").text == "ok"
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
    assert 'service="portal"' in client.get("/metrics").text
    missing = client.get("/nothing")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
