"""Everything that DICOMweb says of an archive, as a caller sees it."""

import json
import re
from collections.abc import Iterator
from typing import Any

from starlette.testclient import TestClient

Answer = tuple[int, str, str, bytes]
"""Status, content type, ETag, body."""

FILES = {
    "file": "application/dicom; transfer-syntax=*",
    "parts": 'multipart/related; type="application/dicom"; transfer-syntax=*',
}
FRAMES = {
    "stored": 'multipart/related; type="application/octet-stream"; transfer-syntax=*',
    "decoded": 'multipart/related; type="application/octet-stream"',
}
JSON = "application/dicom+json"
OCTETS = 'multipart/related; type="application/octet-stream"'


def look(client: TestClient, root: str = "/dicom-web") -> dict[str, Answer]:
    """Fetch every representation of every study, series and instance below a service's address."""
    seen: dict[str, Answer] = {}

    def ask(url: str, accept: str) -> Any:
        reply = client.get(url, headers={"Accept": accept})
        kind, tag = reply.headers.get("content-type", ""), reply.headers.get("etag", "")
        seen[f"{url} {accept}"] = (reply.status_code, kind, tag, reply.content)
        return reply.json() if reply.status_code == 200 and accept == JSON else []

    for study in ask(f"{root}/studies?includefield=all", JSON):
        of_study = f"{root}/studies/{uid(study, '0020000D')}"
        ask(f"{of_study}/metadata", JSON)
        ask(of_study, FILES["parts"])
        for series in ask(f"{of_study}/series?includefield=all", JSON):
            of_series = f"{of_study}/series/{uid(series, '0020000E')}"
            ask(of_series, FILES["parts"])
            ask(f"{of_series}/thumbnail", "image/png")
            for instance in ask(f"{of_series}/instances?includefield=all", JSON):
                _look_at(ask, f"{of_series}/instances/{uid(instance, '00080018')}", instance)
            ask(f"{of_series}/metadata", JSON)
            # A description that was stored has a validator of its own; what it validates is the same.
            status, kind, _, body = seen[f"{of_series}/metadata {JSON}"]
            seen[f"{of_series}/metadata {JSON}"] = (status, kind, "", body)
    return seen


def _look_at(ask: Any, url: str, instance: dict[str, Any]) -> None:
    for accept in FILES.values():
        ask(url, accept)
    ask(f"{url}/rendered", "image/jpeg")
    frames = instance.get("00280008", {}).get("Value", [1])[0]
    for number in range(1, min(int(frames), 3) + 1):
        for accept in FRAMES.values():
            ask(f"{url}/frames/{number}", accept)
    for described in ask(f"{url}/metadata", JSON):
        for path in addresses(described):
            ask(path[path.index("/dicom-web") :], OCTETS)


def addresses(node: Any) -> Iterator[str]:
    """Yield the bulk data addresses in DICOM JSON."""
    if isinstance(node, dict):
        if "BulkDataURI" in node:
            yield node["BulkDataURI"]
        for value in node.values():
            yield from addresses(value)
    elif isinstance(node, list):
        for value in node:
            yield from addresses(value)


def uid(described: dict[str, Any], tag: str) -> str:
    """Return a UID of an answer."""
    return str(described[tag]["Value"][0])


def without_row_ids(seen: dict[str, Answer]) -> dict[str, tuple[int, str, bytes]]:
    """Return the answers without what row ids decide.

    That is the ids of sites in addresses, the ETags, which depend on these, and the order of
    studies that took place at the same time.
    """
    cut = re.compile(rb"/sites/[0-9a-z]{26}")
    boundary = re.compile(rb"boundary=[0-9a-f]{32}|--[0-9a-f]{32}")

    def bare(content: bytes) -> bytes:
        return boundary.sub(b"", cut.sub(b"", content))

    def in_order(name: str, body: bytes) -> bytes:
        listed = json.loads(body) if "/studies?" in name and body else []
        return json.dumps(sorted(map(json.dumps, listed))).encode() if listed else body

    return {
        bare(name.encode()).decode(): (status, bare(kind.encode()).decode(), in_order(name, bare(body)))
        for name, (status, kind, _, body) in seen.items()
    }
