"""Backends around other backends, for tests: what goes in is counted, slow, or fails."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, cast

from requant.adapters.errors import EngineError
from requant.adapters.protocol import (
    Backend,
    Candidates,
    Capabilities,
    IndexSpec,
    Keys,
    Noting,
)
from requant.quantizers.arrays import Codes

if TYPE_CHECKING:
    from typing_extensions import Self


class WrapperBackend:
    """A backend that passes everything in the contract on to one of `engine`, so no `attach`.

    >>> from requant.testing import CountingBackend, ReferenceBackend
    >>> from requant.quantizers.codes import CodeSpec
    >>> Counted = CountingBackend.around(ReferenceBackend)
    >>> len(Counted.create(IndexSpec(CodeSpec("int8", 2), "ip")))
    0
    >>> dict(Counted.calls)
    {'create': 1, '__len__': 1}
    """

    engine: ClassVar[type[Backend]]
    capabilities: ClassVar[Capabilities]

    def __init__(self, inner: Backend) -> None:
        """Wrap `inner`; users call `create` or `open` of what `around` returns."""
        self.inner = inner
        self.spec: IndexSpec = inner.spec

    @classmethod
    def around(cls, engine: type[Backend]) -> type[Self]:
        """Return the backend that wraps those of `engine`, a class of its own each time."""
        told = {"engine": engine, "capabilities": engine.capabilities}
        return cast("type[Self]", type(f"{cls.__name__}_{engine.__name__}", (cls,), told))

    @classmethod
    def passing(cls, method: str) -> AbstractContextManager[None]:
        """Return what is entered around each call, for subclasses."""
        return nullcontext()

    @classmethod
    def create(cls, spec: IndexSpec, location: str | None = None, **options: Any) -> Self:
        """Wrap a new index."""
        with cls.passing("create"):
            return cls(cls.engine.create(spec, location, **options))

    @classmethod
    def open(cls, spec: IndexSpec, location: str, **options: Any) -> Self:
        """Wrap an index that stands there."""
        with cls.passing("open"):
            return cls(cls.engine.open(spec, location, **options))

    @classmethod
    def drop(cls, spec: IndexSpec, location: str) -> None:
        """Remove an index."""
        with cls.passing("drop"):
            cls.engine.drop(spec, location)

    @classmethod
    def noted_at(cls, spec: IndexSpec, location: str) -> str | None:
        """Return the text of a place, if the engine keeps one."""
        with cls.passing("noted_at"):
            return cast("type[Noting]", cls.engine).noted_at(spec, location)

    def note(self, text: str) -> None:
        """Replace the text of the place, if the engine keeps one."""
        with self.passing("note"):
            cast("Noting", self.inner).note(text)

    def noted(self) -> str | None:
        """Return the text of the place, if the engine keeps one."""
        with self.passing("noted"):
            return cast("Noting", self.inner).noted()

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Store codes."""
        with self.passing("upsert"):
            self.inner.upsert(keys, codes)

    def delete(self, keys: Keys) -> int:
        """Remove keys."""
        with self.passing("delete"):
            return self.inner.delete(keys)

    def search(
        self,
        queries: Codes,
        k: int,
        *,
        among: Keys | None = None,
        effort: int | None = None,
        codes: bool = False,
    ) -> Candidates:
        """Return candidates."""
        with self.passing("search"):
            return self.inner.search(queries, k, among=among, effort=effort, codes=codes)

    def export(self, batch: int = 65536) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything; the call lasts until the last batch."""
        with self.passing("export"):
            yield from self.inner.export(batch)

    def __len__(self) -> int:
        """Return the number of keys."""
        with self.passing("__len__"):
            return len(self.inner)

    def flush(self, location: str | None = None) -> None:
        """Make it durable."""
        with self.passing("flush"):
            self.inner.flush(location)

    def close(self) -> None:
        """Let go of it."""
        with self.passing("close"):
            self.inner.close()


class CountingBackend(WrapperBackend):
    """Counts calls: `calls["search"]`, of all indexes of one `around` together."""

    calls: ClassVar[Counter[str]]
    _counting: ClassVar[threading.Lock]

    def __init_subclass__(cls) -> None:
        """Begin to count."""
        cls.calls, cls._counting = Counter(), threading.Lock()

    @classmethod
    def passing(cls, method: str) -> AbstractContextManager[None]:
        """Count the call."""
        cls.count(method)
        return nullcontext()

    @classmethod
    def count(cls, method: str) -> int:
        """Count a call and return how many there have been."""
        with cls._counting:
            cls.calls[method] += 1
            return cls.calls[method]


class SlowBackend(WrapperBackend):
    """Sleeps `seconds` before each call."""

    seconds: ClassVar[float] = 0.05

    @classmethod
    def passing(cls, method: str) -> AbstractContextManager[None]:
        """Sleep."""
        time.sleep(cls.seconds)
        return nullcontext()


class FailingBackend(CountingBackend):
    """Fails when it was told to.

    >>> from requant.testing import FailingBackend, ReferenceBackend
    >>> from requant.quantizers.codes import CodeSpec
    >>> Failing = FailingBackend.around(ReferenceBackend)
    >>> Failing.fail_at("create", error=OSError("the disk is full"))
    >>> Failing.create(IndexSpec(CodeSpec("int8", 2), "ip"))
    Traceback (most recent call last):
    OSError: the disk is full
    """

    _plan: ClassVar[dict[tuple[str, int], tuple[BaseException, bool]]]

    def __init_subclass__(cls) -> None:
        """Begin without a fault."""
        super().__init_subclass__()
        cls._plan = {}

    @classmethod
    def fail_at(
        cls, method: str, n: int = 1, *, error: BaseException | None = None, after: bool = False
    ) -> None:
        """Let the n-th call of `method` from now on raise `error`, an EngineError by default.

        With `after`, the engine does what it is asked for first: its answer was lost.
        """
        fault = error or EngineError(f"{method} fails, as it was told to")
        cls._plan[method, cls.calls[method] + n] = fault, after

    @classmethod
    @contextmanager
    def passing(cls, method: str) -> Iterator[None]:
        """Raise what is planned for this call."""
        error, after = cls._plan.pop((method, cls.count(method)), (None, False))
        if error is not None and not after:
            raise error
        yield
        if error is not None:
            raise error
