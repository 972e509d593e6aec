"""All ids and vectors of a FAISS index, whatever it is made of, a part at a time.

`reconstruct_n` is asked of plain storage only, where an id is a row number: it ends the process
on an IndexIDMap, and leaves rows unwritten on lists with ids of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.integration.readers.foreign.common import signs, worst
from requant.integration.readers.foreign.faiss_transforms import undo
from requant.integration.readers.foreign.protocol import Fidelity

Floats = NDArray[np.float32]
Rows = tuple[NDArray[np.int64], Floats]
_BITS = (
    "the codes are bits, and become vectors of -1 and 1: the highest bit of the first byte is the "
    "first dimension, as numpy.packbits has it"
)


class UnreadableError(Exception):
    """An index cannot be read, and why; whoever knows the file's name tells it."""


@dataclass(frozen=True)
class Walk:
    """How to read an index: `read(size)` yields ids and vectors, about `size` rows at a time."""

    rows: int
    fidelity: Fidelity
    read: Callable[[int], Iterator[Rows]]
    notes: tuple[str, ...] = ()


def walk_of(faiss: Any, index: Any) -> Walk:
    """Return the way through an index; raises UnreadableError if there is none."""
    if isinstance(index, faiss.IndexBinary):
        return _binary(faiss, faiss.downcast_IndexBinary(index))
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexIDMap):
        return _mapped(faiss, index)
    if isinstance(index, faiss.IndexPreTransform):
        return _transformed(faiss, index)
    if isinstance(index, faiss.IndexRefine):
        # The base holds codes, the refinement the floats, row by row.
        return _same_length(walk_of(faiss, index.refine_index), index)
    if isinstance(index, faiss.IndexIVF):
        return _lists(faiss, index)
    if getattr(index, "storage", None) is not None:  # a graph keeps its vectors in another index
        return _same_length(walk_of(faiss, index.storage), index)
    if isinstance(index, (faiss.IndexFlatCodes, faiss.IndexFastScan)):
        return _flat(faiss, index)
    raise _unknown(index)


def _flat(faiss: Any, index: Any) -> Walk:
    def read(size: int) -> Iterator[Rows]:
        for first in range(0, index.ntotal, size):
            count = min(size, index.ntotal - first)
            vectors = np.empty((count, index.d), np.float32)
            index.reconstruct_n(first, count, vectors)
            yield np.arange(first, first + count), vectors

    if isinstance(index, faiss.IndexFlat):
        return Walk(index.ntotal, "exact", read)
    if isinstance(index, faiss.IndexLSH):
        return Walk(index.ntotal, "codes-only", read, ("each vector is known by its bits alone",))
    return Walk(index.ntotal, "lossy", read)


def _binary(faiss: Any, index: Any) -> Walk:
    if isinstance(index, faiss.IndexBinaryIDMap):
        return _mapped(faiss, index)
    if isinstance(index, faiss.IndexBinaryIVF):
        return _lists(faiss, index)
    if getattr(index, "storage", None) is not None:
        return _same_length(walk_of(faiss, index.storage), index)
    if not isinstance(index, faiss.IndexBinaryFlat):
        raise _unknown(index)

    def read(size: int) -> Iterator[Rows]:
        for first in range(0, index.ntotal, size):
            rows = np.arange(first, min(first + size, index.ntotal))
            codes = np.empty((len(rows), index.code_size), np.uint8)
            index.reconstruct_n(first, len(rows), codes)
            yield rows, signs(codes, index.d)

    return Walk(index.ntotal, "codes-only", read, (_BITS,))


def _mapped(faiss: Any, index: Any) -> Walk:
    inner = walk_of(faiss, index.index)
    ids: NDArray[np.int64] = faiss.vector_to_array(index.id_map)
    if len(ids) != inner.rows:
        raise UnreadableError(f"it holds {inner.rows} vectors and {len(ids)} ids")

    def read(size: int) -> Iterator[Rows]:
        for rows, vectors in inner.read(size):
            if len(rows) and not 0 <= rows.min() <= rows.max() < len(ids):
                raise UnreadableError(f"it has {len(ids)} ids, and a vector beyond them")
            yield ids[rows], vectors

    return Walk(inner.rows, inner.fidelity, read, inner.notes)


def _transformed(faiss: Any, index: Any) -> Walk:
    inner = walk_of(faiss, index.index)
    chain = [faiss.downcast_VectorTransform(index.chain.at(i)) for i in range(index.chain.size())]
    widths = [(transform.d_in, transform.d_out) for transform in chain]
    if [index.d, *(out for _, out in widths)] != [*(into for into, _ in widths), index.index.d]:
        raise UnreadableError(f"its transforms do not fit together: {widths}")
    try:
        undone = [undo(faiss, transform) for transform in reversed(chain)]
    except ValueError as error:  # numbers that are none, or too few
        raise UnreadableError(f"a transform in it is damaged: {error}") from error
    if None in undone:
        names = ", ".join(type(transform).__name__ for transform in chain)
        raise UnreadableError(f"it transforms vectors in a way that cannot be undone ({names})")
    steps = [step for step in undone if step is not None]

    def read(size: int) -> Iterator[Rows]:
        for ids, vectors in inner.read(size):
            for step in steps:
                vectors = step.undo(vectors)
            yield ids, vectors

    fidelity = worst(inner.fidelity, *(step.fidelity for step in steps))
    notes = inner.notes + tuple(step.note for step in steps if step.note)
    return Walk(inner.rows, fidelity, read, notes)


def _lists(faiss: Any, index: Any) -> Walk:
    lists = faiss.downcast_InvertedLists(index.invlists)
    sizes = [lists.list_size(number) for number in range(index.nlist)]
    if sum(sizes) != index.ntotal:
        raise UnreadableError(
            f"it says that it holds {index.ntotal} vectors, its lists hold {sum(sizes)}"
        )
    decode, fidelity = _decoder(faiss, index, lists)

    def read(size: int) -> Iterator[Rows]:
        for number, length in enumerate(sizes):
            for first in range(0, length, size):
                end = min(first + size, length)
                ids = faiss.rev_swig_ptr(lists.get_ids(number), length)[first:end].copy()
                yield ids, decode(number, first, end)

    return Walk(index.ntotal, fidelity, read, (_BITS,) if fidelity == "codes-only" else ())


def _decoder(
    faiss: Any, index: Any, lists: Any
) -> tuple[Callable[[int, int, int], Floats], Fidelity]:
    """Return what makes vectors of the codes of one list from one place to another."""

    def stored(number: int, first: int, end: int) -> NDArray[np.uint8]:
        raw = faiss.rev_swig_ptr(lists.get_codes(number), end * lists.code_size)
        codes: NDArray[np.uint8] = raw.reshape(end, -1)[first:].copy()
        return codes

    if isinstance(index, faiss.IndexBinary):
        return (lambda *part: signs(stored(*part), index.d)), "codes-only"
    if type(index) is faiss.IndexIVFFlat:
        if lists.code_size != 4 * index.d:
            raise UnreadableError(f"{lists.code_size} bytes are no {index.d} floats")
        return (lambda *part: stored(*part).view(np.float32)), "exact"
    if isinstance(index, faiss.IndexIVFRaBitQFastScan):
        raise _unknown(index)  # FAISS has a way, which comes back with other vectors
    if isinstance(index, faiss.IndexIVFFastScan):
        # FAISS forgets to read it: without it, the process ends here.
        index.fine_quantizer = index.pq if hasattr(index, "pq") else index.aq

    def reconstructed(number: int, first: int, end: int) -> Floats:
        vectors = np.empty((end - first, index.d), np.float32)
        for place in range(end - first):
            index.reconstruct_from_offset(number, first + place, faiss.swig_ptr(vectors[place]))
        return vectors

    return reconstructed, "exact" if isinstance(index, faiss.IndexIVFFlat) else "lossy"


def _same_length(walk: Walk, index: Any) -> Walk:
    if walk.rows != index.ntotal:
        raise UnreadableError(f"it counts {index.ntotal} vectors and stores {walk.rows}")
    return walk


def _unknown(index: Any) -> UnreadableError:
    return UnreadableError(
        f"FAISS gives no way to read ids and vectors out of a {type(index).__name__}: add the "
        "vectors to an IndexFlat or IndexIVFFlat with the program that made it"
    )
