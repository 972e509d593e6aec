"""Many rows at once in PostgreSQL, by psycopg 3: new ones by binary COPY, others as arrays.

Other drivers write row by row, by the statements of `HotSql`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.quantizers.arrays import Float32s
from requant.store.connections import copy_rows
from requant.store.decoding import VECTOR_DTYPE
from requant.store.statements import HotSql

# What is made at a time, and what an array of vectors has at most, in bytes.
_BYTES = 1 << 19
_ITEMS = 1000
_ITEM_TYPES = ["int8", "int8", "text", "int2", "text", "text"]
# How a binary COPY begins (its name, no flags, no extension) and ends.
_BEGIN = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_END = b"\xff\xff"


def copy_items(cursor: Any, sql: HotSql, rows: Iterable[tuple[Any, ...]]) -> None:
    """Add items, rows as `insert_item` takes them."""
    copy_rows(cursor, sql.copy_items, _ITEM_TYPES, rows)


def copy_vectors(cursor: Any, sql: HotSql, keys: Sequence[int], floats: Float32s) -> None:
    """Add vectors `(n, d)` under new keys, with their checksums."""
    with cursor.copy(sql.copy_vectors) as copy:
        copy.write(_BEGIN)
        for start, some in _parts(floats):
            copy.write(_binary(keys[start : start + len(some)], some))
        copy.write(_END)


def put_items(
    cursor: Any,
    sql: HotSql,
    keys: Sequence[int],
    documents: Sequence[str | None] | None,
    metadata: Sequence[str | None] | None,
) -> None:
    """Change the columns that are given, of items that are stored."""
    given = (documents is not None, metadata is not None)
    for start in range(0, len(keys), _ITEMS):
        some = keys[start : start + _ITEMS]
        columns = [
            [None] * len(some) if column is None else column[start : start + _ITEMS]
            for column in (documents, metadata)
        ]
        # A plan that was made while the table was small is not for all time.
        cursor.execute(sql.put_items, (*given, some, *map(list, columns)), prepare=False)


def put_vectors(cursor: Any, sql: HotSql, keys: Sequence[int], floats: Float32s) -> None:
    """Write vectors `(n, d)` under keys that may have one, with their checksums."""
    for start, some in _parts(floats):
        vecs = [vec.tobytes() for vec in some]
        parameters = (keys[start : start + len(vecs)], vecs, list(map(zlib.crc32, vecs)))
        cursor.execute(sql.put_vectors, parameters, prepare=False)


def _parts(floats: Float32s) -> Iterator[tuple[int, Float32s]]:
    size = max(1, _BYTES // (floats.shape[1] * VECTOR_DTYPE.itemsize))
    for start in range(0, len(floats), size):
        yield start, np.ascontiguousarray(floats[start : start + size], VECTOR_DTYPE)


def _binary(keys: Sequence[int], floats: NDArray[Any]) -> bytes:
    """Return rows as COPY reads them: how many columns, then of each the length and the bytes."""
    width = floats.shape[1] * VECTOR_DTYPE.itemsize
    columns = [("columns", ">i2"), ("a", ">i4"), ("key", ">i8"), ("b", ">i4")]
    columns += [("vec", f"V{width}"), ("c", ">i4"), ("crc", ">i8")]
    rows = np.empty(len(floats), np.dtype(columns))
    rows["columns"], rows["a"], rows["b"], rows["c"] = 3, 8, width, 8
    rows["key"] = keys
    rows["vec"] = floats.view(f"V{width}").reshape(-1)
    rows["crc"] = [zlib.crc32(vec) for vec in floats]
    return rows.tobytes()
