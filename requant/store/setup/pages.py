"""The size of SQLite's pages, by how densely vectors lie in them.

A page holds whole rows: of 768 dimensions two in 8 KB, which leaves a quarter empty, and five in
16 KB. The size of a file's pages is chosen while it is empty, and stays.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from requant.store.schema import Tables

SIZES = (8192, 16384, 32768)  # small ones let a write of one row write less
# Of the densest, what is dense enough.
_DENSE = 0.9
_LONG = 8192  # vectors that fill several pages in any case
_BESIDE = 12  # of a row: its checksum, and how its columns are stored
_CELL = 12  # and of its place in the page: key, lengths, pointer
# A file of more bytes is not new, or not ours alone.
_NEW_BYTES = 4 << 20


def page_size(dim: int) -> int:
    """Return the size of pages in which vectors of `dim` numbers lie densely.

    >>> [page_size(dim) for dim in (8, 384, 768, 1024, 1536)]
    [8192, 8192, 16384, 32768, 32768]
    """
    if dim > _LONG:
        return SIZES[-1]
    filled = {size: _filled(dim, size) for size in SIZES}
    return next(size for size in SIZES if filled[size] >= _DENSE * max(filled.values()))


def is_new(connection: sa.Connection, tables: Tables) -> bool:
    """Whether a SQLite file holds requant's tables alone, and no collection yet."""
    known = {table.name for table in tables.metadata.sorted_tables}
    listed = connection.exec_driver_sql("SELECT tbl_name FROM sqlite_schema").scalars()
    if any(name not in known and not name.startswith("sqlite_") for name in listed):
        return False
    (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
    small = pages * pages_of(connection) <= _NEW_BYTES
    return small and connection.execute(sa.select(tables.collections.c.id).limit(1)).first() is None


def pages_of(connection: sa.Connection) -> int:
    """Return the size of a SQLite file's pages."""
    return int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())


def rewrite(raw: Any, size: int) -> None:
    """Give a SQLite file pages of another size, by a connection of the driver that is the only one.

    Raises the driver's error where it is not.
    """
    raw.execute("PRAGMA journal_mode = DELETE")  # pages stay as they are beside a log
    try:
        raw.execute(f"PRAGMA page_size = {size:d}")
        raw.execute("VACUUM")
    finally:
        raw.execute("PRAGMA journal_mode = WAL")


def _filled(dim: int, size: int) -> float:
    """Return what share of the pages would be vectors, by SQLite's rules for long rows."""
    row = 4 * dim + _BESIDE
    local, further = row, 0
    if row > size - 35:
        least = (size - 12) * 32 // 255 - 23
        local = least + (row - least) % (size - 4)
        local = local if local <= size - 35 else least
        further = -((local - row) // (size - 4))
    return 4 * dim / (size / ((size - 8) // (local + _CELL)) + further * size)
