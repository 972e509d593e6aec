"""What every adapter checks before its engine sees anything: engines accept nonsense silently."""

from __future__ import annotations

import os
import threading
from types import TracebackType

import numpy as np

from requant.adapters.errors import EngineError, ForkedError
from requant.adapters.forks import SPAWN
from requant.adapters.protocol import Capabilities, IndexSpec, Keys
from requant.quantizers.arrays import Codes
from requant.quantizers.errors import DimensionError, InputError, UnsupportedError

MAX_KEY = 1 << 62
# usearch looks for signals while it works, and says this of whatever their handler has raised.
_STOPPED = "Operation has been terminated"


class EngineGuard:
    """Many may read or one may write, and only in the process that opened the index.

    `with guard:` waits until nobody else is inside; `with guard.shared:` only until nobody writes,
    so that searches of several threads run side by side (engines let go of the interpreter lock).
    A waiting writer goes before readers that come after it.

    >>> guard = EngineGuard("faiss")
    >>> with guard.shared, guard.shared:
    ...     pass
    >>> with guard:
    ...     pass
    """

    def __init__(self, engine: str) -> None:
        """Remember the process that opens `engine`."""
        self.shared: _Shared = _Shared(self)
        self._engine = engine
        # Entered as the plain lock that it is, in half the time of the condition's own way.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._readers = 0
        self._writing = False
        self._waiting = 0
        self._pid = os.getpid()
        self._closed = False

    def close(self) -> None:
        """Let nobody in any more; whoever is inside may finish first. Closing twice is harmless."""
        if self._closed or not self.is_here():
            self._closed = True  # a lock may be held by a thread that a forked child does not have
            return
        with self:
            self._closed = True

    def is_here(self) -> bool:
        """Whether this is the process that opened the index, and no forked child of it."""
        return os.getpid() == self._pid

    @property
    def is_closed(self) -> bool:
        """Whether nobody is let in any more."""
        return self._closed

    def __enter__(self) -> None:
        """Wait for the turn to write; raise ForkedError in a child, EngineError once closed."""
        self._check()
        with self._lock:
            self._waiting += 1
            try:
                while self._writing or self._readers:
                    self._changed.wait()
            finally:
                self._waiting -= 1
                self._changed.notify_all()  # an interrupted writer must not hold readers back
            self._admit()
            self._writing = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the next one in; what the engine itself raised becomes an EngineError."""
        with self._lock:
            self._writing = False
            self._changed.notify_all()
        self.translate(error)

    def enter_shared(self) -> None:
        """Wait until nobody writes or waits to."""
        self._check()
        with self._lock:
            while self._writing or self._waiting:
                self._changed.wait()
            self._admit()
            self._readers += 1

    def leave_shared(self) -> None:
        """Let a writer in if this was the last reader."""
        with self._lock:
            self._readers -= 1
            if not self._readers and self._waiting:
                self._changed.notify_all()

    def translate(self, error: BaseException | None) -> None:
        """Raise what an engine raised as an EngineError, and Ctrl-C as what it is."""
        if isinstance(error, RuntimeError) and str(error) == _STOPPED:
            raise KeyboardInterrupt from error
        # An engine that asks for signals in its midst answers Ctrl-C by an error of its own.
        if isinstance(error, Exception) and isinstance(error.__cause__, KeyboardInterrupt):
            raise error.__cause__
        if isinstance(error, (RuntimeError, AssertionError)):
            raise EngineError(f"{self._engine} failed: {error}") from error

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedError(
                f"this {self._engine} index was opened in process {self._pid} and is used in "
                f"{os.getpid()}: {self._engine} does not survive a fork; {SPAWN}, or open the "
                "database in the child alone"
            )

    def _admit(self) -> None:
        if self._closed:
            raise EngineError(f"this {self._engine} index is closed: open it again")


class _Shared:
    """The reader's way through an EngineGuard."""

    def __init__(self, guard: EngineGuard) -> None:
        self._guard = guard

    def __enter__(self) -> None:
        self._guard.enter_shared()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._guard.leave_shared()
        if error is not None:
            self._guard.translate(error)


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
    unknown = sorted(set(spec.params) - set(capabilities.params) - set(capabilities.secrets))
    if unknown:
        raise UnsupportedError(
            f"{engine} has no parameter {unknown[0]!r}; it has: "
            + (", ".join(capabilities.params) or "none")
        )


def check_keys(keys: Keys, unique: bool = True) -> Keys:
    """Return `keys` as `(n,) int64`; raise InputError unless in range and, if asked, unique.

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
    """Return `codes` contiguous; raise unless they are `n` rows of dtype and width of `spec`."""
    return _check(codes, spec.code.dtype, spec.code.width, n, spec.code.format, "codes")


def check_queries(queries: Codes, spec: IndexSpec, k: int) -> Codes:
    """Return `queries` contiguous; raise unless they fit `spec` and k is at least 1."""
    if k < 1:
        raise InputError(f"k must be at least 1, not {k}")
    code = spec.code
    n = len(queries)
    return _check(queries, code.query_dtype, code.query_width, n, code.format, "queries")


def check_among(among: Keys | None, capabilities: Capabilities, spec: IndexSpec) -> None:
    """Raise UnsupportedError for a key set where the engine declares that it takes none."""
    if among is None:
        return
    row = capabilities.find(spec.code.format, spec.index_type)
    if not (row and row.key_sets):
        raise UnsupportedError(
            f"{capabilities.engine} {spec.code.format}/{spec.index_type} cannot search among a "
            "key set: filter the candidates afterwards"
        )


def check_search(
    codes: bool, effort: int | None, capabilities: Capabilities, spec: IndexSpec
) -> None:
    """Raise UnsupportedError if candidates' codes are wanted where the engine declares none.

    Raises InputError for an effort that is not at least 1.
    """
    if effort is not None and effort < 1:
        raise InputError(f"effort must be at least 1, not {effort}")
    if not codes:
        return
    row = capabilities.find(spec.code.format, spec.index_type)
    if not (row and row.codes):
        raise UnsupportedError(
            f"{capabilities.engine} {spec.code.format}/{spec.index_type} cannot hand back the "
            "codes of its candidates"
        )


def whole_number(spec: IndexSpec, name: str, default: int, least: int = 1) -> int:
    """Return the engine parameter `name` of `spec`; raise InputError unless it is a whole number.

    >>> from requant.quantizers.codes import CodeSpec
    >>> whole_number(IndexSpec(CodeSpec("int8", 4), "ip", params={"M": 8}), "M", 16)
    8
    """
    value = spec.params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"parameter {name} must be a whole number from {least}, not {value!r}")
    return int(value)


def _check(array: Codes, dtype: np.dtype, width: int, n: int, form: str, what: str) -> Codes:
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        found = getattr(array, "dtype", type(array).__name__)
        raise InputError(f"{form} {what} must be a {dtype} array, not {found}")
    if array.ndim != 2 or array.shape[1] != width or len(array) != n:
        raise DimensionError(f"{form} {what} must have shape ({n}, {width}), not {array.shape}")
    if dtype.kind == "f" and np.count_nonzero(np.isfinite(array)) < array.size:
        row = int((~np.isfinite(array).all(axis=1)).argmax())
        raise InputError(f"{form} {what} row {row} holds NaN or infinity")
    return np.ascontiguousarray(array)
