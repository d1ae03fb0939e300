"""The static folder over HTTP: addresses with a content hash may be kept for a year."""

from os import PathLike, stat_result

from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from hub.web.templating import STATIC_DIR

YEAR_SECONDS = 31_536_000


class HashedStaticFiles(StaticFiles):
    """Static files of the hub; mount at ``/static``."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC_DIR)

    def file_response(
        self,
        full_path: str | PathLike[str],
        stat_result: stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Answer with the file and how long it may be kept."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        hashed = "v" in QueryParams(scope.get("query_string", b"")) or "/assets/" in scope["path"]
        response.headers["cache-control"] = (
            f"public, max-age={YEAR_SECONDS}, immutable" if hashed else "no-cache"
        )
        return response
