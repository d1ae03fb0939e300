"""What ``hub check`` looks at: whether this machine has what the hub needs."""

import shutil
from collections.abc import Callable, Iterator

from sqlalchemy.exc import SQLAlchemyError

from hub.config import Settings
from hub.context import open_context
from hub.db.migrate import pending
from hub.db.session import Database
from hub.errors import DatabaseUnavailable
from hub.insight.repository import InsightRepository
from hub.reports.document import missing_glyphs
from hub.web.templating import STATIC_DIR
from storage.errors import StorageError

LEAST_FREE_BYTES = 5 * 1024**3


def run_checks(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield (name of the check, problem or empty) one after the other."""
    yield "settings", ""
    checks: tuple[tuple[str, Callable[[Settings], str]], ...] = (
        ("database", _database),
        ("object store", _store),
        ("free space", _space),
        ("report font", _font),
        ("front-end files", _frontend),
        ("DICOM codecs", _codecs),
    )
    for name, run in checks:
        yield name, run(settings)


def _database(settings: Settings) -> str:
    try:
        waiting = pending(settings.database)
        if waiting:
            return f"{len(waiting)} migrations are waiting: run `hub migrate`"
        database = Database(settings.database)
        with database.reading() as session:
            InsightRepository(session).ping()
        database.dispose()
    except (SQLAlchemyError, DatabaseUnavailable, OSError) as error:
        return type(error).__name__
    return ""


def _store(settings: Settings) -> str:
    try:
        open_context(settings).store.check()
    except (StorageError, ValueError) as error:
        return str(error)
    return ""


def _space(settings: Settings) -> str:
    free = shutil.disk_usage(settings.data_dir if settings.data_dir.exists() else ".").free
    return "" if free > LEAST_FREE_BYTES else f"only {free // 1024**2} MiB are free"


def _font(_settings: Settings) -> str:
    lacking = missing_glyphs("\u8bca\u65ad\u62a5\u544a\U00020bb7\u661e")
    return "" if not lacking else "the report font lacks characters of names"


def _frontend(_settings: Settings) -> str:
    missing = [name for name in ("app.js", "image-viewer.js") if not (STATIC_DIR / "dist" / name).is_file()]
    return "" if not missing else f"not built: {', '.join(missing)}; install the package again"


def _codecs(_settings: Settings) -> str:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless

    needed = (JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless)
    missing = [uid.name for uid in needed if not get_decoder(uid).is_available]
    return "" if not missing else f"no decoder for {', '.join(missing)}"
