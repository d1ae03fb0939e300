"""docs/settings.md says what hub/config.py says."""

from hub.config import Settings
from tests.generate_docs import SETTINGS_PAGE, described_fields, settings_page


def test_every_setting_is_described() -> None:
    described = described_fields()
    assert described.keys() == Settings.model_fields.keys()
    assert [name for name, text in described.items() if not text] == []


def test_the_page_is_up_to_date() -> None:
    assert SETTINGS_PAGE.read_text(encoding="utf-8") == settings_page(), "run `make docs`"


def test_secrets_show_no_value() -> None:
    shown = repr(Settings(s3_secret_key="hidden-key", ca_passphrase="hidden-phrase"))
    assert "hidden" not in shown
