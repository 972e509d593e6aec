"""An index in a folder: qdrant-edge, the engine of the server as a library."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import qdrant_edge as edge

from requant.adapters import notes
from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.forks import keep_from_children
from requant.adapters.locks import Sharing
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant import folder
from requant.adapters.qdrant.codec import Vectors
from requant.adapters.qdrant.collection_layout import Layout, check_mark, mark_of
from requant.adapters.qdrant.connection import Chunk, Limits, Wish
from requant.adapters.qdrant.edge_config import config_of, params_of

T = TypeVar("T")
_SHARD = "shard"
_LOG = "wal"
CONFIG = "edge_config.json"


class EdgeConnection:
    """One shard, and the lock of its folder."""

    sharing: Sharing = "readers"
    alone = True
    optimizes = True
    limits: Limits = Limits()

    def __init__(self, shard: Any, lock: folder.FolderLock, path: Path, size: int) -> None:
        """Take over a shard of vectors of `size`; it stays ours until it is closed."""
        self._shard = shard
        self._lock = lock
        self._path = path
        self._size = size
        # Qdrant locks this folder until its descriptor is closed, in children as well.
        self._end = keep_from_children(path / _SHARD / _LOG)

    def upsert(self, chunks: Iterator[Chunk]) -> None:
        """Store chunk after chunk."""
        for keys, vectors in chunks:
            folder.check_room(self._path, self._bytes(len(keys)))
            points = list(map(edge.Point, keys, vectors))
            self._run(self._shard.update, edge.UpdateOperation.upsert_points(points))

    def delete(self, keys: list[int]) -> None:
        """Remove keys, which takes room as well."""
        folder.check_room(self._path)
        self._run(self._shard.update, edge.UpdateOperation.delete_points(keys))

    def held(self, keys: list[int]) -> int:
        """Return how many of `keys` there are."""
        return len(self._run(self._shard.retrieve, keys, False, False))

    def vectors(self, keys: list[int]) -> Sequence[Any]:
        """Return the records of those of `keys` that there are."""
        records: Sequence[Any] = self._run(self._shard.retrieve, keys, False, True)
        return records

    def search(self, vectors: Vectors, k: int, wish: Wish) -> list[Sequence[Any]]:
        """Search once, or a batch in one pass."""
        params, among = params_of(wish.exact, wish.effort), None
        if wish.among is not None:
            among = edge.Filter(must=[edge.HasIdCondition(set(wish.among))])
        requests = [
            edge.QueryRequest(limit=k, query=edge.Query.Nearest(row), filter=among, params=params)
            for row in vectors
        ]
        if len(requests) == 1:
            return [self._run(self._shard.query, requests[0])]
        answers: list[Sequence[Any]] = self._run(
            self._shard.query_batch, edge.QueryBatchRequest(requests)
        )
        return answers

    def scroll(self, start: int | None, limit: int) -> tuple[Sequence[Any], int | None]:
        """Return records by ascending key."""
        request = edge.ScrollRequest(
            offset=start, limit=limit, with_payload=False, with_vector=True
        )
        records, after = self._run(self._shard.scroll, request)
        return records, after

    def count(self) -> int:
        """Return the exact number of points."""
        return int(self._run(self._shard.count, edge.CountRequest(exact=True)))

    def optimize(self) -> None:
        """Merge segments, compress vectors and build graphs, where Qdrant finds it worth while.

        Where the disk has no room for the new segments, the old ones go on to answer, more slowly.
        """
        if folder.has_room(self._path, self._bytes(self.count())):
            self._run(self._shard.optimize)

    def flush(self) -> None:
        """Sync everything."""
        self._run(self._shard.flush)
        notes.sync(self._path)

    def note(self, text: str) -> None:
        """Write a file beside the shard."""
        notes.write(self._path, text)

    def noted(self) -> str | None:
        """Read the file beside the shard."""
        return notes.read(self._path)

    def close(self) -> None:
        """Close the shard, which flushes it, and let others have the folder."""
        try:
            self._run(self._shard.close)
        finally:
            self._end()
            self._lock.release()

    def _bytes(self, rows: int) -> int:
        """Return what rows take at most: floats, once more in the log, and a graph."""
        return rows * (8 * self._size + 512)

    def _run(self, call: Callable[..., T], *arguments: Any) -> T:
        """Call Qdrant, which raises bare `Exception`s, and panics that are no Exception at all."""
        try:
            return call(*arguments)
        except BaseException as error:
            if not is_failure(error):
                raise
            raise EngineError(f"qdrant failed in {self._path}: {error}") from error


def create(spec: IndexSpec, layout: Layout, path: Path, overwrite: bool) -> EdgeConnection:
    """Make a folder of ours with an empty shard in it."""
    config = config_of(spec, layout)
    folder.reserve(path, mark_of(spec) | {"datatype": layout.datatype}, overwrite)
    lock = None
    try:
        lock = folder.FolderLock(path)
        folder.check_room(path)
        shard = edge.EdgeShard.create(str(path / _SHARD), config)
        return EdgeConnection(shard, lock, path, layout.size)
    except BaseException as error:
        if lock is not None:
            lock.release()
        folder.remove(path)
        if isinstance(error, EngineError) or not is_failure(error):
            raise
        raise EngineError(f"qdrant cannot make an index in {path}: {error}") from error


def load(spec: IndexSpec, layout: Layout, path: Path) -> EdgeConnection:
    """Open a folder of ours."""
    mark = folder.read_mark(path)
    check_mark(mark, spec, str(path))
    _check_datatype(mark, layout, path)
    folder.check_room(path)  # Qdrant catches up with its log
    lock = folder.FolderLock(path)
    try:
        return EdgeConnection(edge.EdgeShard.load(str(path / _SHARD)), lock, path, layout.size)
    except BaseException as error:
        lock.release()
        if not is_failure(error):
            raise
        if "WouldBlock" in str(error):
            raise EngineError(
                f"another program has the Qdrant shard in {path} open: close it there"
            ) from error
        raise CorruptIndexError(f"qdrant cannot read the index in {path}: {error}") from error


def _check_datatype(mark: dict[str, Any], layout: Layout, path: Path) -> None:
    """Raise CorruptIndexError where a folder was made on a machine that computes otherwise.

    Marks of earlier versions do not tell the datatype; the shard itself does.
    """
    found = mark.get("datatype")
    if found is None:
        try:
            told = json.loads((path / _SHARD / CONFIG).read_bytes())
            found = next(iter(told["vectors"].values()))["datatype"].lower()
        except (OSError, ValueError, LookupError, AttributeError, TypeError, StopIteration):
            return  # whoever opens the shard tells what is wrong with it
    if found != layout.datatype:
        raise CorruptIndexError(
            f"{path} does not fit: its datatype is {found!r}, expected {layout.datatype!r} on this "
            "machine: rebuild the index here"
        )


def is_failure(error: BaseException) -> bool:
    """Whether Qdrant failed, rather than the user interrupting it."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def noted_at(spec: IndexSpec, path: Path) -> str | None:
    """Return the text beside a shard."""
    return notes.read(path)


def remove(path: Path) -> None:
    """Remove a folder of ours."""
    folder.remove(path)
