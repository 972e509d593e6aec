"""An index as the points of a collection, whichever library of Qdrant holds them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from requant.adapters.protocol import Candidates, IndexSpec, Keys
from requant.adapters.qdrant.answers import Asker
from requant.adapters.qdrant.codec import codes_of, vectors_of
from requant.adapters.qdrant.collection_layout import Layout
from requant.adapters.qdrant.connection import Chunk, Connection
from requant.quantizers.arrays import Codes

# Values in one write and one read: they are Python objects on the way.
_VALUES = 1 << 19
_KEYS = 50_000
# So many new vectors are searched one by one without loss.
_LATE = 10_000


class Points:
    """What an open connection holds for an index of `spec` in `layout`."""

    def __init__(self, spec: IndexSpec, layout: Layout, connection: Connection) -> None:
        """Take over `connection`."""
        self.connection = connection
        self._spec = spec
        self._layout = layout
        self._asker = Asker(connection, spec, layout)
        self._size: int | None = None
        self._new = 0

    @property
    def late(self) -> bool:
        """Whether so much was written that searches are slow until it is optimized."""
        return self.connection.optimizes and self._new > _LATE and self._layout.late

    def __len__(self) -> int:
        """Return the number of points, which is counted again after a write of whoever may."""
        size = self._size
        if size is None:
            size = self.connection.count()
            if self.connection.alone:
                self._size = size
        return size

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Store vectors, in several requests if they are many."""
        self._new += len(keys)
        self._size = None
        if len(keys):
            self.connection.upsert(self._parts(keys, codes))

    def delete(self, keys: Keys) -> int:
        """Remove keys and return how many were there."""
        self._size = None
        gone = 0
        for start in range(0, len(keys), _KEYS):
            part = keys[start : start + _KEYS].tolist()
            found = self.connection.held(part)
            if found:
                self.connection.delete(part)
            gone += found
        return gone

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Return the k nearest of each query; `effort` is ef of a graph."""
        return self._asker.ask(queries, k, among, effort or self._layout.effort)

    def chunks(self, batch: int) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything by ascending key."""
        limit = min(batch, max(1, _VALUES // self._layout.size))
        start: int | None = None
        while True:
            records, start = self.connection.scroll(start, limit)
            if records:
                keys = np.array([record.id for record in records], np.int64)
                yield keys, codes_of([record.vector for record in records], self._spec)
            if start is None:
                return

    def optimize(self) -> None:
        """Build what makes searches fast."""
        self._new = 0
        self.connection.optimize()

    def flush(self) -> None:
        """Optimize what was written and make it durable."""
        self.optimize()
        self.connection.flush()

    def note(self, text: str) -> None:
        """Replace the text of the collection."""
        self.connection.note(text)

    def noted(self) -> str | None:
        """Return the text of the collection."""
        return self.connection.noted()

    def close(self) -> None:
        """Let go of the connection."""
        self.connection.close()

    def _parts(self, keys: Keys, codes: Codes) -> Iterator[Chunk]:
        step = max(1, min(_VALUES // self._layout.size, self.connection.limits.points))
        for start in range(0, len(keys), step):
            part = slice(start, start + step)
            yield keys[part].tolist(), vectors_of(codes[part], self._spec)
