"""The nibble layout of FAISS's fast-scan kernels, read and written in NumPy.

A block of 32 or 64 rows is laid out as `(pairs of nibbles, groups of 32 rows, 2, 16)` bytes. Byte
`slot` of the two 16-byte halves holds the first and second nibble of a pair, for two rows of the
group: in its low bits the row whose slot that is, in its high bits the row 16 further on.

FAISS can write rows there (`add` encodes floats) and move them (`remove_ids`), but 1.15 is wrong
twice: it moves the wrong nibbles in blocks of 64, and it leaves old nibbles behind the last row,
into which the next `add` mixes its own by OR.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from requant.adapters.keys import Rows

Bytes = NDArray[np.uint8]

# Where in its half the row r of 16 stands: FAISS interleaves rows 0..7 with rows 8..15.
_SLOT = np.array([0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15])


def blocks_of(raw: Bytes, block: int, row_bytes: int) -> Bytes:
    """View the bytes of whole blocks as `(blocks, row_bytes, groups, 2, 16)`."""
    return raw.reshape(-1, row_bytes, block // 32, 2, 16)


def gather(blocks: Bytes, rows: Rows) -> Bytes:
    """Return the packed codes of `rows`, `(m, row_bytes) uint8`."""
    block, group, half, slot = _place(blocks, rows)
    nibbles = blocks[block, :, group, :, slot] >> (half * 4).astype(np.uint8)[:, None, None]
    low, high = nibbles[:, :, 0] & np.uint8(15), nibbles[:, :, 1] << np.uint8(4)
    packed: Bytes = low | high
    return packed


def scatter(blocks: Bytes, rows: Rows, codes: Bytes) -> None:
    """Write packed codes `(m, row_bytes) uint8` to `rows`, which must not repeat."""
    place = np.stack(_place(blocks, rows))
    nibbles = np.stack([codes & 15, codes >> 4], axis=2)
    # Two rows share a byte, so each half is written on its own.
    for high, keep in ((0, 0xF0), (1, 0x0F)):
        chosen = place[2] == high
        block, group, _, slot = place[:, chosen]
        at = (block, slice(None), group, slice(None), slot)
        blocks[at] = blocks[at] & np.uint8(keep) | nibbles[chosen] << np.uint8(4 * high)


def _place(blocks: Bytes, rows: Rows) -> tuple[Rows, Rows, Rows, Rows]:
    block, within = np.divmod(rows, blocks.shape[2] * 32)
    group, within = np.divmod(within, 32)
    half, within = np.divmod(within, 16)
    return block, group, half, _SLOT[within]
