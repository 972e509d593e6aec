"""The LanceDB backend."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from requant.adapters.guards import (
    EngineGuard,
    check_codes,
    check_keys,
    check_queries,
    check_search,
    check_supported,
)
from requant.adapters.lancedb import table as tables
from requant.adapters.lancedb import writes
from requant.adapters.lancedb.attached import AttachedTable
from requant.adapters.lancedb.capabilities import CAPABILITIES
from requant.adapters.lancedb.place import place_of
from requant.adapters.lancedb.plan import plan_of
from requant.adapters.lancedb.search import Wish, search
from requant.adapters.lancedb.upkeep import Upkeep
from requant.adapters.protocol import Attached, Candidates, Capabilities, IndexSpec, Keys
from requant.quantizers.arrays import Codes
from requant.quantizers.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self


class LancedbBackend:
    """Codes in a LanceDB table with the columns `key` and `code`, which plain LanceDB opens.

    A location is a folder, in which the table is called `codes`, or a URI whose last part is the
    name of the table: `s3://bucket/prefix/name`, `gs://`, `az://`, `db://database/name`.

    Every write is one commit, seen at once by all processes. `flush` builds the index, when there
    are `index_from` rows, extends it, and compacts the table; rows that are not yet in it are
    scanned. `effort` is ef of a graph and nprobes of partitions.

    >>> import numpy as np, tempfile
    >>> from requant.quantizers.codes import CodeSpec
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     index = LancedbBackend.create(IndexSpec(CodeSpec("int8", 2), "ip"), f"{folder}/notes")
    ...     index.upsert(np.array([7, 9]), np.array([[1, 2], [3, 4]], np.int8))
    ...     index.search(np.array([[1, 1]], np.int8), 2).keys.tolist()
    ...     index.close()
    [[9, 7]]
    """

    capabilities: ClassVar[Capabilities] = CAPABILITIES

    def __init__(self, spec: IndexSpec, table: tables.Table) -> None:
        """Guard `table`; users call `create` or `open`."""
        self.spec = spec
        self._table = table
        self._upkeep = Upkeep(table)
        # Readers need not wait for a writer: a search sees one version of the table.
        self._guard = EngineGuard(self.capabilities.engine)
        self._writing = threading.Lock()

    @classmethod
    def create(
        cls,
        spec: IndexSpec,
        location: str | None = None,
        *,
        sample: Codes | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Return a new, empty table at `location`; LanceDB learns from the rows, not `sample`.

        Raises:
            UnsupportedError: LanceDB has no such index; the text lists what it has.
            InputError: a bad parameter or location.
            LocationTakenError: something stands there, and it is not an index to be overwritten.
            EngineError: the place cannot be reached or written to.
        """
        check_supported(cls.capabilities, spec)
        if sample is not None:
            check_codes(sample, spec, len(sample))
        return cls(spec, tables.create(place_of(location, spec), plan_of(spec), overwrite))

    @classmethod
    def open(cls, spec: IndexSpec, location: str, *, mmap: bool = False) -> Self:
        """Return the index at `location`; LanceDB reads what it needs, mapped or not.

        Raises:
            CorruptIndexError: nothing stands there, another thing than `spec` says, or a table
                that has lost its newest versions.
            EngineError: the place cannot be reached.
        """
        check_supported(cls.capabilities, spec)
        return cls(spec, tables.open_table(place_of(location, spec), plan_of(spec)))

    @classmethod
    def drop(cls, spec: IndexSpec, location: str) -> None:
        """Remove the index at `location`; nothing there is no error.

        Raises:
            EngineError: what stands there was not made by requant, or cannot be reached.
        """
        tables.drop(place_of(location, spec))

    @classmethod
    def attach(cls, location: str, params: Mapping[str, Any]) -> Attached:
        """Ask a table of another program's, read only; `params` as in `attached.PARAMS`.

        Raises InputError, CorruptIndexError, EngineError.
        """
        return AttachedTable(location, params)

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Store `codes (n, w)` under `keys (n,)`, replacing what is there, in one commit."""
        keys = check_keys(keys)
        codes = check_codes(codes, self.spec, len(keys))
        with self._guard.shared, self._writing:
            if len(keys):
                writes.upsert(self._table, keys, codes)
                self._upkeep.wrote()

    def delete(self, keys: Keys) -> int:
        """Remove `keys`, unknown ones aside, and return how many were there."""
        keys = check_keys(keys)
        with self._guard.shared, self._writing:
            gone = writes.delete(self._table, keys)
            if gone:
                self._upkeep.wrote()
            return gone

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
            among = check_keys(among)
        with self._guard.shared:
            return search(self._table, queries, Wish(k, among, effort, codes))

    def export(self, batch: int = 65536) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything that the table holds when the export begins, as it was given."""
        if batch < 1:
            raise InputError(f"a batch holds at least one row, not {batch}")
        with self._guard.shared:
            chunks = writes.chunks(self._table, batch)
        while True:
            with self._guard.shared:
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def __len__(self) -> int:
        """Return how many keys the table holds."""
        with self._guard.shared:
            rows: int = self._table.call(self._table.inner.count_rows())
            return rows

    def flush(self, location: str | None = None) -> None:
        """Index and compact the table, and make its files durable; it stays where it is."""
        with self._guard.shared, self._writing:
            self._upkeep.flush()

    def close(self) -> None:
        """Let go of the table; closing twice is harmless."""
        self._guard.close()
        table = vars(self).pop("_table", None)
        if table is not None:
            table.inner.close()
