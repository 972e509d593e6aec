"""Every quantizer there is, by precision and options."""

from __future__ import annotations

from typing import Any

import numpy as np

from requant import quantizers
from requant.quantizers import Quantizer

ST = "sentence-transformers"
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "float32": ("float32", {}),
    "float16": ("float16", {}),
    "int8": ("int8", {}),
    "int8-rotated": ("int8", {"rotate": True}),
    "uint8": ("uint8", {}),
    "int4": ("int4", {}),
    "int2": ("int2", {}),
    "int1": ("int1", {}),
    "int4-true": ("int4", {"true_to_length": True}),
    "int2-true": ("int2", {"true_to_length": True}),
    "int1-true": ("int1", {"true_to_length": True}),
    "binary-true": ("binary", {"true_to_length": True}),
    "signs": ("binary", {"bits": 1, "centre": False, "rotate": False}),
    "binary-1": ("binary", {"bits": 1}),
    "binary-2": ("binary", {}),
    "binary-3": ("binary", {"bits": 3}),
    "binary-4-unrotated": ("binary", {"bits": 4, "rotate": False}),
    "st-int8": ("int8", {"dialect": ST}),
    "st-uint8": ("uint8", {"dialect": ST}),
    "st-ubinary": ("binary", {"dialect": ST}),
}


def fit(kind: str, sample: Any, **options: Any) -> Quantizer:
    """Fit the quantizer of a kind."""
    precision, more = KINDS[kind]
    return quantizers.fit(precision, sample, **more, **options)  # type: ignore[arg-type]


def gaussian(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Return `(n, dim) float32` random rows whose mean is not zero."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, dim)) + rng.standard_normal(dim)).astype(np.float32)
