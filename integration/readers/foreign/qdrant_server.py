"""A collection on a Qdrant server: `http(s)://host:6333/collections/NAME`.

`qdrant+http(s)://host:6333/NAME` is the same. The key comes from REQUANT_QDRANT_API_KEY or
QDRANT_API_KEY, never from the address.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from requant.errors import RequantError
from requant.integration.errors import SourceError
from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.common import package
from requant.integration.readers.foreign.qdrant_collections import Held, Point, QdrantCollection

_KEYS = ("REQUANT_QDRANT_API_KEY", "QDRANT_API_KEY")
_COLLECTIONS = re.compile(r"https?://[^?#]*/collections/[^/?#]+/?")
_NAMED = re.compile(r"qdrant\+https?://")
_TIMEOUT = 60
_RETRIES = 4


def is_server(source: str) -> bool:
    """Whether this is the address of a collection on a Qdrant server."""
    return bool(_COLLECTIONS.fullmatch(source) or _NAMED.match(source))


def open_server(source: str, wanted: Wanted) -> QdrantCollection:
    """Connect to a collection; raises SourceError, PackageMissingError."""
    url, name = _parsed(source)
    shown = f"{url}/collections/{name}"
    client_of = package("qdrant_client", "Qdrant servers", "qdrant").QdrantClient
    from requant.adapters.qdrant.retry import Retry

    call = Retry(shown, _RETRIES)
    key = next(filter(None, map(os.environ.get, _KEYS)), None)
    headers = {"api-key": key} if key else None
    client = client_of(url=url, headers=headers, timeout=_TIMEOUT, check_compatibility=False)
    try:
        info = call(lambda: client.get_collection(name))
        count = call(lambda: client.count(name, exact=True)).count
        config = info.model_dump(mode="json")["config"]["params"]

        def pages(size: int, field: str) -> Iterator[list[Point]]:
            return _pages(client, call, name, size, field)

        held = Held(shown, "Qdrant collection (server)", config, count, pages, client.close)
        return QdrantCollection(held, wanted)
    except RequantError as error:
        client.close()
        raise error if isinstance(error, SourceError) else SourceError(str(error)) from error


def _pages(client: Any, call: Any, name: str, size: int, field: str) -> Iterator[list[Point]]:
    start, more = None, True
    while more:
        try:
            records, start = call(
                lambda start=start: client.scroll(
                    name,
                    offset=start,
                    limit=size,
                    with_payload=True,
                    with_vectors=[field] if field else True,
                )
            )
        except RequantError as error:
            raise SourceError(str(error)) from error
        if records:
            yield [Point(record.id, record.vector, record.payload) for record in records]
        more = start is not None


def _parsed(source: str) -> tuple[str, str]:
    """Return the server's address and the name of the collection; raises SourceError."""
    parts = urlsplit(source.removeprefix("qdrant+"))
    before, _, name = parts.path.rstrip("/").rpartition("/")
    if not source.startswith("qdrant+"):
        before = before.removesuffix("/collections")
    if "@" in parts.netloc or parts.query or parts.fragment:
        # Not repeated in the error: it may hold a key.
        raise SourceError(
            "a Qdrant address is http(s)://host:port/collections/NAME and nothing else: the key "
            f"belongs in {_KEYS[0]}"
        )
    if not parts.netloc or not name:
        raise SourceError(f"{source} names no collection: http(s)://host:port/collections/NAME")
    return f"{parts.scheme}://{parts.netloc}{before}", unquote(name)
