"""NumPy files: .npy (vectors only, mapped) and .npz (named arrays, the vectors streamed)."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from requant.integration.errors import SourceError
from requant.integration.readers.table import Vectors, plain
from requant.tables import RowError

# A damaged header may be anything to the parser of Python literals.
_BROKEN = (
    OSError, EOFError, ValueError, SyntaxError, TypeError, MemoryError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class ArrayChunk:
    """Rows of named arrays."""

    path: Path
    first: int
    arrays: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.arrays.values())))

    def values(self, column: str) -> list[Any]:
        """Return an array's rows as Python values."""
        values: list[Any] = self.arrays[column].tolist()
        return values

    def vectors(self, column: str, dim: int | None) -> Vectors:
        """Return the rows of a two-dimensional array; raises RowError."""
        floats = self.arrays[column]
        if dim is not None and floats.shape[1] != dim:
            raise RowError(0, f"the vector has {floats.shape[1]} dimensions, expected {dim}")
        return Vectors(floats)

    def records(self, columns: Sequence[str] | None, without: Collection[str]) -> list[Any]:
        """Return a dict a row."""
        if columns is None:
            columns = [name for name in self.arrays if name not in without]
        rows = zip(*(self.values(name) for name in columns), strict=True)
        return [dict(zip(columns, map(plain, row), strict=True)) for row in rows]

    def place(self, row: int, what: str) -> str:
        """Name the file and the row, from 0."""
        return f"{self.path} row {self.first + row}"


class NpyFile:
    """One array `(n, d)`; its only column is called `vector`."""

    def __init__(self, path: Path) -> None:
        """Map the file; raises SourceError unless it holds vectors."""
        self.path = path
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except _BROKEN as error:
            raise _unreadable(path, error) from error
        _check_vectors(path, "its array", array.shape, array.dtype)
        self._array: NDArray[Any] = array
        self.columns: list[str] = ["vector"]
        self.vector_like: list[str] = ["vector"]
        self.rows: int | None = len(array)

    def chunks(self, size: int, columns: Sequence[str]) -> Iterator[ArrayChunk]:
        """Yield the rows, at most `size` at a time."""
        for first in range(0, len(self._array), size):
            yield ArrayChunk(self.path, first, {"vector": self._array[first : first + size]})

    def share(self) -> float | None:
        """Return None: `rows` says it all."""
        return None


class NpzFile:
    """Named arrays; those that are not vectors (ids, documents...) are read whole."""

    def __init__(self, path: Path) -> None:
        """Read the headers of all arrays; raises SourceError."""
        self.path = path
        self._headers: dict[str, tuple[tuple[int, ...], bool, np.dtype[Any]]] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    with archive.open(name) as stream:
                        self._headers[name.removesuffix(".npy")] = _header(stream)
        except _BROKEN as error:
            raise _unreadable(path, error) from error
        self.columns: list[str] = list(self._headers)
        self.vector_like: list[str] = [
            name
            for name, (shape, _, dtype) in self._headers.items()
            if len(shape) == 2 and dtype.kind in "fiu"
        ]
        self.rows: int | None = None

    def chunks(self, size: int, columns: Sequence[str]) -> Iterator[ArrayChunk]:
        """Yield the rows of `columns`, the first of which holds the vectors."""
        vector, *others = columns
        shape, _, dtype = self._headers[vector]
        _check_vectors(self.path, f"array {vector!r}", shape, dtype)
        arrays = {name: self._whole(name, shape[0]) for name in others if name != vector}
        self.rows = shape[0]
        first = 0
        for rows in self._streamed(vector, size):
            part = {name: array[first : first + len(rows)] for name, array in arrays.items()}
            yield ArrayChunk(self.path, first, {vector: rows, **part})
            first += len(rows)

    def share(self) -> float | None:
        """Return None: `rows` says it all."""
        return None

    def _whole(self, name: str, rows: int) -> NDArray[Any]:
        shape, _, dtype = self._headers[name]
        if dtype.hasobject:
            raise SourceError(
                f"{self.path}: array {name!r} holds Python objects, which only pickle can read: "
                "save it as text or numbers"
            )
        if not shape or shape[0] != rows:
            raise SourceError(
                f"{self.path}: array {name!r} has shape {shape}, there are {rows} vectors"
            )
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                array: NDArray[Any] = archive[name]
        except _BROKEN as error:
            raise _unreadable(self.path, error) from error
        return array

    def _streamed(self, name: str, size: int) -> Iterator[NDArray[Any]]:
        shape, column_major, dtype = self._headers[name]
        if column_major:
            # Its rows lie scattered over the file: there is no reading them a part at a time.
            array = self._whole(name, shape[0])
            yield from (array[first : first + size] for first in range(0, shape[0], size))
            return
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as stream:
                _header(stream)
                for first in range(0, shape[0], size):
                    rows = min(size, shape[0] - first)
                    data = stream.read(rows * shape[1] * dtype.itemsize)
                    yield np.frombuffer(data, dtype).reshape(rows, shape[1])
        except _BROKEN as error:
            raise _unreadable(self.path, error) from error


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def _check_vectors(path: Path, what: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) != 2 or not shape[1] or dtype.kind not in "fiu":
        raise SourceError(
            f"{path}: {what} has shape {shape} and dtype {dtype}, vectors are (n, d) real numbers"
        )


def _unreadable(path: Path, error: Exception) -> SourceError:
    reason = str(error)
    if "allow_pickle" in reason:  # what NumPy says of any file that does not begin like its own
        reason = "not a NumPy file, or one that holds Python objects"
    return SourceError(f"{path} cannot be read: {reason or type(error).__name__}")
