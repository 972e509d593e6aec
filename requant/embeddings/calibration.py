"""Ranges under a name, in a file: one text gets the same int8 codes in every batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from requant.adapters.files import publish
from requant.embeddings.tensors import as_array
from requant.errors import CorruptDataError, InputError
from requant.quantizers import MinMaxQuantizer
from requant.quantizers.arrays import Float32s
from requant.quantizers.dialect_codes import Release, Scalar
from requant.quantizers.serial import State, dumps, loads
from requant.quantizers.threads import in_parts

_KIND = "calibration"
# Values that are reduced side by side, and at once: both measured.
_FOLDED = 3072
_CHUNK = 1 << 19
_PART = 1 << 22  # of a thread, at least


@dataclass(frozen=True, eq=False)
class Calibration:
    """The smallest and the largest value of each dimension, `ranges (2, d) float32`.

    `rows` is how many embeddings they were taken from. int8 and uint8 codes mean nothing without
    them: keep one calibration for documents and queries, and save it beside the codes.

    >>> calibration = Calibration.fit([[0.0, -1.0], [1.0, 1.0]], name="demo")
    >>> calibration.ranges.tolist(), calibration.rows
    ([[0.0, -1.0], [1.0, 1.0]], 2)
    """

    ranges: Float32s
    name: str = ""
    rows: int = 0

    @classmethod
    def fit(cls, embeddings: Any, name: str = "") -> Calibration:
        """Take the ranges of `embeddings (n, d)`: arrays, tensors or lists, at least 2 rows.

        Raises:
            InputError: fewer than 2 rows, not two-dimensional, or integer codes.
            NonFiniteError: NaN or infinity; the text names the row.
        """
        array = as_array(embeddings)
        if array.ndim != 2 or len(array) < 2:
            raise InputError(
                f"a calibration needs at least 2 embeddings (n, d), not shape {array.shape}"
            )
        if array.dtype.kind != "f":
            raise InputError(f"a calibration is fitted on float embeddings, not {array.dtype}")
        return cls(_checked(column_ranges(array)), name, len(array))

    @classmethod
    def of(cls, source: Calibration | ArrayLike | str | Path) -> Calibration:
        """Return a calibration, the one in a file, or one made of ranges `(2, d)`."""
        if isinstance(source, Calibration):
            return source
        if isinstance(source, (str, Path)):
            return cls.load(source)
        return cls(_checked(as_array(source)))

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what `save` wrote; raises CorruptDataError if it is anything else, or damaged."""
        try:
            state = loads(Path(path).read_bytes())
            if state.kind != _KIND:
                raise CorruptDataError(f"{path} holds a {state.kind} quantizer, not a calibration")
            name, rows = state.fields["name"], state.fields["rows"]
            return cls(_checked(state.arrays["ranges"]), name, rows)
        except (LookupError, TypeError, InputError) as error:
            raise CorruptDataError(f"{path} is not a calibration: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write a file with a checksum and without pickle; whole, or not at all."""
        fields = {"name": self.name, "rows": self.rows}
        data = dumps(State(_KIND, fields, {"ranges": self.ranges}))

        def write(beside: str) -> None:
            Path(beside).write_bytes(data)

        publish(Path(path), write)

    @property
    def dim(self) -> int:
        """Dimensions of the embeddings."""
        return int(self.ranges.shape[1])

    def quantizer(self, format: Scalar = "int8", release: Release = "6") -> MinMaxQuantizer:
        """Return the quantizer of these ranges: `encode`, `encode_query`, `decode`."""
        return MinMaxQuantizer.from_ranges(self.ranges, format, release=release)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Be the ranges wherever an array is expected."""
        return np.array(self.ranges, dtype)

    def __repr__(self) -> str:
        """Show the name, the dimensions and the rows."""
        return f"<Calibration {self.name!r}: {self.dim} dimensions of {self.rows} embeddings>"


def column_ranges(array: NDArray[Any]) -> NDArray[Any]:
    """Return the minima and maxima of `array (n, d)`, `(2, d)` in its dtype, in one pass."""
    n, dim = array.shape
    found: list[NDArray[Any]] = []  # by threads, in any order
    in_parts(n, max(1, _PART // dim), lambda some: found.append(_ranges(array[some])))
    both = np.stack(found)
    return np.stack([both[:, 0].min(axis=0), both[:, 1].max(axis=0)])


def _ranges(array: NDArray[Any]) -> NDArray[Any]:
    n, dim = array.shape
    # Several rows side by side: a reduction pays for every row that it goes down.
    fold = max(1, min(_FOLDED // dim, n))
    whole = n // fold * fold
    wide = np.ascontiguousarray(array[:whole]).reshape(-1, fold * dim)
    low, high = wide[0].copy(), wide[0].copy()
    rows = max(1, _CHUNK // (fold * dim))
    for start in range(0, len(wide), rows):
        chunk = wide[start : start + rows]
        np.minimum(low, chunk.min(axis=0), out=low)
        np.maximum(high, chunk.max(axis=0), out=high)
    lows = np.concatenate([low.reshape(fold, dim), array[whole:]])
    highs = np.concatenate([high.reshape(fold, dim), array[whole:]])
    return np.stack([lows.min(axis=0), highs.max(axis=0)])


def _checked(ranges: NDArray[Any]) -> Float32s:
    return MinMaxQuantizer.from_ranges(ranges).ranges
