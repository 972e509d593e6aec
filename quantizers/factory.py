"""A quantizer by the name of its precision, to bytes and back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from requant.quantizers.arrays import as_vectors
from requant.quantizers.binary import BinaryQuantizer
from requant.quantizers.dialect_codes import Release
from requant.quantizers.dialects import MinMaxQuantizer
from requant.quantizers.errors import CorruptDataError, InputError
from requant.quantizers.floats import FloatQuantizer
from requant.quantizers.levels import LevelQuantizer
from requant.quantizers.points import PointQuantizer
from requant.quantizers.protocol import Quantizer
from requant.quantizers.scalar import ScalarQuantizer
from requant.quantizers.serial import State, dumps, loads

Precision = Literal[
    "float32", "float16", "int8", "uint8", "int4", "int2", "int1", "binary", "native"
]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_DIALECTS: dict[str, Release] = {"sentence-transformers": "6", "sentence-transformers-5": "5"}

# Beyond what anybody embeds in: bytes that say so are not tried.
_MAX_DIM = 1 << 20

_KINDS: dict[str, Callable[[State], Quantizer]] = {
    "float": FloatQuantizer.from_state,
    "scalar": ScalarQuantizer.from_state,
    "levels": LevelQuantizer.from_state,
    "points": PointQuantizer.from_state,
    "binary": BinaryQuantizer.from_state,
    "min-max": MinMaxQuantizer.from_state,
}


def fit(precision: Precision, sample: ArrayLike, **options: Any) -> Quantizer:
    """Fit the quantizer of a precision on `sample (n, d)`.

    Options: `rotate` (int8, uint8, binary), `bits` and `centre` (binary), `true_to_length` (int4,
    int2, int1, binary: for vectors of length 1, as metric cosine compares them), `seed`, and
    `dialect="sentence-transformers"` (int8, uint8, binary; "sentence-transformers-5" for the
    codes of its releases up to 5.1).

    Raises:
        InputError: unknown precision or option, or an empty sample.

    >>> fit("binary", [[1.0, -1.0], [0.5, 0.5]], bits=3).spec.dim
    6
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    vectors = as_vectors(sample, name="sample")
    dialect = options.pop("dialect", None)
    seed = options.get("seed", 0)
    if type(seed) is not int or seed < 0:
        raise InputError(f"seed must be a whole number from 0, not {seed!r}")
    try:
        if dialect is not None:
            return _dialect(precision, vectors, dialect, **options)
        return _native(precision, vectors, **options)
    except TypeError as error:
        raise InputError(f"precision {precision!r} has no such option: {error}") from error


def to_bytes(quantizer: Quantizer) -> bytes:
    """Return a quantizer as bytes: versioned, checksummed, without pickle."""
    return dumps(quantizer.state())


def from_bytes(data: bytes) -> Quantizer:
    """Undo `to_bytes`; raises CorruptDataError on anything but its result."""
    state = loads(data)
    if state.kind not in _KINDS:
        raise CorruptDataError(f"unknown kind of quantizer {state.kind!r}: upgrade requant")
    try:
        quantizer = _KINDS[state.kind](state)
        if not 1 <= quantizer.dim <= _MAX_DIM or not 1 <= quantizer.spec.width <= 8 * _MAX_DIM:
            raise ValueError(f"it has {quantizer.dim} dimensions")
        if quantizer.encode(np.zeros((1, quantizer.dim), np.float32)).shape != (
            1,
            quantizer.spec.width,
        ):
            raise ValueError("its codes have another width than it says")
        return quantizer
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise CorruptDataError(f"the {state.kind} quantizer is incomplete: {error!r}") from error


def fingerprint(quantizer: Quantizer) -> str:
    """Return 32 hex digits that are equal only for quantizers that make the same codes."""
    return hashlib.sha256(to_bytes(quantizer)).hexdigest()[:32]


def _native(precision: Precision, sample: ArrayLike, **options: Any) -> Quantizer:
    vectors = as_vectors(sample)
    if precision in ("float32", "float16", "native"):
        return FloatQuantizer(vectors.shape[1], precision, **options)
    if precision in ("int8", "uint8"):
        return ScalarQuantizer.fit(vectors, precision, **options)
    if precision in ("int4", "int2"):
        return LevelQuantizer.fit(vectors, precision, **options)
    if precision == "int1":
        return PointQuantizer.fit(vectors, **options)
    return BinaryQuantizer.fit(vectors, **options)


def _dialect(precision: Precision, sample: ArrayLike, dialect: str, **options: Any) -> Quantizer:
    if dialect not in _DIALECTS:
        raise InputError(f"unknown dialect {dialect!r}: choose one of {', '.join(_DIALECTS)}")
    if precision in ("int8", "uint8"):
        return MinMaxQuantizer.fit(sample, precision, release=_DIALECTS[dialect], **options)
    if precision == "binary":
        return BinaryQuantizer.signs(as_vectors(sample).shape[1], **options)
    raise InputError(f"sentence-transformers has no {precision} codes: int8, uint8 or binary")
