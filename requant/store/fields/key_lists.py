"""Which of the `PART` keys of a part have a value: a list of places, or a bit for each."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# So many keys in a row that their bits need neither an overflow page in SQLite nor a table beside
# the table in PostgreSQL.
PART = 15_360
BITS = PART // 8
_MOST = (BITS - 1) // 2  # places that are listed; whatever has the length of all bits is bits
_FEW = 16

Mask = NDArray[np.bool_]


def changed(known: bytes | None, add: Sequence[int], take: Sequence[int] = ()) -> bytes | None:
    """Return a list with some places added, in order, and some taken out; None if none is left.

    >>> unpacked(changed(changed(None, [3, 9]), [11], [3]))
    [9, 11]
    """
    if known is None and not take and len(add) == 1:
        return add[0].to_bytes(2, "little")  # as most are of a field whose values are all different
    if not known and not take and len(add) <= _MOST:
        return struct.pack(f"<{len(add)}H", *add)
    known = known or b""
    appended = not take and len(known) + 2 * len(add) < BITS and add[0] > _last(known)
    if appended:
        return known + struct.pack(f"<{len(add)}H", *add)
    if len(known) == BITS and len(add) + len(take) <= _FEW:
        return _with_bits(known, add, take)
    mask = np.zeros(PART, np.bool_)
    set_in(mask, [0], [known])
    mask[np.asarray(add, np.intp)] = True
    mask[np.asarray(take, np.intp)] = False
    places = np.flatnonzero(mask)
    if not len(places):
        return None
    if len(places) <= _MOST:
        return places.astype("<u2").tobytes()
    return np.packbits(mask, bitorder="little").tobytes()


def packed(places: Sequence[int]) -> bytes:
    """Return the list that has these places, which are in order."""
    return changed(None, places) or b""


def unpacked(known: bytes | None) -> list[int]:
    """Return the places of a list."""
    mask = np.zeros(PART, np.bool_)
    set_in(mask, [0], [known or b""])
    return np.flatnonzero(mask).tolist()


def set_in(mask: Mask, parts: Sequence[int], lists: Sequence[bytes]) -> None:
    """Set in `mask (parts * PART,)` what these lists, each of a part counted from 0, have."""
    bits = [i for i, one in enumerate(lists) if len(one) == BITS]
    if len(bits) < len(lists):
        others = [i for i, one in enumerate(lists) if len(one) != BITS]
        set_places(mask, [parts[i] for i in others], [lists[i] for i in others])
    if bits:
        set_bits(mask, [parts[i] for i in bits], [lists[i] for i in bits])


def set_places(mask: Mask, parts: Sequence[int], lists: Sequence[bytes]) -> None:
    """Set what these lists of places have; several of one part may stand together as one."""
    found = np.frombuffer(b"".join(lists), "<u2").astype(np.intp)
    found += np.repeat(np.asarray(parts, np.intp) * PART, [len(one) // 2 for one in lists])
    mask[found] = True


def set_bits(mask: Mask, parts: Sequence[int], lists: Sequence[bytes]) -> None:
    """Set what these lists have, all of them bits."""
    # Those of one part stand together, so that each is unpacked once.
    order = sorted(range(len(lists)), key=lambda i: parts[i])
    rows = np.frombuffer(b"".join([lists[i] for i in order]), np.uint8).reshape(-1, BITS)
    at = np.array([parts[i] for i in order], np.intp)
    begin = np.flatnonzero(np.diff(at, prepend=-1))
    whole = np.bitwise_or.reduceat(rows, begin, axis=0)
    mask.reshape(-1, PART)[at[begin]] |= np.unpackbits(whole, axis=1, bitorder="little").view(
        np.bool_
    )


def _last(known: bytes) -> int:
    return int.from_bytes(known[-2:], "little") if known else -1


def _with_bits(known: bytes, add: Sequence[int], take: Sequence[int]) -> bytes | None:
    bits = bytearray(known)
    for place in add:
        bits[place >> 3] |= 1 << (place & 7)
    for place in take:
        bits[place >> 3] &= ~(1 << (place & 7))
    return bytes(bits) if not take or any(bits) else None
