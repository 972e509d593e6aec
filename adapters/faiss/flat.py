"""Flat indexes: every code is compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np

from requant.adapters.faiss import files
from requant.adapters.faiss.answers import among_rows, ask, candidates
from requant.adapters.faiss.index_types import IndexTypes
from requant.adapters.faiss.pages import HugePages
from requant.adapters.faiss.rows import FastScanRows, PlainRows, RowStore
from requant.adapters.keys import KeyColumn
from requant.adapters.protocol import Candidates, IndexSpec, Keys
from requant.quantizers.arrays import Codes


class FlatIndex:
    """Rows in FAISS, their keys beside them."""

    def __init__(self, spec: IndexSpec, types: IndexTypes, inner: Any, keys: KeyColumn) -> None:
        """Take over the FAISS index `inner`, whose row i has key i of `keys`."""
        self.inner = inner
        self.keys = keys
        self._spec = spec
        self._codec = types.codec
        self._rows = rows_of(inner, types)
        self._pages = HugePages(inner)

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self.keys)

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Overwrite known keys in place and append the others."""
        at = self.keys.find(keys)
        known = at >= 0
        if known.any():
            self._rows.replace(at[known], codes[known])
            keys, codes = keys[~known], codes[~known]
        if not len(keys):
            return
        self._rows.append(codes)
        self.keys.append(keys)
        self._pages.follow()

    def delete(self, keys: Keys) -> int:
        """Move the last rows into the holes."""
        at = self.keys.find(keys)
        at = at[at >= 0]
        holes, movers = self.keys.drop(at)
        self._rows.replace(holes, self._rows.gather(movers))
        self._rows.truncate(len(self.keys))
        self._pages.follow()  # fast scan moves what has become much smaller
        return len(at)

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Compare every code, or every code of `among`."""
        n = len(self)
        params = None
        if among is not None:
            rows = self.keys.find(among)
            rows = rows[rows >= 0]
            params = faiss.SearchParameters(sel=among_rows(rows, n))
            n = len(rows)
        if not n or not len(queries):
            return Candidates.empty(self._spec, len(queries), k, codes)
        vectors = self._codec.queries(queries)
        distances, rows = ask(self.inner, vectors, min(k, n), params)
        found = found_codes(self._rows, rows) if codes else None
        return candidates(self._spec, distances, found_keys(self.keys, rows), k, found)

    def chunks(self, batch: int) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything, at most `batch` rows at a time."""
        for start in range(0, len(self.keys), batch):
            rows = np.arange(start, min(start + batch, len(self.keys)))
            yield self.keys.view[rows], self._rows.gather(rows)

    def save(self, location: str) -> None:
        """Write one FAISS file."""
        files.write(files.with_keys(self.inner, self.keys.view), location)


def rows_of(inner: Any, types: IndexTypes) -> RowStore:
    """Return the rows of a flat FAISS index."""
    kind = FastScanRows if isinstance(inner, faiss.IndexPQFastScan) else PlainRows
    return kind(inner, types.codec)


def found_keys(keys: KeyColumn, rows: Keys) -> Keys:
    """Return the keys of `rows (q, k)`, -1 where a row is -1."""
    found: Keys = keys.view.take(rows, mode="clip")
    if np.count_nonzero(rows < 0):
        found[rows < 0] = -1
    return found


def found_codes(store: RowStore, rows: Keys) -> Codes:
    """Return the codes of `rows (q, k)`, zeros where a row is -1."""
    codes = store.gather(np.maximum(rows, 0).ravel()).reshape(*rows.shape, -1)
    codes[rows < 0] = 0
    return codes
