import pytest

from canari.reference import pages
from canari.settings import Settings
from tests.conftest import ROOT

REFERENCE = ROOT / "docs" / "reference"


@pytest.mark.parametrize("page", pages())
def test_the_reference_says_what_the_code_does(page: str) -> None:
    assert (REFERENCE / page).read_text(encoding="utf-8") == pages()[page], "run `make docs`"


def test_every_setting_is_told() -> None:
    told = (REFERENCE / "settings.md").read_text(encoding="utf-8")
    assert [name for name in Settings.model_fields if f"`CANARI_{name.upper()}`" not in told] == []
