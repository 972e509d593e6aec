"""One operation: how long it took, and its stages; what it counted; whether it failed."""

from __future__ import annotations

from time import perf_counter
from types import TracebackType
from typing import Any, Literal, Protocol

Kind = Literal["search", "write", "build", "catch_up", "publish"]


class Observer(Protocol):
    """Is told of every operation, in the thread that does it, as it begins and ends.

    What an observer raises is logged, and changes nothing for the operation.
    """

    def begins(self, operation: Operation) -> Any:
        """Return what `ends` is to be given; `kind`, `name`, `collection` and `index` are known."""

    def ends(self, operation: Operation, begun: Any) -> None:
        """Look at what was done; `begun` is what `begins` returned."""


class _Ledger(Protocol):
    def tell_begin(self, operation: Operation) -> list[tuple[Observer, Any]]: ...

    def add(self, operation: Operation) -> None: ...


class Operation:
    """A context: measured from its beginning to its end.

    `name` says which write it is, else what `kind` says. `stages` are seconds by name, `counts`
    numbers by name; `seconds` and `error`, the name of what was raised, are there at its end.
    """

    __slots__ = (
        "_ledger", "_told", "begun", "collection", "counts", "error", "index", "kind", "name",
        "seconds", "stages",
    )  # fmt: skip

    def __init__(
        self, ledger: _Ledger | None, kind: Kind, collection: str, name: str = "", index: str = ""
    ) -> None:
        """Begin nothing yet; without a ledger, nobody hears of it."""
        self._ledger = ledger
        self._told: list[tuple[Observer, Any]] | None = None
        self.kind: Kind = kind
        self.name: str = name or kind
        self.collection: str = collection
        self.index: str = index
        self.begun: float = 0.0
        self.seconds: float = 0.0
        self.error: str | None = None
        self.stages: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def took(self, stage: str, begun: float) -> float:
        """Add the time since `begun`, of `time.perf_counter`, to a stage; return the time now."""
        now, stages = perf_counter(), self.stages
        stages[stage] = now - begun + stages[stage] if stage in stages else now - begun
        return now

    def count(self, what: str, number: int = 1) -> None:
        """Add to a number."""
        self.counts[what] = self.counts.get(what, 0) + number

    def __enter__(self) -> Operation:
        """Begin."""
        if self._ledger is not None:
            self._told = self._ledger.tell_begin(self)
        self.begun = perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, well or not."""
        self.seconds = perf_counter() - self.begun
        self.error = None if kind is None else kind.__name__
        if self._ledger is not None:
            self._ledger.add(self)

    @property
    def told(self) -> list[tuple[Observer, Any]]:
        """Who was told that it begins, and what each of them returned."""
        return self._told or []
