"""A shard of qdrant-edge: a folder with edge_config.json and segments in it.

Qdrant knows no way to open one for reading only: it rewrites edge_config.json in its own words, and
plays back what its log holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from requant.integration.errors import SourceError
from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.common import package
from requant.integration.readers.foreign.json_files import read_object
from requant.integration.readers.foreign.qdrant_collections import Held, Point, QdrantCollection

T = TypeVar("T")
_CONFIG = "edge_config.json"


def is_edge(source: str) -> bool:
    """Whether this is the folder of a shard."""
    path = Path(source)
    return "://" not in source and (path / _CONFIG).is_file() and (path / "segments").is_dir()


def open_edge(source: str, wanted: Wanted) -> QdrantCollection:
    """Open a shard, which no other process may have open; raises SourceError."""
    path = Path(source)
    edge = package("qdrant_edge", "shards of Qdrant edge", "qdrant")
    config = read_object(path / _CONFIG)
    shard = _run(path, edge.EdgeShard.load, str(path))
    try:
        count = _run(path, shard.count, edge.CountRequest(exact=True))

        def pages(size: int, _: str) -> Iterator[list[Point]]:
            return _pages(edge, shard, path, size)

        held = Held(str(path), "Qdrant edge shard", config, int(count), pages, shard.close)
        return QdrantCollection(held, wanted)
    except SourceError:
        shard.close()
        raise


def _pages(edge: Any, shard: Any, path: Path, size: int) -> Iterator[list[Point]]:
    start, more = None, True
    while more:
        request = edge.ScrollRequest(offset=start, limit=size, with_payload=True, with_vector=True)
        records, start = _run(path, shard.scroll, request)
        if records:
            yield [Point(record.id, record.vector, record.payload) for record in records]
        more = start is not None


def _run(path: Path, call: Callable[..., T], *arguments: Any) -> T:
    """Call Qdrant, which raises bare `Exception`s, and panics that are no Exception at all."""
    try:
        return call(*arguments)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if "WouldBlock" in str(error):
            raise SourceError(
                f"another program has the shard {path} open: close it there"
            ) from None
        raise SourceError(f"Qdrant cannot read the shard {path}: {str(error)[:300]}") from error
