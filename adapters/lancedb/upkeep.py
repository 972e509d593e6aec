"""What keeps a table fast: indexes, compaction, old versions; and what makes it durable."""

from __future__ import annotations

import contextlib
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from lancedb.index import BTree

from requant.adapters import notes
from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.lancedb.calls import is_conflict
from requant.adapters.lancedb.columns import CODE, KEY
from requant.adapters.lancedb.place import sync
from requant.adapters.lancedb.table import FLUSHED, Table

_CODE_INDEX, _KEY_INDEX = f"{CODE}_idx", f"{KEY}_idx"
# Commits after which the table is compacted: each leaves a fragment, which costs a search 0.1 ms.
_COMMITS = 64
# LanceDB indexes new rows in a part of its own and never joins parts: so many, and one more for
# each number of rows, before the whole index is built anew.
_PARTS, _ROWS_A_PART, _MOST_PARTS = 8, 25_000, 64
# A folder may be so many times as large as its rows, and this much larger, before old versions go.
_TIMES_LARGER, _ROOM = 4, 64 << 20

T = TypeVar("T")


class Upkeep:
    """Counts the commits of one handle, and tidies up when there have been many."""

    def __init__(self, table: Table) -> None:
        """Begin with the table as it is."""
        self._table = table
        self._commits = 0
        self._exports = 0
        self._synced: set[Path] = set()

    def wrote(self) -> None:
        """Compact the table if it is time to; what fails is left for the next time."""
        self._commits += 1
        if self._commits >= _COMMITS and not self._table.place.remote:
            with contextlib.suppress(EngineError, CorruptIndexError):
                self._optimize()
            self._commits = 0

    def reading(self, chunks: Iterator[T]) -> Iterator[T]:
        """Yield `chunks` of one version, which stays as long as its age allows."""
        self._exports += 1
        try:
            yield from chunks
        finally:
            self._exports -= 1

    def flush(self) -> None:
        """Index what is not, compact where it matters, and make the files durable."""
        table = self._table
        state = table.call(_state(table))
        if table.place.remote:
            if state.parts is None and table.plan.index and state.rows >= table.plan.least:
                self._do(_indexed(table))
            return
        self._index(state)
        with contextlib.suppress(
            EngineError, CorruptIndexError
        ):  # a courtesy to whoever opens the table
            table.call(_marked(table))
        if table.place.folder:
            try:
                sync(table.place.folder, self._synced)
                notes.sync(table.place.folder)
            except OSError as error:
                raise EngineError(f"{table.place} cannot be made durable: {error}") from error

    def _index(self, state: _State) -> None:
        table = self._table
        least = table.plan.least
        crumbs = state.fragments - (state.parts or 0) >= _COMMITS // 2
        if state.rows < least:
            build = False
        elif state.parts is None:
            build = not state.has_keys or table.plan.index is not None
        else:
            most = min(_PARTS + state.rows // _ROWS_A_PART, _MOST_PARTS)
            build = state.parts > most
        if crumbs or self._commits >= _COMMITS // 2 or (build and state.fragments > 1):
            # An index has as many parts as it found fragments in need of one.
            self._optimize()
            self._commits = 0
        elif not build and state.unindexed >= least:
            self._optimize()
        if build:
            self._do(_indexed(table))

    def _optimize(self) -> None:
        """Compact the table, and keep few old versions, unless somebody here reads one of them."""
        self._do(_optimized(self._table, bounded=not self._exports))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Leave to another process what it is doing at the same time."""
        try:
            self._table.call(work)
        except EngineError as error:
            if not is_conflict(error):
                raise


@dataclass(frozen=True)
class _State:
    """How a table is doing; `parts` is None without an index."""

    rows: int
    fragments: int
    unindexed: int
    parts: int | None
    has_keys: bool


async def _state(table: Table) -> _State:
    inner = table.inner
    rows, names = await inner.count_rows(), {row.name for row in await inner.list_indices()}
    fragments = 0
    if not table.place.remote:
        fragments = (await inner.stats())["fragment_stats"]["num_fragments"]
    if _CODE_INDEX not in names:
        return _State(rows, fragments, rows, None, _KEY_INDEX in names)
    index = await inner.index_stats(_CODE_INDEX)
    parts = index.num_indices or 1
    return _State(rows, fragments, index.num_unindexed_rows, parts, _KEY_INDEX in names)


async def _indexed(table: Table) -> None:
    """Build both indexes anew; the one of the keys makes upserts and key sets cheap."""
    await table.inner.create_index(KEY, config=BTree(), replace=True)
    if table.plan.index is not None:
        await table.inner.create_index(CODE, config=table.plan.config(), replace=True)


async def _optimized(table: Table, bounded: bool) -> None:
    """Join small fragments, index new rows, and delete what was superseded long ago.

    LanceDB cleans up nothing while an old version has a name, so ours is taken away first.
    `bounded`: also younger versions than `keep_versions` says, where there are many or large ones.
    """
    with contextlib.suppress(Exception):
        await table.inner.tags.delete(FLUSHED)
    keep = timedelta(seconds=table.plan.keep_seconds)
    try:
        if bounded:
            keep = min(keep, await _age_kept(table))
        await table.inner.optimize(cleanup_older_than=keep)
    finally:
        await _marked(table)


async def _age_kept(table: Table) -> timedelta:
    """Return how old the oldest version is that may stay, by number and by size."""
    versions = await table.inner.list_versions()
    made: list[datetime] = sorted(version["timestamp"] for version in versions)
    most = table.plan.most_versions
    folder = table.place.folder
    if folder is not None:
        held = (await table.inner.stats())["total_bytes"]
        if _bytes_in(folder) > _TIMES_LARGER * held + _ROOM:
            most = 1
    if len(made) <= most:
        return timedelta.max
    oldest = made[-most]
    return max(datetime.now(oldest.tzinfo) - oldest, timedelta(0))


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another process has cleaned up
            total += path.stat().st_size
    return total


async def _marked(table: Table) -> None:
    """Name the newest version, so that its loss is noticed."""
    tags, version = table.inner.tags, await table.inner.version()
    verb = tags.update if FLUSHED in await tags.list() else tags.create
    await verb(FLUSHED, version)
