"""A folder of qdrant-client's local mode: `QdrantClient(path=...)`.

Its points are pickles, which are read without qdrant-client and without running anything of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from requant.integration.errors import SourceError
from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.json_files import as_object, read_object
from requant.integration.readers.foreign.qdrant_collections import Held, Point, QdrantCollection
from requant.integration.readers.foreign.unpickling import Stub, unpickle_bytes

_META, _POINTS = "meta.json", "storage.sqlite"
_MODELS = "qdrant_client.http.models.models"


class _PointStruct(Stub):
    """A point."""


class _Left(Stub):
    """A vector that is left out."""


_ADMITTED: dict[tuple[str, str], type[Stub]] = {
    (_MODELS, "PointStruct"): _PointStruct,
    (_MODELS, "SparseVector"): _Left,
    (_MODELS, "Document"): _Left,
    (_MODELS, "Image"): _Left,
    (_MODELS, "InferenceObject"): _Left,
}


def is_local(source: str) -> bool:
    """Whether this is such a folder, or the folder of one of its collections."""
    if "://" in source:
        return False
    path = Path(source)
    return _is_root(path) or ((path / _POINTS).is_file() and _is_root(path.parent.parent))


def open_local(source: str, wanted: Wanted) -> QdrantCollection:
    """Open a folder that holds one collection, or the folder of one; raises SourceError."""
    path = Path(source)
    if not _is_root(path):
        return _collection(path, path.parent.parent, path.name, wanted)
    names = list(as_object(read_object(path / _META).get("collections"), f"{path / _META}"))
    if len(names) != 1:
        listed = ", ".join(str(path / "collection" / name) for name in names) or "none"
        raise SourceError(f"{path} holds {len(names)} collections, name one of: {listed}")
    return _collection(path / "collection" / names[0], path, names[0], wanted)


def _is_root(path: Path) -> bool:
    return (path / _META).is_file() and (path / "collection").is_dir()


def _collection(folder: Path, root: Path, name: str, wanted: Wanted) -> QdrantCollection:
    meta = as_object(read_object(root / _META).get("collections"), f"{root / _META}")
    if name not in meta or ".." in Path(name).parts or len(Path(name).parts) != 1:
        raise SourceError(f"{root / _META} knows no collection {name!r}: it has {', '.join(meta)}")
    config = as_object(meta[name], f"{root / _META}, collection {name!r}")
    points = folder / _POINTS
    if not points.is_file():
        raise SourceError(f"{points} is missing: the collection {name!r} cannot be read without it")
    held = Held(
        name=str(folder),
        kind="Qdrant collection (local folder)",
        config=config,
        rows=_count(points),
        pages=lambda size, _: _pages(points, size),
        close=lambda: None,
        # Local mode keeps what it was given, and normalises and rounds in memory.
        normalises=False,
        typed=False,
    )
    return QdrantCollection(held, wanted)


def _pages(path: Path, size: int) -> Iterator[list[Point]]:
    """Yield the points, the newest first.

    Older clients kept a point in several rows, one for each spelling of its UUID.
    """
    seen: set[str] = set()
    try:
        with closing(_connected(path)) as connection:
            rows = connection.execute("SELECT rowid, point FROM points ORDER BY rowid DESC")
            while found := rows.fetchmany(size):
                points = [_point(path, number, data) for number, data in found]
                fresh = [point for point in points if not _known(str(point.id), seen)]
                if fresh:
                    yield fresh
    except sqlite3.Error as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def _known(name: str, seen: set[str]) -> bool:
    before = len(seen)
    seen.add(name)
    return len(seen) == before


def _point(path: Path, number: int, data: Any) -> Point:
    where = f"{path} row {number}"
    if not isinstance(data, bytes):
        raise SourceError(f"{where}: no point, but a {type(data).__name__}")
    found = unpickle_bytes(data, where, _ADMITTED)
    fields = found.fields() if isinstance(found, _PointStruct) else {}
    point = Point(_id(fields.get("id"), where), fields.get("vector"), fields.get("payload"))
    if not isinstance(point.payload, dict | None):
        raise SourceError(f"{where}: its payload is a {type(point.payload).__name__}, not a dict")
    return point


def _id(value: Any, where: str) -> int | str:
    from uuid import UUID

    if type(value) is int:
        return value
    try:
        return str(UUID(value))
    except (TypeError, ValueError, AttributeError):
        raise SourceError(f"{where}: no point, or one without an id") from None


def _count(path: Path) -> int:
    try:
        with closing(_connected(path)) as connection:
            return int(connection.execute("SELECT count(*) FROM points").fetchone()[0])
    except sqlite3.Error as error:
        raise SourceError(f"{path} cannot be read: {error}") from error


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
