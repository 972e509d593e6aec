"""Somebody else's table: where it is, what its index is, and a stamp of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from requant.adapters.errors import CorruptIndexError
from requant.adapters.lancedb.place import Place, place_of
from requant.adapters.lancedb.probe import connected
from requant.adapters.protocol import IndexSpec
from requant.quantizers.errors import InputError

_SUFFIX = ".lance"


def place_named(location: str, wishes: IndexSpec) -> Place:
    """Return where a table is: `folder/name.lance`, `folder/name`, or a URI."""
    place = place_of(location, wishes)
    if place.folder is None:
        return replace(place, table=place.table.removesuffix(_SUFFIX))
    told = place.folder
    for folder in (told, told.with_name(told.name + _SUFFIX)):
        if folder.suffix == _SUFFIX and folder.is_dir():
            return Place(str(folder.parent), folder.stem, folder)
    tables = sorted(path.stem for path in Path(told).glob(f"*{_SUFFIX}")) if told.is_dir() else []
    if tables:
        raise InputError(f"{told} is a database: name a table in it, one of: {', '.join(tables)}")
    # LanceDB would make a folder where there is none.
    raise CorruptIndexError(f"there is no lancedb table at {told}")


async def opened(place: Place) -> tuple[Any, Any]:
    """Return the table and its schema."""
    table = await (await connected(place)).open_table(place.table)
    return table, await table.schema()


async def index_of(table: Any, column: str) -> tuple[bool, str | None]:
    """Return whether the column's index is a graph, and its distance; None without an index."""
    for found in await table.list_indices():
        if found.columns == [column]:
            stats = await table.index_stats(found.name)
            if stats is not None and stats.distance_type:
                return "hnsw" in found.index_type.lower(), str(stats.distance_type).lower()
    return False, None


async def stamp_of(place: Place) -> str:
    """Return the newest version, when it was made, and the number of rows."""
    # Opened anew, so that a table that is gone is told as one.
    table, _ = await opened(place)
    try:
        versions, rows = await table.list_versions(), await table.count_rows()
    finally:
        table.close()
    newest = max(versions, key=lambda version: int(version["version"]))
    # A table that is made anew counts from 1 again.
    made = newest["timestamp"].timestamp()
    return f"version={newest['version']} made={made:.6f} rows={rows}"
