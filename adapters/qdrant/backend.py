"""The Qdrant backend."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from requant.adapters.errors import EngineError
from requant.adapters.guards import (
    EngineGuard,
    check_among,
    check_codes,
    check_keys,
    check_queries,
    check_search,
    check_supported,
)
from requant.adapters.locks import locks_of
from requant.adapters.protocol import Candidates, Capabilities, Foreign, IndexSpec, Keys
from requant.adapters.qdrant import opening
from requant.adapters.qdrant.answers import Asker
from requant.adapters.qdrant.attached import AttachedCollection
from requant.adapters.qdrant.capabilities import CAPABILITIES
from requant.adapters.qdrant.codec import codes_of, vectors_of
from requant.adapters.qdrant.collection_layout import Layout
from requant.adapters.qdrant.connection import Chunk, Connection
from requant.quantizers.arrays import Codes
from requant.quantizers.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

# Values in one write and one read: they are Python objects on the way.
_VALUES = 1 << 19
_KEYS = 50_000
# So many new vectors are searched one by one without loss.
_LATE = 10_000


class QdrantBackend:
    """Codes in a collection of Qdrant; `effort` is the number of candidates of a graph (ef).

    The location chooses the place: a path is a folder of the embedded engine,
    `http://host:6333/name` a collection on a server, `local:path` and `:memory:` the client's own
    slow imitation, for tests.
    """

    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, spec: IndexSpec, layout: Layout, connection: Connection) -> None:
        """Guard an open connection; users call `create` or `open`."""
        self.spec = spec
        self._layout = layout
        self._connection = connection
        self._asker = Asker(connection, spec, layout)
        self._guard = EngineGuard(CAPABILITIES.engine)
        self._reading, self._writing = locks_of(connection.sharing, self._guard)
        self._pid = os.getpid()
        self._writes = 0
        self._size: int | None = None
        self._late = 0
        self._open = True

    @classmethod
    def create(
        cls,
        spec: IndexSpec,
        location: str | None = None,
        *,
        sample: Codes | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Make an empty index at `location`, in memory if it is None; `sample` teaches nothing.

        Raises LocationTakenError where something stands, unless `overwrite` (a folder that requant
        did not make is never removed);
        EngineMissingError, EngineError, UnsupportedError and InputError.
        """
        check_supported(cls.capabilities, spec)
        if sample is not None:
            check_codes(sample, spec, len(sample))
        return cls(spec, *opening.create(spec, location, overwrite))

    @classmethod
    def open(cls, spec: IndexSpec, location: str, *, mmap: bool = False) -> Self:
        """Open the index at `location`; Qdrant maps what it likes.

        Raises CorruptIndexError where there is none, or not what `spec` says; EngineError where
        the server cannot be reached or the folder is in use.
        """
        check_supported(cls.capabilities, spec)
        return cls(spec, *opening.load(spec, location))

    @classmethod
    def drop(cls, spec: IndexSpec, location: str) -> None:
        """Remove the index at `location`; LocationTakenError if requant did not make it."""
        opening.remove(spec, location)

    @classmethod
    def attach(cls, location: str, params: Mapping[str, Any]) -> Foreign:
        """Ask a collection of another program's, read only; `params` as in `attached.PARAMS`.

        Raises InputError, CorruptIndexError, EngineMissingError, and EngineError, also where a
        shard is open elsewhere.
        """
        return AttachedCollection(location, params)

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Store `codes (n, w)` under `keys (n,)`, replacing what is there."""
        keys = check_keys(keys)
        codes = check_codes(codes, self.spec, len(keys))
        if not len(keys):
            return
        with self._writing:
            self._changed(len(keys))
            self._connection.upsert(self._chunks(keys, codes))

    def delete(self, keys: Keys) -> int:
        """Remove `keys`, unknown ones aside, and return how many were there."""
        keys = check_keys(keys)
        held = 0
        with self._writing:
            self._changed(0)
            for start in range(0, len(keys), _KEYS):
                part = keys[start : start + _KEYS].tolist()
                found = self._connection.held(part)
                if found:
                    self._connection.delete(part)
                held += found
        return held

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
        if self._late > _LATE and self._layout.late:
            self._optimize_late()
        with self._reading:
            return self._asker.ask(queries, k, among, effort or self._layout.effort)

    def export(self, batch: int = 65536) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything the index holds, each code byte for byte as it was given."""
        if batch < 1:
            raise InputError(f"a batch holds at least one row, not {batch}")
        limit = min(batch, max(1, _VALUES // self._layout.size))
        start: int | None = None
        with self._reading:
            writes = self._writes
        while True:
            with self._reading:
                if self._writes != writes:
                    raise EngineError("the index was written to while it was exported")
                records, start = self._connection.scroll(start, limit)
            if records:
                keys = np.array([record.id for record in records], np.int64)
                yield keys, codes_of([record.vector for record in records], self.spec)
            if start is None:
                return

    def __len__(self) -> int:
        """Return how many keys the index holds."""
        with self._reading:
            size = self._size
            if size is None:
                size = self._connection.count()
                if self._connection.alone:
                    self._size = size
            return size

    def flush(self, location: str | None = None) -> None:
        """Optimize what was written and make it durable; the index stays where it is."""
        with self._writing:
            self._late = 0
            self._connection.optimize()
            self._connection.flush()

    def close(self) -> None:
        """Let go of memory, files and connections; closing twice is harmless."""
        self._guard.close()
        # What a forked child has of the engine is the parent's.
        if self._open and os.getpid() == self._pid:
            self._open = False
            self._connection.close()

    def _chunks(self, keys: Keys, codes: Codes) -> Iterator[Chunk]:
        step = max(1, _VALUES // self._layout.size)
        for start in range(0, len(keys), step):
            part = slice(start, start + step)
            yield keys[part].tolist(), vectors_of(codes[part], self.spec)

    def _changed(self, rows: int) -> None:
        self._writes += 1
        self._late += rows
        self._size = None

    def _optimize_late(self) -> None:
        with self._writing:
            if self._late > _LATE:
                self._late = 0
                self._connection.optimize()
