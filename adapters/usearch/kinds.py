"""The number formats in which the installed usearch can keep float vectors."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from usearch.index import Index, ScalarKind

from requant.quantizers.arrays import Float32s
from requant.quantizers.errors import InputError

# Beyond these, usearch makes infinity of a number; other formats keep their largest.
_LARGEST = {"f16": 65504.0, "e5m2": 57344.0}
_PROBE = np.array([[0.5, -3.0, 1.0, 0.25]], np.float32)


@cache
def float_kinds() -> dict[str, Any]:
    """Return usearch's float formats by name, as tried.

    Its integer formats normalise what they are given, and are left to our own int8 codes.

    >>> "bf16" in float_kinds(), "i8" in float_kinds()
    (True, False)
    """
    kinds = {name.lower(): kind for name, kind in ScalarKind.__members__.items()}
    return {name: kind for name, kind in kinds.items() if _keeps_floats(name)}


def kind_named(name: Any) -> Any:
    """Return the format of that name; raises InputError, which lists what there is."""
    known = float_kinds()
    if not isinstance(name, str) or name not in known:
        raise InputError(f"usearch has no dtype {name!r}: choose one of {', '.join(known)}")
    return known[name]


def clipped(vectors: Float32s, name: str) -> Float32s:
    """Return `vectors` without a number that the format would make infinity of.

    >>> clipped(np.array([[1e6, 2.0]], np.float32), "f16").tolist()
    [[65504.0, 2.0]]
    """
    largest = _LARGEST.get(name)
    return vectors if largest is None else np.clip(vectors, -largest, largest)


def _keeps_floats(name: str) -> bool:
    try:
        # By its name: usearch refuses one that no index has, and crashes on such a ScalarKind.
        index = Index(ndim=_PROBE.shape[1], metric="l2sq", dtype=name)
        index.add(np.arange(1), _PROBE, dtype=ScalarKind.F32)
        kept = np.stack(index.get(np.arange(1), dtype=ScalarKind.F32))
    except (KeyError, ValueError, TypeError, RuntimeError):
        return False  # a kind of numbers that no index has, or none at all
    return bool(np.allclose(kept, _PROBE, rtol=0.2))
