"""What callers hand in to a search, told apart and checked before an engine sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.embeddings import as_array
from requant.errors import DimensionError, InputError
from requant.quantizers.codes import CodeSpec

Array = NDArray[Any]

_DTYPES = {"int8": np.int8, "binary": np.int8, "uint8": np.uint8, "ubinary": np.uint8}
_OTHER = {"int8": "uint8", "uint8": "int8", "binary": "ubinary", "ubinary": "binary"}
_CODES = {"int8": (-128, 127), "uint8": (0, 255)}
_SAMPLE = 1000


def is_codes(array: Array) -> bool:
    """Whether embeddings are codes, by their dtype."""
    return array.dtype in (np.int8, np.uint8)


def read(value: Any, name: str, precision: str) -> Array:
    """Return embeddings `(n, d)` or codes `(n, w)` of `precision`; one row may be `(d,)`.

    Raises:
        InputError: codes of another dtype than the precision has, floats that hold codes, or no
            array of real numbers.
    """
    try:
        array = as_array(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name} cannot be read as an array: {error}") from error
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or not array.shape[1] or array.dtype.kind not in "fiu":
        raise InputError(
            f"{name} must be (n, d) real numbers, not {array.dtype} of shape {array.shape}"
        )
    if is_codes(array):
        _check_dtype(array, name, precision)
    elif precision in _CODES and _looks_like_codes(array, *_CODES[precision]):
        raise InputError(
            f"{name} hold whole numbers as {array.dtype}: they look like {precision} codes that "
            "were cast. Pass the codes in the dtype they were made in, or the float embeddings"
        )
    return array


def check_width(array: Array, name: str, precision: str, dim: int) -> None:
    """Raise DimensionError unless `array` has the width of `dim` dimensions."""
    packed = is_codes(array) and precision in ("binary", "ubinary")
    width = -(-dim // 8) if packed else dim
    if array.shape[1] != width:
        what = f"{array.shape[1]} packed bytes" if packed else f"{array.shape[1]} dimensions"
        raise DimensionError(f"{name} have {what}, and {dim} dimensions need {width}")


def check_index(code: CodeSpec, metric: str, precision: str, dialect: str) -> None:
    """Raise InputError unless an index of `code` under `metric` can hold codes of `precision`."""
    formats = {
        "float32": ("float32", "float16"),
        "uint8": ("int8", "float32"),  # sentence-transformers keeps uint8 codes as float32
        "int8": ("int8",),
    }.get(precision, ("binary",))
    if code.format not in formats:
        raise InputError(
            f"corpus_index holds {code.format} codes, and corpus_precision={precision!r} needs "
            f"{' or '.join(formats)}"
        )
    if metric == "l2" and dialect != "5":
        raise InputError(
            "corpus_index ranks by L2 distance, and these searches rank by inner product or "
            "cosine: build it for inner product (graphs that sentence-transformers 5 built rank "
            "by L2: pass dialect='5')"
        )


def check_index_width(code: CodeSpec, precision: str, queries: Array) -> None:
    """Raise DimensionError unless an index of `code` fits the queries."""
    packed = precision in ("binary", "ubinary")
    width = queries.shape[1] if is_codes(queries) or not packed else -(-queries.shape[1] // 8)
    if code.width != width:
        raise DimensionError(
            f"corpus_index holds codes of width {code.width}, the queries need {width}"
        )


def _check_dtype(array: Array, name: str, precision: str) -> None:
    if precision == "float32":
        raise InputError(
            f"{name} hold {array.dtype} codes, and corpus_precision is 'float32': pass the "
            "precision that made them"
        )
    if array.dtype != _DTYPES[precision]:
        raise InputError(
            f"{name} hold {array.dtype} codes, and {precision} codes are "
            f"{np.dtype(_DTYPES[precision])}: they look like {_OTHER[precision]} codes"
        )


def _looks_like_codes(array: Array, least: int, most: int) -> bool:
    """Whether reals are whole numbers that go over the range of a code as codes do."""
    sample = array[:_SAMPLE]
    if not sample.size or sample.min() < least or sample.max() > most:
        return False
    spread = float(sample.max()) - float(sample.min())
    return bool(2 * spread > most - least and (sample == np.rint(sample)).all())
