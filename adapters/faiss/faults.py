"""Where the parts of a FAISS index contradict each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss

from requant.adapters.faiss.files import downcast

_WITH_IDS = (faiss.IndexIDMap, faiss.IndexBinaryIDMap)
_LISTS = (faiss.IndexIVF, faiss.IndexBinaryIVF)


def faults_of(index: Any) -> Iterator[str]:
    """Yield where the parts of an index contradict each other: FAISS would read past their ends."""
    if index.d < 1:
        yield f"it has {index.d} dimensions"
    if not index.is_trained:
        yield "it is not trained"
    for name, part, dim, size in _parts(index):
        if (part.d, part.ntotal) != (dim, size):
            yield (
                f"its {name} has {part.ntotal} vectors of {part.d} dimensions, not {size} of {dim}"
            )
        else:
            yield from faults_of(part)
    for name, count in _counts(index):
        if count != index.ntotal:
            yield f"it has {index.ntotal} vectors and {count} {name}"


def _parts(index: Any) -> Iterator[tuple[str, Any, int, int]]:
    """Yield what an index is made of, and the dimensions and the size that each has to have."""
    d, n = index.d, index.ntotal
    if isinstance(index, _WITH_IDS):
        yield "inner index", downcast(index.index), d, n
    elif isinstance(index, faiss.IndexPreTransform):
        yield "inner index", downcast(index.index), _transformed(index), n
    elif isinstance(index, faiss.IndexRefine):
        yield "base", downcast(index.base_index), d, n
        yield "refinement", downcast(index.refine_index), d, n
    elif isinstance(index, _LISTS):
        yield "quantizer", downcast(index.quantizer), d, index.nlist
    elif hasattr(index, "storage"):  # of a graph
        yield "storage", downcast(index.storage), d, n


def _counts(index: Any) -> Iterator[tuple[str, int]]:
    if isinstance(index, _WITH_IDS):
        yield "ids", index.id_map.size()
    # The lists of one without duplicates are shorter than it is.
    if isinstance(index, _LISTS) and not isinstance(index, faiss.IndexIVFFlatDedup):
        yield "vectors in its lists", index.invlists.compute_ntotal()


def _transformed(index: Any) -> int:
    """Return the dimensions behind the transforms of an index, -1 where they do not fit."""
    dim = int(index.d)
    for place in range(index.chain.size()):
        transform = index.chain.at(place)
        if transform.d_in != dim:
            return -1
        dim = int(transform.d_out)
    return dim
