"""Where the float vectors of a corpus are: in memory, in a `.npy` file, or in a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import requant
from requant.adapters.files import publish
from requant.collection import Collection
from requant.embeddings import as_array
from requant.errors import DimensionError, InputError
from requant.integration.sentence_transformers.inputs import is_codes
from requant.quantizers.arrays import Float32s

Array = NDArray[Any]
COLLECTION = "embeddings"
_ROWS = 8192


class Floats(Protocol):
    """Float vectors by row number."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimensions."""

    def take(self, rows: NDArray[np.int64]) -> Array:
        """Return the vectors of `rows (m,)`, `(m, d)`."""


class ArrayFloats:
    """Vectors in memory or in a mapped file; nothing is copied before it is asked for."""

    def __init__(self, array: Array) -> None:
        """Stand for `array (n, d)`, which stays the caller's."""
        if array.ndim != 2 or is_codes(array) or array.dtype.kind not in "fiu":
            raise InputError(
                f"floats must be (n, d) float vectors, not {array.dtype} of shape {array.shape}"
            )
        self._array = array
        self.shape: tuple[int, int] = (len(array), array.shape[1])

    def take(self, rows: NDArray[np.int64]) -> Array:
        """Return the vectors of `rows`."""
        taken: Array = np.take(self._array, rows, axis=0)
        return taken


class StoredFloats:
    """Vectors in a requant database: the items 0 to n - 1 of its collection `embeddings`."""

    def __init__(self, collection: Collection) -> None:
        """Read from `collection`."""
        self._collection = collection
        self.shape: tuple[int, int] = (len(collection), collection.dim)

    def take(self, rows: NDArray[np.int64]) -> Float32s:
        """Return the vectors of `rows`."""
        unique, at = np.unique(rows, return_inverse=True)
        vectors: Float32s = self._collection.vectors(unique.tolist())[at.reshape(-1)]
        return vectors


@contextmanager
def opened(floats: Any, corpus: Array | None) -> Iterator[Floats | None]:
    """Yield the float vectors: `floats`, an array or a path, else `corpus` if it has any.

    A path that does not exist yet is filled from `corpus`: one that ends in `.npy` becomes a NumPy
    file, which is mapped, any other a requant database.
    """
    if floats is None:
        yield None if corpus is None else ArrayFloats(corpus)
    elif isinstance(floats, (str, Path)):
        path = Path(floats)
        if not path.exists() and corpus is None:
            raise InputError(
                f"{path} does not exist: pass float corpus_embeddings once, to fill it"
            )
        with (_mapped if path.suffix == ".npy" else _database)(path, corpus) as source:
            yield _checked(source, corpus, str(path))
    else:
        yield _checked(ArrayFloats(as_array(floats)), corpus, "floats")


def _checked(source: Floats, corpus: Array | None, name: str) -> Floats:
    """Refuse vectors that are not those of the corpus, as far as the shape and the ends tell."""
    if corpus is None:
        return source
    if source.shape != corpus.shape:
        raise DimensionError(f"{name}: shape {source.shape}, the corpus has {corpus.shape}")
    if len(corpus):
        ends = np.array([0, len(corpus) - 1])
        same = np.asarray(corpus[ends], np.float32) == np.asarray(source.take(ends), np.float32)
        if not same.all():
            raise InputError(f"{name} holds other vectors than the corpus")
    return source


@contextmanager
def _mapped(path: Path, corpus: Array | None) -> Iterator[Floats]:
    if not path.exists() and corpus is not None:
        publish(path, lambda beside: _write_npy(beside, corpus))
    yield ArrayFloats(np.load(path, mmap_mode="r", allow_pickle=False))


def _write_npy(location: str, corpus: Array) -> None:
    with Path(location).open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": corpus.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(corpus), _ROWS):
            np.ascontiguousarray(corpus[start : start + _ROWS], "<f4").tofile(file)


@contextmanager
def _database(path: Path, corpus: Array | None) -> Iterator[Floats]:
    with requant.open(path) as database:
        if COLLECTION not in database.collections():
            if corpus is None:
                raise InputError(f"{path} has no collection {COLLECTION!r}")
            _fill(database, corpus)
        yield StoredFloats(database.collection(COLLECTION))


def _fill(database: Any, corpus: Array) -> None:
    """Store the vectors under their numbers, all of them or none."""
    collection = database.create_collection(COLLECTION, dim=corpus.shape[1], metric="ip")
    try:
        for start in range(0, len(corpus), _ROWS):
            rows = corpus[start : start + _ROWS]
            collection.upsert(range(start, start + len(rows)), rows)
    except BaseException:
        database.drop_collection(COLLECTION)
        raise
