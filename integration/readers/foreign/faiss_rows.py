"""The FAISS file inside a framework's folder: ids and vectors of all its rows, at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.integration.errors import SourceError
from requant.integration.readers.foreign.common import package
from requant.integration.readers.foreign.faiss_reading import (
    compared_by,
    has_header,
    read_index,
    unreadable,
)
from requant.integration.readers.foreign.faiss_walk import UnreadableError, walk_of
from requant.integration.readers.foreign.listed import Metric
from requant.integration.readers.foreign.protocol import Fidelity

_PART = 65536


@dataclass(frozen=True)
class FaissRows:
    """What a FAISS file holds, in any order; `ids (n,)` are positions unless it has its own."""

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    kind: str
    metric: Metric | None
    fidelity: Fidelity
    notes: tuple[str, ...] = ()


def read_faiss(path: Path) -> FaissRows:
    """Read a FAISS index; bits become -1 and 1, in the order of `numpy.packbits`.

    Raises:
        SourceError: the file is missing, damaged, or of a type that cannot be read.
        PackageMissingError: FAISS is not installed.
    """
    if not path.is_file():
        raise SourceError(f"{path} does not exist: the vectors are in it")
    if not has_header(path):
        raise SourceError(f"{path} does not begin as a FAISS file does: it is damaged")
    faiss = package("faiss", "FAISS files", "faiss")
    index = read_index(path)
    try:
        walk = walk_of(faiss, index)
        parts = list(walk.read(_PART))
    except UnreadableError as error:
        raise SourceError(f"{path} cannot be imported: {error}") from error
    except (RuntimeError, MemoryError) as error:
        raise unreadable(path, error) from error
    # Copies, since what FAISS maps goes away with the index.
    ids = np.concatenate([np.empty(0, np.int64), *(ids for ids, _ in parts)])
    none = np.empty((0, index.d), np.float32)
    vectors = np.concatenate([none, *(rows for _, rows in parts)])
    metric, notes = _metric(faiss, index), walk.notes
    if metric is None:
        notes = (*notes, f"FAISS's metric {index.metric_type} is none of cosine, ip and l2")
    return FaissRows(ids, vectors, type(index).__name__, metric, walk.fidelity, notes)


def _metric(faiss: Any, index: Any) -> Metric | None:
    if isinstance(index, faiss.IndexBinary):
        return "cosine"
    return compared_by(index)
