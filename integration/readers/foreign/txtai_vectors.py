"""The vectors of a txtai index: FAISS, or a NumPy array; floats, or bits of quantized ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.integration.errors import SourceError
from requant.integration.readers.foreign.faiss_rows import read_faiss
from requant.integration.readers.foreign.protocol import Fidelity

# A header that claims too much, or that NumPy's own parser trips over, is damage too.
_BROKEN = (OSError, EOFError, ValueError, OverflowError, MemoryError, TokenError)
_ARRAYS = ("numpy", "torch")
_LENGTHS = "txtai divides every vector by its length before it keeps it: the lengths are gone"


@dataclass(frozen=True)
class Found:
    """The vectors, the number that txtai knows each by, and how true they are."""

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    kind: str
    fidelity: Fidelity
    notes: list[str] = field(default_factory=list)


def read_vectors(path: Path, config: dict[str, Any], name: str) -> Found:
    """Read the file `embeddings` of an index.

    Raises:
        SourceError: it is missing, damaged, or kept by an engine that cannot be read.
    """
    backend = config.get("backend", "faiss")
    if not path.is_file():
        raise SourceError(f"{name} has no vectors: its file embeddings is missing")
    if backend not in ("faiss", *_ARRAYS):
        raise SourceError(
            f"{name}: its vectors are kept by {str(backend)[:80]!r}, only faiss, numpy and torch "
            'can be read: save the index again with "backend": "faiss"'
        )
    quantize = config.get("quantize")
    # True stands for FAISS's own 8-bit codes, a number for txtai's bits.
    bits = 0 if isinstance(quantize, bool) or not isinstance(quantize, int) else quantize
    if bits:
        return _from_bits(path, max(1, min(bits, 8)), backend, name)
    if backend in _ARRAYS:
        rows = _array(path, name)
        # A deleted row is set to zero.
        ids = np.flatnonzero(rows.any(axis=1))
        return Found(ids, rows[ids].astype(np.float32), backend, "normalised", [_LENGTHS])
    found = read_faiss(path)
    fidelity: Fidelity = "normalised" if found.fidelity == "exact" else found.fidelity
    return Found(found.ids, found.vectors, found.kind, fidelity, [_LENGTHS, *found.notes])


def _array(path: Path, name: str) -> NDArray[Any]:
    try:
        rows = np.load(path, allow_pickle=False)
    except _BROKEN as error:
        raise SourceError(
            f"{name}: its file embeddings is no NumPy array (safetensors and pickles are not "
            f"read): {str(error)[:200]}"
        ) from error
    if rows.ndim != 2 or rows.dtype.kind not in "fu":
        raise SourceError(f"{name}: its array has shape {rows.shape} and dtype {rows.dtype}")
    return np.asarray(rows)


def _from_bits(path: Path, bits: int, backend: str, name: str) -> Found:
    """Return what the codes stand for: signs of one bit, else the middle of each level."""
    if backend in _ARRAYS:
        packed, kind = _array(path, name), backend
        ids = np.flatnonzero(packed.any(axis=1))
        packed = packed[ids]
    else:
        found = read_faiss(path)
        ids, packed, kind = found.ids, np.packbits(found.vectors > 0, axis=1), found.kind
    dim = packed.shape[1] * 8 // bits
    levels = np.unpackbits(packed, axis=1)[:, : dim * bits].reshape(len(packed), dim, bits)
    codes = levels @ (1 << np.arange(bits - 1, -1, -1))
    half = 2 ** (bits - 1)
    floats = 2 * codes - 1 if bits == 1 else (codes - half + 0.5) / half
    notes = [_LENGTHS, f"the vectors are made from txtai's {bits}-bit codes, which is all it keeps"]
    if bits != 8:
        notes.append(
            f"{dim} dimensions are as many as fit into its bytes; the last few are padding if the "
            "model has fewer"
        )
    fidelity: Fidelity = "codes-only" if bits == 1 else "lossy"
    return Found(ids, floats.astype(np.float32), f"{kind}, {bits} bits", fidelity, notes)
