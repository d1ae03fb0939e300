"""Settings: where they come from, in which order, and what a bad one is told."""

from pathlib import Path

import pytest

from hub.config import ConfigError, Settings, load

SECRET = "Zk3-never-shown"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No hub.toml and no HUB_* variables but the test's own."""
    monkeypatch.chdir(tmp_path)
    import os

    for name in [name for name in os.environ if name.startswith("HUB_")]:
        monkeypatch.delenv(name)


class TestOrder:
    def test_command_line_over_environment_over_file_over_default(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        assert load().dicom_ae_title == "HUB"
        (tmp_path / "hub.toml").write_text('dicom_ae_title = "FILE"\nlease_seconds = 60\n')
        assert load().dicom_ae_title == "FILE"
        monkeypatch.setenv("HUB_DICOM_AE_TITLE", "ENV")
        assert load().dicom_ae_title == "ENV"
        assert load(dicom_ae_title="CLI").dicom_ae_title == "CLI"
        assert load(dicom_ae_title=None).dicom_ae_title == "ENV"
        assert load().lease_seconds == 60

    def test_a_throw_away_hub_never_gets_the_real_ones_database(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """`hub demo` passes an empty URL and its own folder, whatever the environment says."""
        monkeypatch.setenv("HUB_DATABASE_URL", "postgresql+psycopg://hub@production/hub")
        monkeypatch.setenv("HUB_DATA_DIR", "/srv/hub")
        own = load(None, **{**load().model_dump(), "data_dir": tmp_path, "database_url": ""})
        assert own.database == f"sqlite:///{tmp_path / 'hub.db'}"

    def test_named_file_must_exist(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no such file"):
            load(tmp_path / "absent.toml")

    @pytest.mark.parametrize("content", [b"web_bind = ", b'centre_name = "\xff\xfe"'])
    def test_unreadable_file_is_named(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "hub.toml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"hub\.toml"):
            load()


BAD = {
    "web_bind": ["8080", "host:", ":80", "host:70000", "host:0", "host:８０"],
    "dicom_bind": ["x:y"],
    "database_url": ["mysql://x/y", "hub.db", "postgresql://hub@x/y"],
    "object_store": ["s3://", "ftp://x", "/srv/objects"],
    "public_url": ["hub.example.org", "ftp://x", "http://", "http://a b"],
    "dicom_ae_title": ["", "SEVENTEENLETTERSX", "A\\B", "检查"],
    "unknown_devices": ["ignore"],
    "timezone": ["Asia/Nowhere", "../etc/passwd"],
    "language": ["fr"],
    "s3_secure": ["perhaps"],
    "web_threads": ["0", "many"],
    "password_length": ["5"],
    "lease_seconds": ["-1"],
    "settle_seconds": ["{bad", '{"CT": 3}', '{"*": -1}', '{"*": "NaN"}', '{"*": "soon"}', "[1]"],
    "due_rules": ['[{"urgency": "now", "minutes": 5}]', '[{"urgency": "urgent", "minutes": 0}]', "{"],
    "log_level": ["loud"],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BAD.items() for value in values]
)
def test_a_bad_value_names_its_setting(monkeypatch: pytest.MonkeyPatch, field: str, value: str) -> None:
    monkeypatch.setenv(f"HUB_{field.upper()}", value)
    with pytest.raises(ConfigError) as caught:
        load()
    assert str(caught.value).startswith(f"HUB_{field.upper()}")
    assert "\n" not in str(caught.value)


def test_every_bad_value_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_WEB_BIND", "x")
    monkeypatch.setenv("HUB_LANGUAGE", "fr")
    with pytest.raises(ConfigError) as caught:
        load()
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["HUB_WEB_BIND", "HUB_LANGUAGE"]


def test_an_unknown_key_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text('web_bnid = "127.0.0.1:8080"\n')
    with pytest.raises(ConfigError, match="HUB_WEB_BNID"):
        load()


def test_s3_needs_its_server_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_OBJECT_STORE", "s3://bucket")
    given = {"HUB_S3_ENDPOINT": "s3.lan:9000", "HUB_S3_ACCESS_KEY": "hub", "HUB_S3_SECRET_KEY": SECRET}
    for name, value in given.items():
        with pytest.raises(ConfigError, match=name):
            load()
        monkeypatch.setenv(name, value)
    assert load().store == "s3://bucket"


class TestSecrets:
    def test_they_are_not_shown(self) -> None:
        settings = load(
            s3_secret_key=SECRET,
            ca_passphrase=SECRET,
            database_url=f"postgresql+psycopg://hub:{SECRET}@db/hub",
        )
        assert SECRET not in repr(settings)
        assert SECRET not in str(settings)

    @pytest.mark.parametrize("field", ["web_bind", "database_url", "settle_seconds", "s3_secure"])
    def test_a_bad_value_is_not_repeated(self, monkeypatch: pytest.MonkeyPatch, field: str) -> None:
        """A secret put into the wrong variable must not reach the log."""
        monkeypatch.setenv(f"HUB_{field.upper()}", SECRET)
        with pytest.raises(ConfigError) as caught:
            load()
        seen, error = "", caught.value
        while error is not None:
            seen += repr(error) + str(error)
            error = error.__cause__  # type: ignore[assignment]
        assert SECRET not in seen


def test_settling_falls_back() -> None:
    settings = Settings()
    assert (settings.settle_for("DX"), settings.settle_for("ECG"), settings.settle_for("XA")) == (90, 0, 300)
