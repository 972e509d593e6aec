"""Codes and keys in two NumPy arrays, and in one file: their `.npy` images, and what they are.

The keys come first. Last, as a text in an array of its own, stands what the codes mean; files of
earlier versions end with the codes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from requant.adapters.errors import CorruptIndexError
from requant.adapters.keys import Growing, KeyColumn, Rows
from requant.adapters.protocol import Keys
from requant.quantizers.arrays import Codes
from requant.quantizers.codes import CodeSpec


class Table:
    """Rows of codes under keys, in no particular order."""

    def __init__(self, keys: KeyColumn, codes: Codes, mapped: bool = False) -> None:
        """Take over `codes (n, w)`, of which row i has key i; `mapped` ones are copied on write."""
        self.keys = keys
        self._codes = Growing(codes)
        self._mapped = mapped

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.keys)

    @property
    def codes(self) -> Codes:
        """The codes by row; only valid until the next write."""
        return self._codes.view

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Overwrite known keys in place and append the others."""
        self._own()
        at = self.keys.find(keys)
        known = at >= 0
        if known.any():
            self.codes[at[known]] = codes[known]
            keys, codes = keys[~known], codes[~known]
        self._codes.append(codes)
        self.keys.append(keys)

    def delete(self, keys: Keys) -> int:
        """Move the last rows into the holes."""
        self._own()
        rows = self.rows(keys)
        holes, movers = self.keys.drop(rows)
        self.codes[holes] = self.codes[movers]
        self._codes.truncate(len(self.keys))
        return len(rows)

    def rows(self, keys: Keys) -> Rows:
        """Return the rows of those keys that are known."""
        rows = self.keys.find(keys)
        return rows[rows >= 0]

    def save(self, location: str, meaning: str) -> None:
        """Write the file; `meaning` is what `load` has to be told."""
        with Path(location).open("wb") as file:
            np.save(file, self.keys.view, allow_pickle=False)
            np.save(file, self.codes, allow_pickle=False)
            np.save(file, np.array(meaning), allow_pickle=False)

    def _own(self) -> None:
        if self._mapped:
            self._codes = Growing(np.array(self.codes))
            self._mapped = False


def load(location: str, code: CodeSpec, meaning: str, mmap: bool) -> Table:
    """Read or map what `save` wrote.

    Raises CorruptIndexError if it is not whole, not `code`, or has another `meaning`.
    """
    path = Path(location)
    try:
        with path.open("rb") as file:
            keys = np.load(file, allow_pickle=False)
            shape, dtype = _header(file)
            offset = file.tell()
        if (dtype, shape[1:]) != (code.dtype, (code.width,)):
            raise ValueError(f"it holds {dtype} codes of shape {shape}")
        if keys.dtype != np.int64 or keys.shape != shape[:1]:
            raise ValueError(f"it holds {keys.dtype} keys of shape {keys.shape}, codes {shape}")
        _check_end(path, offset + shape[0] * code.row_bytes, meaning)
    except (ValueError, EOFError, OSError, MemoryError, OverflowError) as error:
        raise CorruptIndexError(f"{location} is not a table of codes: {error}") from error
    return Table(KeyColumn(keys), _codes(path, dtype, offset, shape, mmap), mmap)


def _check_end(path: Path, end: int, meaning: str) -> None:
    """Raise ValueError unless there is nothing behind the codes, or what they should mean."""
    size = path.stat().st_size
    if size < end:
        raise ValueError(f"it has {size} bytes, not {end}")
    if size == end:
        return
    with path.open("rb") as file:
        file.seek(end)
        found = np.load(file, allow_pickle=False)
        if file.tell() != size:
            raise ValueError(f"it has {size} bytes, not {file.tell()}")
    if str(found) != meaning:
        raise ValueError(f"it holds codes of {str(found)!r}, not of {meaning!r}")


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    if npy.read_magic(file) != (1, 0):
        raise ValueError("its codes are in another version of the npy format")
    shape, fortran, dtype = npy.read_array_header_1_0(file)
    if fortran:
        raise ValueError("its codes are in column order")
    return shape, dtype


def _codes(
    path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...], mmap: bool
) -> NDArray[Any]:
    if not shape[0]:
        return np.empty(shape, dtype)  # nothing cannot be mapped
    if mmap:
        return np.memmap(path, dtype, "r", offset, shape)
    return np.fromfile(path, dtype, shape[0] * shape[1], offset=offset).reshape(shape)
