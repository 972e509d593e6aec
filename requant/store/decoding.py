"""What rows of the store mean: ids, items, vectors; what is damaged is told by name."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from requant.adapters.protocol import Keys
from requant.errors import CorruptDataError
from requant.quantizers.arrays import Float32s
from requant.store.fields import parse_metadata

Id = str | int | UUID
# Key, id as text, kind of id, document, and metadata as the text that is stored.
RawItem = tuple[int, str, int, "str | None", "str | None"]
VECTOR_DTYPE = np.dtype("<f4")
# Stands between the vectors of a block: a NaN, which no vector that is stored has in it.
SEPARATOR = bytes.fromhex("a55ac57f")
_SEPARATOR = int.from_bytes(SEPARATOR, "little")
_BIG_KEY = np.dtype(">i8")


class Item(NamedTuple):
    """What is stored under an id; `vector` is read only where a call says so."""

    key: int
    id: Id
    document: str | None
    metadata: dict[str, Any] | None
    vector: Float32s | None = None


def matrix_of(rows: list[Any], dim: int) -> tuple[Keys, Float32s]:
    """Return the keys and vectors `(n, dim)` of rows; raises CorruptDataError."""
    return np.array([row[0] for row in rows], np.int64), floats_of(rows, dim)


def floats_of(rows: list[Any], dim: int) -> Float32s:
    """Return the vectors `(n, dim)` of rows of a key and its vector; raises CorruptDataError."""
    vecs, size = [row[1] for row in rows], dim * VECTOR_DTYPE.itemsize
    try:
        # Each of them: two that are wrong may be right together.
        sound = not vecs or set(map(len, vecs)) == {size}
        floats = np.frombuffer(b"".join(vecs) if sound else b"", VECTOR_DTYPE)
    except (TypeError, ValueError):  # no bytes, or not four for each number
        floats = np.empty(0, VECTOR_DTYPE)
    if len(floats) != len(rows) * dim:
        raise _of_other_size(rows, dim)
    return floats.reshape(len(rows), dim)


def block_of(
    keys: str | bytes | None, vectors: bytes | None, dim: int
) -> tuple[Keys, Float32s] | None:
    """Return the keys, in order, and vectors `(n, dim)` of what the statement `block` returns.

    The vectors are views of what was read, each a little apart from the next. None if one is of
    another size than was written: whoever reads them one by one finds out which.
    """
    if keys is None or vectors is None:
        return np.empty(0, np.int64), np.empty((0, dim), VECTOR_DTYPE)
    if isinstance(keys, str):
        numbers = np.fromstring(keys, np.int64, sep=",")
    else:
        numbers = np.frombuffer(keys, _BIG_KEY).astype(np.int64)
    floats = joined_floats(vectors, len(numbers), dim)
    if floats is not None and (numbers[1:] < numbers[:-1]).any():  # as the database found them
        order = np.argsort(numbers)
        return numbers[order], floats[order]
    return None if floats is None else (numbers, floats)


def joined_floats(joined: bytes | None, n: int, dim: int) -> Float32s | None:
    """Return `(n, dim)` views of n > 0 vectors joined by SEPARATOR, None if one has another size.

    A row is a little apart from the next.
    """
    apart = 4 * dim + len(SEPARATOR)
    if joined is None or len(joined) != n * apart - len(SEPARATOR):
        return None
    between = np.ndarray(n - 1, np.dtype("<u4"), joined, 4 * dim, (apart,))
    if np.count_nonzero(between != _SEPARATOR):
        return None
    return np.ndarray((n, dim), VECTOR_DTYPE, joined, 0, (apart, 4))


def _of_other_size(rows: list[Any], dim: int) -> CorruptDataError:
    size = dim * VECTOR_DTYPE.itemsize
    wrong = (key for key, vec, *_ in rows if not isinstance(vec, bytes) or len(vec) != size)
    key = next(wrong, "?")
    return CorruptDataError(f"the vector of key {key} has another size than was written")


def id_of(ext_id: str, kind: int) -> Id:
    """Return an id as it was first given; raises CorruptDataError."""
    if kind == 0 and isinstance(ext_id, str):
        return ext_id
    try:
        if kind == 1:
            return int(ext_id)
        if kind == 2:
            return UUID(ext_id)
    except (TypeError, ValueError, AttributeError):
        pass
    raise CorruptDataError(f"an item has the id {ext_id!r:.80} of kind {kind!r:.80}")


def content_of(
    key: int, ext_id: str, kind: int, document: str | None, metadata: str | None
) -> tuple[Id, str | None, dict[str, Any] | None]:
    """Return id, document and metadata of what is stored as an item; raises CorruptDataError."""
    if document is not None and not isinstance(document, str):
        raise CorruptDataError(f"item {ext_id!r:.80} has a document that is no text")
    # The id as nearly always, without a call.
    known = ext_id if kind == 0 and isinstance(ext_id, str) else id_of(ext_id, kind)
    return known, document, None if metadata is None else parse_metadata(metadata)


def item_of(
    dim: int,
    key: int,
    ext_id: str,
    kind: int,
    document: str | None,
    metadata: str | None,
    vec: bytes | None = None,
) -> Item:
    """Return what is stored as an item, its vector of `dim` numbers; raises CorruptDataError."""
    vector = None if vec is None else matrix_of([(key, vec)], dim)[1][0].copy()
    return Item(key, *content_of(key, ext_id, kind, document, metadata), vector)
