"""What every adapter checks before its engine sees anything: engines accept nonsense silently."""

from __future__ import annotations

import os
import threading
from types import TracebackType

import numpy as np

from requant.adapters.errors import ForkedError
from requant.adapters.protocol import Capabilities, IndexSpec, Keys
from requant.quantizers.arrays import Codes
from requant.quantizers.errors import DimensionError, InputError, UnsupportedError

MAX_KEY = 1 << 62


class EngineGuard:
    """One caller at a time, and only in the process that opened the index.

    >>> with EngineGuard("faiss"):
    ...     pass
    """

    def __init__(self, engine: str) -> None:
        """Remember the process that opens `engine`."""
        self._engine = engine
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def __enter__(self) -> None:
        """Wait for the turn; raise ForkedError in a child process."""
        if os.getpid() != self._pid:
            raise ForkedError(
                f"this {self._engine} index was opened in process {self._pid} and is used in "
                f"{os.getpid()}: {self._engine} does not survive a fork, open the database again "
                "in the child"
            )
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the next one in."""
        self._lock.release()


def check_supported(capabilities: Capabilities, spec: IndexSpec) -> None:
    """Raise UnsupportedError, naming the alternatives, unless the engine declares `spec`."""
    engine, wish = capabilities.engine, spec.code.format
    row = capabilities.find(wish, spec.index_type)
    if row is None:
        have = ", ".join(f"{s.format}/{s.index_type}" for s in capabilities.supports)
        raise UnsupportedError(f"{engine} has no {wish}/{spec.index_type} index; it has: {have}")
    if spec.metric not in row.metrics:
        raise UnsupportedError(
            f"{engine} cannot rank {wish}/{spec.index_type} codes by {spec.metric}; "
            f"it can by: {', '.join(row.metrics)}"
        )
    unknown = sorted(set(spec.params) - set(capabilities.params))
    if unknown:
        raise UnsupportedError(
            f"{engine} has no parameter {unknown[0]!r}; it has: "
            + (", ".join(capabilities.params) or "none")
        )


def check_keys(keys: Keys, unique: bool = True) -> Keys:
    """Return `keys` as `(n,) int64`; raise InputError unless all are in range and, if asked, unique.

    >>> check_keys(np.array([3, 1])).tolist()
    [3, 1]
    """
    array = np.asarray(keys)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(f"keys must be (n,) integers, not {array.dtype} of shape {array.shape}")
    if len(array) and (array.min() < 0 or array.max() >= MAX_KEY):
        bad = array[(array < 0) | (array >= MAX_KEY)][0]
        raise InputError(f"key {bad} is out of range: 0 <= key < 2**62")
    result = np.ascontiguousarray(array, np.int64)
    # Keys mostly arrive in ascending order, and then one comparison settles it.
    if unique and len(result) > 1 and not (result[1:] > result[:-1]).all():
        values, counts = np.unique(result, return_counts=True)
        if len(values) < len(result):
            raise InputError(f"key {values[counts.argmax()]} occurs twice in one batch")
    return result


def check_codes(codes: Codes, spec: IndexSpec, n: int) -> Codes:
    """Return `codes` contiguous; raise unless they are `n` rows of the dtype and width of `spec`."""
    return _check(codes, spec.code.dtype, spec.code.width, n, f"{spec.code.format} codes")


def check_queries(queries: Codes, spec: IndexSpec, k: int) -> Codes:
    """Return `queries` contiguous; raise unless they fit `spec` and k is at least 1."""
    if k < 1:
        raise InputError(f"k must be at least 1, not {k}")
    code = spec.code
    n = len(queries)
    return _check(queries, code.query_dtype, code.query_width, n, f"{code.format} queries")


def check_among(among: Keys | None, capabilities: Capabilities, spec: IndexSpec) -> None:
    """Raise UnsupportedError for a key set where the engine declares that it takes none."""
    row = capabilities.find(spec.code.format, spec.index_type)
    if among is not None and not (row and row.key_sets):
        raise UnsupportedError(
            f"{capabilities.engine} {spec.code.format}/{spec.index_type} cannot search among a "
            "key set: filter the candidates afterwards"
        )


def _check(array: Codes, dtype: np.dtype, width: int, n: int, name: str) -> Codes:  # type: ignore[type-arg]
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        found = getattr(array, "dtype", type(array).__name__)
        raise InputError(f"{name} must be a {dtype} array, not {found}")
    if array.ndim != 2 or array.shape[1] != width or len(array) != n:
        raise DimensionError(f"{name} must have shape ({n}, {width}), not {array.shape}")
    if dtype.kind == "f" and not np.isfinite(array).all():
        row = int((~np.isfinite(array).all(axis=1)).argmax())
        raise InputError(f"{name} row {row} holds NaN or infinity")
    return np.ascontiguousarray(array)
