"""Codes by row number in FAISS's own memory: read, overwritten, appended and cut, never copied."""

from __future__ import annotations

from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from requant.adapters.faiss import fastscan
from requant.adapters.faiss.codecs import Bytes, Codec
from requant.adapters.keys import Rows
from requant.quantizers.arrays import Codes

# Fast scan expands codes while they are written: a bounded number at a time.
_AT_ONCE = 8192


class RowStore(Protocol):
    """The codes of an index as rows 0 to n - 1."""

    def gather(self, rows: Rows) -> Codes:
        """Return copies of the codes of `rows`."""

    def replace(self, rows: Rows, codes: Codes) -> None:
        """Overwrite `rows`, which must not repeat."""

    def append(self, codes: Codes) -> None:
        """Add rows at the end."""

    def truncate(self, n: int) -> None:
        """Keep the first `n` rows."""


class PlainRows:
    """IndexFlat, IndexScalarQuantizer and IndexBinaryFlat: one row after the other."""

    def __init__(self, index: Any, codec: Codec) -> None:
        """Work on `index`, which stays the caller's."""
        self._index = index
        self._codec = codec

    def gather(self, rows: Rows) -> Codes:
        """Return copies of the codes of `rows`."""
        return self._codec.codes(np.take(self._view(), rows, axis=0))

    def replace(self, rows: Rows, codes: Codes) -> None:
        """Overwrite `rows`."""
        if len(rows):
            self._view()[rows] = self._codec.stored(codes)

    def append(self, codes: Codes) -> None:
        """Add rows at the end, byte for byte: FAISS sees no floats."""
        index = self._index
        add = index.add if isinstance(index, faiss.IndexBinary) else index.add_sa_codes
        if len(codes):
            add(self._codec.stored(codes))

    def truncate(self, n: int) -> None:
        """Keep the first `n` rows."""
        cut_tail(self._index, n)

    def _view(self) -> Bytes:
        index = self._index
        memory = index.xb if isinstance(index, faiss.IndexBinary) else index.codes
        return bytes_at(memory.data(), index.ntotal * index.code_size).reshape(-1, index.code_size)


class Woven(Protocol):
    """What rows in blocks need to know of a codec."""

    @property
    def row_bytes(self) -> int:
        """Bytes of a row: two nibbles each."""


class FastScanRows:
    """IndexPQFastScan and its like: rows woven into blocks."""

    def __init__(self, index: Any, codec: Woven) -> None:
        """Work on `index`, which stays the caller's."""
        self._index = index
        self._codec = codec

    def gather(self, rows: Rows) -> Codes:
        """Return copies of the codes of `rows`."""
        blocks = self._blocks()
        return np.concatenate(
            [fastscan.gather(blocks, part) for part in _parts(rows)]
            or [np.empty((0, self._codec.row_bytes), np.uint8)]
        )

    def replace(self, rows: Rows, codes: Codes) -> None:
        """Overwrite `rows`."""
        blocks = self._blocks()
        for start in range(0, len(rows), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            fastscan.scatter(blocks, rows[part], codes[part])

    def append(self, codes: Codes) -> None:
        """Add rows at the end, byte for byte: FAISS would want floats and encode them again."""
        n = self._index.ntotal
        self._resize(n + len(codes))
        self.replace(np.arange(n, n + len(codes)), codes)

    def truncate(self, n: int) -> None:
        """Keep the first `n` rows, and clear the others for whoever adds rows by FAISS."""
        gone = np.arange(n, self._index.ntotal)
        self.replace(gone, np.zeros((len(gone), self._codec.row_bytes), np.uint8))
        self._resize(n)

    def _resize(self, n: int) -> None:
        index, codes = self._index, self._index.codes
        before, room = codes.size(), -(-n // index.bbs) * index.bbs
        codes.resize(room * self._codec.row_bytes)
        bytes_at(codes.get(), codes.size())[before:] = 0  # FAISS hands out used memory
        index.ntotal, index.ntotal2 = n, room

    def _blocks(self) -> Bytes:
        codes = self._index.codes
        raw = bytes_at(codes.get(), codes.size())
        return fastscan.blocks_of(raw, self._index.bbs, self._codec.row_bytes)


def bytes_at(pointer: Any, size: int) -> NDArray[np.uint8]:
    """View `size` bytes of FAISS's memory; valid until FAISS moves them."""
    if not size:
        return np.empty(0, np.uint8)  # an empty vector has no address
    view: NDArray[np.uint8] = faiss.rev_swig_ptr(pointer, size)
    return view


def cut_tail(index: Any, n: int) -> None:
    """Remove the rows from `n` on, which moves nothing."""
    if n < index.ntotal:
        index.remove_ids(faiss.IDSelectorRange(n, index.ntotal))


def _parts(rows: Rows) -> list[Rows]:
    return [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]
