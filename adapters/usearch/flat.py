"""Flat indexes: usearch's exact scan over our own arrays, without a graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from usearch.index import search as exact_search

from requant.adapters.keys import KeyColumn, Rows
from requant.adapters.protocol import Candidates, IndexSpec, Keys
from requant.adapters.usearch import table
from requant.adapters.usearch.arguments import distances_of, kind_of, metric_of, threads
from requant.quantizers.arrays import Codes, Float32s

# usearch keeps 16 bytes of every pair of a query and a code until the scan is over: 16 MB at once,
# but no fewer queries than keep its threads busy.
_PAIRS = 1 << 20
_LEAST = 8
# Codes that a single query is compared with in one call: what usearch keeps of them stays in a
# cache.
_BLOCK = 1 << 14


class FlatIndex:
    """A table, and usearch reading it."""

    def __init__(self, spec: IndexSpec, rows: table.Table | None = None) -> None:
        """Take over `rows`, or begin empty."""
        self._spec = spec
        empty = np.empty((0, spec.code.width), spec.code.dtype)
        self._table = table.Table(KeyColumn(), empty) if rows is None else rows

    @classmethod
    def load(cls, spec: IndexSpec, location: str, mmap: bool) -> FlatIndex:
        """Read or map the file that `save` wrote."""
        return cls(spec, table.load(location, spec.code, _meaning(spec), mmap))

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._table)

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Overwrite known keys in place and append the others."""
        self._table.upsert(keys, codes)

    def delete(self, keys: Keys) -> int:
        """Remove `keys`."""
        return self._table.delete(keys)

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Compare every code, or copies of the codes of `among`."""
        keys, stored, q = self._table.keys.view, self._table.codes, len(queries)
        if among is not None:
            rows = self._table.rows(among)
            keys, stored = keys[rows], stored[rows]
        want = min(k, len(keys)) if q else 0
        if not want:
            return Candidates.empty(self._spec, q, k, codes)
        # Bits tie all the time: of those that do, a query alone is to get the same as in a batch.
        if q == 1 and self._spec.code.format != "binary":
            parts = [self._scan_for_one(stored, queries, want)]
        else:
            step = max(_LEAST, _PAIRS // len(stored))
            parts = [self._scan(stored, queries[i : i + step], want) for i in range(0, q, step)]
        rows = np.concatenate([part[0] for part in parts])
        distances = np.concatenate([part[1] for part in parts])
        found = stored[rows] if codes else None
        return Candidates.padded(self._spec, keys[rows], distances, k, found)

    def _scan(self, stored: Codes, queries: Codes, k: int) -> tuple[Rows, Float32s]:
        number = threads(self._spec) or int(len(queries) == 1)
        matches = self._matches(stored, queries, k, number)
        rows = np.asarray(matches.keys).astype(np.int64).reshape(len(queries), k)
        return rows, distances_of(self._spec, matches.distances, len(queries))

    def _scan_for_one(self, stored: Codes, query: Codes, k: int) -> tuple[Rows, Float32s]:
        """Let each code ask for the query: by all metrics it is as far from there.

        One query that asks would take the interpreter's lock for each code: that takes twice as
        long, and threads that search side by side wait for one another. One thread is enough.
        """
        number = threads(self._spec) or 1
        distances = np.empty(len(stored), np.float32)
        for start in range(0, len(stored), _BLOCK):
            part = slice(start, start + _BLOCK)
            raw = self._matches(query, stored[part], 1, number).distances
            distances[part] = distances_of(self._spec, raw, 1)[0]
        nearest = np.argpartition(distances, k - 1)[:k]
        rows = nearest[np.argsort(distances[nearest], kind="stable")]
        return rows[None], distances[rows][None]

    def _matches(self, stored: Codes, queries: Codes, k: int, number: int) -> Any:
        return exact_search(
            stored,
            queries,
            k,
            metric_of(self._spec),
            exact=True,
            threads=number,
            dtype=kind_of(self._spec),
        )

    def chunks(self, batch: int) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything, at most `batch` rows at a time."""
        for start in range(0, len(self), batch):
            part = slice(start, start + batch)
            yield self._table.keys.view[part].copy(), np.array(self._table.codes[part])

    def save(self, location: str) -> None:
        """Write one file."""
        self._table.save(location, _meaning(self._spec))


def _meaning(spec: IndexSpec) -> str:
    """Return what is not seen in the codes themselves."""
    return f"{spec.code.format} compared by {spec.metric}"
