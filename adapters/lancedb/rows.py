"""An index as the rows of a table of LanceDB."""

from __future__ import annotations

from collections.abc import Iterator

from requant.adapters.lancedb import noting, writes
from requant.adapters.lancedb.search import Wish, search
from requant.adapters.lancedb.table import Table
from requant.adapters.lancedb.upkeep import Upkeep
from requant.adapters.protocol import Candidates, Keys
from requant.quantizers.arrays import Codes


class Rows:
    """An open table, kept tidy as it is written to."""

    def __init__(self, table: Table) -> None:
        """Take over `table`."""
        self.table = table
        self._upkeep = Upkeep(table)

    def __len__(self) -> int:
        """Return the number of rows."""
        rows: int = self.table.call(self.table.inner.count_rows())
        return rows

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Store a batch in one commit."""
        if len(keys):
            writes.upsert(self.table, keys, codes)
            self._upkeep.wrote()

    def delete(self, keys: Keys) -> int:
        """Remove keys and return how many were there."""
        gone = writes.delete(self.table, keys)
        if gone:
            self._upkeep.wrote()
        return gone

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Return the k nearest of each query; `effort` is ef of a graph, nprobes of partitions."""
        return search(self.table, queries, Wish(k, among, effort, codes))

    def chunks(self, batch: int) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything in the version of the table that there is when it begins."""
        return self._upkeep.reading(writes.chunks(self.table, batch))

    def flush(self) -> None:
        """Index and compact the table, and make its files durable."""
        self._upkeep.flush()

    def note(self, text: str) -> None:
        """Replace the text of the table."""
        noting.note(self.table, text)

    def noted(self) -> str | None:
        """Return the text of the table."""
        return noting.noted(self.table)

    def close(self) -> None:
        """Let go of the table."""
        self.table.inner.close()
