"""Settings: one frozen class, read once from ``HUB_*`` variables or ``hub.toml``.

Each field says its unit, its default and what it changes; ``docs/settings.md`` is
generated from here and a test keeps the two alike.
"""

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

SETTLE_SECONDS: dict[str, float] = {
    "DX": 90,
    "CR": 90,
    "DR": 90,
    "US": 300,
    "CT": 300,
    "MR": 300,
    "ECG": 0,
    "*": 300,
}
"""Quiet time in seconds after the last object before a study counts as complete."""


class DueRule(BaseModel):
    """Minutes from completeness to signature for one kind of exam."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    urgency: Literal["critical", "urgent", "routine"]
    modality: str = "*"
    minutes: int = Field(gt=0)


DUE_RULES = (
    DueRule(urgency="critical", modality="ECG", minutes=10),
    DueRule(urgency="critical", modality="*", minutes=30),
    DueRule(urgency="urgent", modality="ECG", minutes=10),
    DueRule(urgency="urgent", modality="DX", minutes=30),
    DueRule(urgency="urgent", modality="CR", minutes=30),
    DueRule(urgency="urgent", modality="*", minutes=60),
    DueRule(urgency="routine", modality="ECG", minutes=30),
    DueRule(urgency="routine", modality="DX", minutes=120),
    DueRule(urgency="routine", modality="CR", minutes=120),
    DueRule(urgency="routine", modality="*", minutes=240),
)
"""First rule that fits urgency and modality decides; ``*`` fits every modality."""


def _bind(value: str) -> str:
    host, _, port = value.rpartition(":")
    number = int(port) if port.isascii() and port.isdigit() else 0
    if not host or not 0 < number <= 65535:  # noqa: PLR2004 - the largest TCP port
        raise ValueError("must read HOST:PORT, for example 127.0.0.1:8080")
    return value


def _optional_bind(value: str) -> str:
    return _bind(value) if value else value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("is no time zone of the tz database, for example Asia/Shanghai") from error
    return value


def _ae_title(value: str) -> str:
    if not 1 <= len(value.strip()) <= 16 or "\\" in value or not value.isascii() or not value.isprintable():  # noqa: PLR2004 - PS3.5 6.2
        raise ValueError("must be 1 to 16 printable ASCII characters without backslash (PS3.5 6.2, AE)")
    return value.strip()


def _database_url(value: str) -> str:
    if value and not value.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError("must begin with sqlite:/// or postgresql+psycopg://")
    return value


def _web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        readable = not value or (parts.scheme in {"http", "https"} and bool(parts.hostname))
    except ValueError:
        readable = False
    if not readable or any(character.isspace() for character in value):
        raise ValueError("must be an address that begins with http:// or https://")
    return value


def _object_store(value: str) -> str:
    if value.startswith("s3://"):
        if not value.removeprefix("s3://").strip("/"):
            raise ValueError("must name the bucket: s3://BUCKET")
    elif value and not value.startswith(("file:", "memory:")):
        raise ValueError("must begin with file: or s3://")
    return value


def _settle_seconds(value: dict[str, float]) -> dict[str, float]:
    if "*" not in value:
        raise ValueError("needs an entry '*' for modalities not named")
    if any(not math.isfinite(seconds) or seconds < 0 for seconds in value.values()):
        raise ValueError("must be seconds from 0 on")
    return value


def _watched(value: tuple[str, ...]) -> tuple[str, ...]:
    folders = []
    for entry in value:
        site, _, folder = entry.partition("=")
        if not site.strip() or not Path(folder).is_absolute():
            raise ValueError("must be a list of SITE=/absolute/folder")
        folders.append(Path(folder))
    for one in folders:
        for other in folders:
            if one is not other and one.is_relative_to(other):
                raise ValueError("names a folder twice, or one inside another")
    return value


Bind = Annotated[str, AfterValidator(_bind)]


def split_bind(bind: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``."""
    host, _, port = bind.rpartition(":")
    return host.strip("[]"), int(port)


class ConfigError(Exception):
    """A setting has a value that the hub cannot work with."""


class Settings(BaseSettings):
    """Everything that can be set, with its default."""

    model_config = SettingsConfigDict(
        env_prefix="HUB_", frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True
    )

    data_dir: Path = Path("hub-data")
    """Folder for the SQLite database, the file store, keys and logs of an embedded hub."""
    database_url: Annotated[str, AfterValidator(_database_url)] = Field(default="", repr=False)
    """SQLAlchemy URL; empty means SQLite in the data folder. Example: postgresql+psycopg://hub@/hub."""
    object_store: Annotated[str, AfterValidator(_object_store)] = ""
    """``file:/absolute/folder`` or ``s3://bucket``; empty means ``objects`` in the data folder."""
    s3_endpoint: str = ""
    """Host and port of the S3 server, for example s3.lan:9000."""
    s3_access_key: str = ""
    """Access key of the S3 account."""
    s3_secret_key: str = Field(default="", repr=False)
    """Secret key of the S3 account; never logged."""
    s3_secure: bool = True
    """Whether the S3 server is spoken to over TLS."""

    web_bind: Bind = "127.0.0.1:8080"
    """Address and port of the pages and of every HTTP interface."""
    public_url: Annotated[str, AfterValidator(_web_address)] = ""
    """Address under which users reach the hub (QR codes on reports); empty means http://WEB_BIND."""
    web_threads: int = Field(default=40, gt=0)
    """Requests that are worked on at the same time in one web process."""
    max_upload_mb: int = Field(default=1024, gt=0)
    """Largest HTTP request body, in MiB; more is refused before it is read."""

    dicom_bind: Bind = "0.0.0.0:11112"
    """Address and port of the DICOM listener."""
    dicom_ae_title: Annotated[str, AfterValidator(_ae_title)] = "HUB"
    """Application entity title of the hub itself."""
    dicom_max_associations: int = Field(default=400, gt=0)
    """Associations that one listener process serves at once; further ones wait for a place."""
    dicom_queue_seconds: float = Field(default=20.0, ge=0)
    """How long an association waits for a place before it is told to come again later."""
    dicom_idle_seconds: float = Field(default=60.0, gt=0)
    """An association on which nothing moves for so long is ended."""
    dicom_processes: int = Field(default=1, gt=0, le=64)
    """Listener processes on the same port; more than one helps with PostgreSQL and many cores."""
    dicom_tls_bind: Annotated[str, AfterValidator(_optional_bind)] = ""
    """Address and port of DICOM over TLS beside the plain port; empty means none."""
    dicom_tls_certificate: str = ""
    """PEM file with the hub's certificate (and chain) for DICOM over TLS, both as server and as client."""
    dicom_tls_key: str = ""
    """PEM file with its private key; empty when it is in the same file."""
    dicom_tls_ca: str = ""
    """PEM file with the authorities (or the devices' own certificates) that are believed."""
    dicom_tls_clients: Literal["none", "optional", "required"] = "optional"
    """Whether devices on the TLS port show a certificate of their own."""
    unknown_devices: Literal["quarantine", "reject"] = "quarantine"
    """What happens to a device nobody registered: keep its objects at a desk, or refuse it."""

    centre_name: str = "县级影像心电诊断中心"
    """Name of the reading centre, at the head of each page and report."""
    timezone: Annotated[str, AfterValidator(_zone)] = "Asia/Shanghai"
    """Zone in which times are shown and printed; stored times are UTC."""
    language: Literal["zh-CN", "en"] = "zh-CN"
    """Language of pages and reports for who has not chosen one."""

    settle_seconds: Annotated[dict[str, float], AfterValidator(_settle_seconds)] = Field(
        default_factory=lambda: dict(SETTLE_SECONDS)
    )
    """Quiet seconds per modality after which a study is complete; ``*`` for the rest."""
    due_rules: tuple[DueRule, ...] = DUE_RULES
    """Minutes from complete to signed, by urgency and modality."""
    ecg_profile: str = "national_2017"
    """Whose list of critical values orders ECGs: national_2017, zhejiang, shanxi or provincial_third."""
    ecg_watch: Annotated[tuple[str, ...], AfterValidator(_watched)] = ()
    """Folders from which ECG files are taken, each ``SITE=/absolute/folder``, as a JSON list."""
    ecg_watch_rest_seconds: float = Field(default=3.0, gt=0, le=600)
    """How long a file in a watched folder must lie unchanged before it is read."""
    lease_seconds: int = Field(default=900, gt=0)
    """How long a claim outlives the last sign of life of the reader's page."""

    session_idle_minutes: int = Field(default=60, gt=0)
    """A browser session without any request ends after this time."""
    session_hours: int = Field(default=12, gt=0)
    """A browser session ends after this time in any case."""
    lockout_failures: int = Field(default=5, gt=0)
    """Wrong passwords in a row after which an account is locked for a while."""
    lockout_minutes: int = Field(default=15, gt=0)
    """How long such an account stays locked."""
    password_length: int = Field(default=8, ge=6)
    """Fewest characters of a password."""
    ca_passphrase: str = Field(default="", repr=False)
    """Passphrase of the built-in certificate authority; empty means a random one kept in the data folder."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe event that is written."""
    log_format: Literal["json", "console"] = "console"
    """One JSON object a line for machines, or columns for people."""

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if self.dicom_tls_bind and not self.dicom_tls_certificate:
            raise ValueError("dicom_tls_bind needs dicom_tls_certificate")
        if self.dicom_tls_bind and self.dicom_tls_clients != "none" and not self.dicom_tls_ca:
            raise ValueError("dicom_tls_clients other than 'none' needs dicom_tls_ca")
        return self

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.object_store.startswith("s3://"):
            needed = ("s3_endpoint", "s3_access_key", "s3_secret_key")
            missing = [f"HUB_{name.upper()}" for name in needed if not getattr(self, name)]
            if missing:
                raise ValueError(f"HUB_OBJECT_STORE is an S3 bucket, so {', '.join(missing)} must be set")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is passed and nothing else: `load` puts file, environment and command line in order."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'hub.db'}"

    @property
    def store(self) -> str:
        """The object store in force."""
        return self.object_store or f"file:{self.data_dir.absolute() / 'objects'}"

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which times are shown."""
        return ZoneInfo(self.timezone)

    @property
    def base_url(self) -> str:
        """Address printed on reports, without a trailing slash."""
        return (self.public_url or f"http://{self.web_bind}").rstrip("/")

    def settle_for(self, modality: str) -> float:
        """Return the quiet seconds for a modality."""
        return self.settle_seconds.get(modality, self.settle_seconds["*"])


def load(file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings: command line over environment over ``hub.toml`` over defaults.

    Raises
    ------
    ConfigError
        With one line per bad field, naming it; the value itself is not repeated.
    """
    path = file or Path("hub.toml")
    values: dict[str, Any] = {}
    if path.is_file():
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from error
    elif file is not None:
        raise ConfigError(f"{path}: no such file")
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**{**values, **_environment(), **given})
    except ValidationError as error:
        raise ConfigError("\n".join(_lines(error))) from None


def _environment() -> dict[str, Any]:
    """Return the settings that the environment names; tables and lists are JSON there."""
    try:
        return EnvSettingsSource(Settings)()
    except SettingsError as error:
        field = next((name for name in Settings.model_fields if f'"{name}"' in str(error)), "settings")
        raise ConfigError(f"HUB_{field.upper()}: is not written as JSON") from None


def _lines(error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors(include_input=False):
        message = item["msg"].removeprefix("Value error, ")
        name, *inside = (str(part) for part in item["loc"] or ("",))
        where = f"HUB_{name.upper()}{''.join(f'[{part}]' for part in inside)}: " if name else ""
        lines.append(where + message)
    return lines
