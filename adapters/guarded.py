"""What every backend of ours does around its engine: checks before, locks, whole exports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Generic, Protocol, TypeVar

from requant.adapters.errors import EngineError
from requant.adapters.guards import (
    EngineGuard,
    check_among,
    check_codes,
    check_keys,
    check_queries,
    check_search,
)
from requant.adapters.locks import Sharing, locks_of
from requant.adapters.protocol import Candidates, Capabilities, IndexSpec, Keys
from requant.quantizers.arrays import Codes
from requant.quantizers.errors import InputError


class Structure(Protocol):
    """One form of index in an engine; whatever reaches it has been checked.

    `__len__`, `search` and `chunks` run under the lock to read, beside each other; what changes
    it has it alone.
    """

    def __len__(self) -> int:
        """Return the number of keys."""

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Store codes, replacing what is there."""

    def delete(self, keys: Keys) -> int:
        """Remove keys and return how many were there."""

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Return the k nearest of each query."""

    def chunks(self, batch: int) -> Iterator[tuple[Keys, Codes]]:
        """Yield copies of everything, at most `batch` rows at a time."""


S = TypeVar("S", bound=Structure)


class GuardedBackend(Generic[S]):
    """The half of a `Backend` that `LocalBackend` and `LiveBackend` have in common.

    `one_version`: an export reads what there was when it began, whatever is written meanwhile;
    else such a write ends it with an EngineError.
    """

    capabilities: ClassVar[Capabilities]
    one_version: ClassVar[bool] = False

    def __init__(self, spec: IndexSpec, structure: S, sharing: Sharing = "readers") -> None:
        """Guard `structure`; users call `create` or `open`."""
        self.spec = spec
        self._structure = structure
        self._writes = 0
        self._guard = EngineGuard(self.capabilities.engine)
        self._reading, self._writing = locks_of(sharing, self._guard)

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Store `codes (n, w)` under `keys (n,)`, replacing what is there."""
        keys = check_keys(keys)
        codes = check_codes(codes, self.spec, len(keys))
        with self._writing:
            self._writes += 1
            self._writable().upsert(keys, codes)

    def delete(self, keys: Keys) -> int:
        """Remove `keys`, unknown ones aside, and return how many were there."""
        keys = check_keys(keys)
        with self._writing:
            self._writes += 1
            return self._writable().delete(keys)

    def search(
        self,
        queries: Codes,
        k: int,
        *,
        among: Keys | None = None,
        effort: int | None = None,
        codes: bool = False,
    ) -> Candidates:
        """Return the k nearest of each query, as the protocol says."""
        queries = check_queries(queries, self.spec, k)
        check_search(codes, effort, self.capabilities, self.spec)
        if among is not None:
            check_among(among, self.capabilities, self.spec)
            among = check_keys(among)
        with self._reading:
            return self._structure.search(queries, k, among, effort, codes)

    def export(self, batch: int = 65536) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything the index holds, each code byte for byte as it was given."""
        if batch < 1:
            raise InputError(f"a batch holds at least one row, not {batch}")
        with self._reading:
            writes, chunks = self._writes, self._structure.chunks(batch)
        while True:
            with self._reading:
                if self._writes != writes and not self.one_version:
                    raise EngineError("the index was written to while it was exported")
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def __len__(self) -> int:
        """Return how many keys the index holds."""
        with self._reading:
            return len(self._structure)

    def _writable(self) -> S:
        """Return the structure to write to."""
        return self._structure
