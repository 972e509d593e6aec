"""Files that FAISS wrote, of whatever index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from requant.integration.errors import SourceError
from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.common import check_new, package, refuse_columns
from requant.integration.readers.foreign.faiss_reading import (
    compared_by,
    has_header,
    read_index,
    unreadable,
)
from requant.integration.readers.foreign.faiss_walk import Rows, UnreadableError, Walk, walk_of
from requant.integration.readers.foreign.listed import Metric
from requant.integration.readers.source import Batch
from requant.tables import SeenIds

_EXTENSIONS = (".faiss", ".index")
# How far from 1 the length of a normalised vector may be.
_UNIT = 1e-3
_LOOK = 4096


def is_faiss(source: str) -> bool:
    """Whether a file is FAISS's, by its name or by how it begins."""
    path = Path(source)
    if "://" in source or not path.is_file():
        return False
    return path.suffix.lower() in _EXTENSIONS or has_header(path)


def open_faiss(source: str, wanted: Wanted) -> FaissFile:
    """Open a FAISS file; raises SourceError, PackageMissingError."""
    path = Path(source)
    refuse_columns(source, wanted)
    if not has_header(path):
        raise SourceError(f"{path} does not begin as a FAISS file does: it is something else")
    faiss = package("faiss", "FAISS files", "faiss")
    index = read_index(path)
    try:
        return FaissFile(faiss, path, index, walk_of(faiss, index))
    except (UnreadableError, RuntimeError) as error:
        raise _told(path, error) from error


class FaissFile:
    """An index of FAISS; its ids are FAISS's labels, or row numbers where it has none."""

    def __init__(self, faiss: Any, path: Path, index: Any, walk: Walk) -> None:
        """Take over an index that has been read."""
        self.name: str = str(path)
        self.kind: str = f"FAISS file ({_spelled(faiss, index)})"
        self.fidelity = walk.fidelity
        self.dim: int = int(index.d)
        self.rows: int | None = walk.rows
        notes = list(walk.notes)
        self.notes: Sequence[str] = notes
        self._path = path
        self._walk: Walk | None = walk
        self._index = index  # everything in the walk points into it
        self.metric = _metric(faiss, index, walk, notes)
        if (path.parent / f"{path.stem}.pkl").exists() or path.with_suffix(".json").exists():
            notes.append(
                "a file beside it may hold the documents: to import them too, name the folder, or "
                "that file"
            )

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all items; raises SourceError."""
        if self._walk is None:
            raise SourceError(f"{self.name} has been closed")
        seen, first = SeenIds(), 0
        try:
            for numbers, vectors in _regrouped(self._walk.read(size), size):
                ids: list[Any] = numbers.tolist()

                def place(row: int, what: str, first: int = first, ids: list[Any] = ids) -> str:
                    return f"{self.name} row {first + row} (id {ids[row]})"

                check_new(seen, ids, place)
                yield Batch(ids, vectors, None, None, None, place)
                first += len(ids)
        except (UnreadableError, RuntimeError, MemoryError) as error:
            raise _told(self._path, error) from error

    def close(self) -> None:
        """Let go of the file."""
        self._walk = self._index = None


def _metric(faiss: Any, index: Any, walk: Walk, notes: list[str]) -> Metric | None:
    if isinstance(index, faiss.IndexBinary):
        notes.append("the order of bits under Hamming distance is that of the cosine")
        return "cosine"
    own = compared_by(index)
    if own == "l2":
        return "l2"
    if own is None:
        notes.append(f"FAISS's metric {index.metric_type} is none of cosine, ip and l2")
        return None
    if not _all_unit(walk):
        return "ip"
    notes.append(
        "FAISS compares by inner product, and every vector has length 1: that is the cosine"
    )
    return "cosine"


def _all_unit(walk: Walk) -> bool:
    """Whether every vector has length 1, or 0; the first that has not ends the reading."""
    for _, vectors in walk.read(_LOOK):
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
        if not ((np.abs(lengths - 1) < _UNIT) | (lengths == 0)).all():
            return False
    return walk.rows > 0


def _regrouped(parts: Iterator[Rows], size: int) -> Iterator[Rows]:
    """Yield `size` rows at a time: lists may be of any length."""
    held: list[Rows] = []
    count = 0
    for ids, vectors in parts:
        at = 0
        while at < len(ids):
            piece = slice(at, at + size - count)
            held.append((ids[piece], vectors[piece]))
            at, count = at + len(held[-1][0]), count + len(held[-1][0])
            if count == size:
                yield _joined(held)
                held, count = [], 0
    if held:
        yield _joined(held)


def _joined(parts: list[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([ids for ids, _ in parts]), np.concatenate([rows for _, rows in parts])


def _spelled(faiss: Any, index: Any) -> str:
    """Return the classes of an index and of what it wraps."""
    names = [type(index).__name__]
    while True:
        inner = getattr(index, "index", None) or getattr(index, "refine_index", None)
        if inner is None:
            return ", ".join(names)
        binary = isinstance(inner, faiss.IndexBinary)
        index = (faiss.downcast_IndexBinary if binary else faiss.downcast_index)(inner)
        names.append(type(index).__name__)


def _told(path: Path, error: Exception) -> SourceError:
    if isinstance(error, UnreadableError):
        return SourceError(f"{path} cannot be imported: {error}")
    return unreadable(path, error)
