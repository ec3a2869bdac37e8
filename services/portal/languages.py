"""French and English: which one a visitor reads, and every text of every page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

DEFAULT = "fr"
COOKIE = "canari_lang"
_FOLDER = Path(__file__).parent / "texts"

TEXTS: Mapping[str, Mapping[str, str]] = {
    file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(_FOLDER.glob("*.json"))
}


def choose(asked: str | None, kept: str | None, accepted: str | None) -> str:
    """The language: asked for in the address, else kept in a cookie, else the browser's (RFC 9110, 12.5.4)."""
    for candidate in (asked, kept, *_by_preference(accepted or "")):
        if candidate is not None and candidate in TEXTS:
            return candidate
    return DEFAULT


def _by_preference(accepted: str) -> list[str]:
    ranked = []
    for entry in accepted.split(","):
        tag, _, parameter = entry.partition(";")
        try:
            quality = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            quality = 0.0
        if quality > 0:
            ranked.append((-quality, tag.strip().partition("-")[0].lower()))
    return [tag for _, tag in sorted(ranked, key=lambda pair: pair[0])]
