"""What FAISS did to vectors before it stored them, undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.integration.readers.foreign.protocol import Fidelity

Floats = NDArray[np.float32]
# A direction that was shrunk by more than this has drowned in rounding.
_LEAST = 1e-4


@dataclass(frozen=True)
class Undo:
    """The way back: `undo` takes `(n, d_out)` and returns `(n, d_in)`."""

    undo: Callable[[Floats], Floats]
    fidelity: Fidelity
    note: str = ""


def undo(faiss: Any, transform: Any) -> Undo | None:
    """Return the way back through a transform, None if there is none."""
    name, shape = type(transform).__name__, f"{transform.d_in} to {transform.d_out} dimensions"
    whole = transform.d_out >= transform.d_in
    if isinstance(transform, faiss.LinearTransform):
        return _linear(faiss, transform, f"{name}, {shape}")
    if isinstance(transform, faiss.NormalizationTransform):
        note = "FAISS normalised the vectors: their lengths are lost"
        return Undo(lambda vectors: vectors, "normalised", note)
    if isinstance(transform, faiss.RemapDimensionsTransform):
        note = "" if whole else f"dimensions were left out ({name}, {shape}), and come back as 0"
        return Undo(_reverse(transform), "exact" if whole else "lossy", note)
    if isinstance(transform, (faiss.CenteringTransform, faiss.HadamardRotation)) and whole:
        return Undo(_reverse(transform), "exact", _rounded(f"{name}, {shape}"))
    return None


def _linear(faiss: Any, transform: Any, name: str) -> Undo:
    # FAISS's own way back takes every matrix for a rotation, also one that whitens.
    matrix = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in)
    matrix = matrix.astype(np.float64)
    offset = faiss.vector_to_array(transform.b) if transform.have_bias else np.float32(0)
    widths = np.linalg.svd(matrix, compute_uv=False)
    whole = transform.d_out >= transform.d_in and widths.min() > _LEAST * widths.max()
    back = np.linalg.pinv(matrix).T

    def undone(vectors: Floats) -> Floats:
        found: Floats = ((vectors - offset) @ back).astype(np.float32)
        return found

    if whole:
        return Undo(undone, "exact", _rounded(name))
    note = f"FAISS projected the vectors ({name}): what it cut off is lost"
    return Undo(undone, "lossy", note)


def _reverse(transform: Any) -> Callable[[Floats], Floats]:
    def undone(vectors: Floats) -> Floats:
        found: Floats = transform.reverse_transform(np.ascontiguousarray(vectors))
        return found

    return undone


def _rounded(name: str) -> str:
    return f"FAISS moved or turned the vectors ({name}): they are turned back, but for rounding"
