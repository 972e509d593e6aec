"""IVF indexes: codes in lists, the keys inside them; a search reads the nearest lists."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from requant.adapters.faiss import fastscan, files
from requant.adapters.faiss.answers import ask, candidates
from requant.adapters.faiss.index_types import LIST_BLOCK, IndexTypes
from requant.adapters.faiss.rows import bytes_at
from requant.adapters.guards import whole_number
from requant.adapters.protocol import Candidates, IndexSpec, Keys
from requant.quantizers.arrays import Codes
from requant.quantizers.errors import InputError

# FAISS's own rule of thumb for k-means.
SAMPLE_PER_LIST = 39
_AT_ONCE = 65536


class ListsIndex:
    """Codes and keys in FAISS's inverted lists."""

    def __init__(self, spec: IndexSpec, types: IndexTypes, inner: Any) -> None:
        """Take over the FAISS index `inner`."""
        self.inner = inner
        self._spec = spec
        self._codec = types.codec
        self._lists = faiss.downcast_InvertedLists(inner.invlists)
        self._fast = isinstance(inner, faiss.IndexIVFPQFastScan)
        self._largest: int | None = None
        inner.nprobe = self._probe(None)

    def __len__(self) -> int:
        """Return the number of keys."""
        return int(self.inner.ntotal)

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Remove the old codes of known keys, and add."""
        if not len(keys):
            return
        # A key above the largest is new, and nobody need look for it in the lists.
        top = self._top()
        known = keys[keys <= top]
        if len(known):
            self.delete(known)
        self._largest = max(top, int(keys.max()))
        for start in range(0, len(keys), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            self.inner.add_with_ids(self._codec.vectors(codes[part]), keys[part])

    def delete(self, keys: Keys) -> int:
        """Remove keys from their lists."""
        if not len(keys):
            return 0
        before = self._sizes() if self._fast else None
        removed = int(self.inner.remove_ids(faiss.IDSelectorBatch(keys)))
        if before is not None:
            self._clear_tails(before)
        return removed

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Read the nearest lists, and all of them for a query that found too little there."""
        n = len(self)
        if not n or not len(queries) or (among is not None and not len(among)):
            return Candidates.empty(self._spec, len(queries), k, codes)
        vectors = self._codec.queries(queries)
        selector = None if among is None else faiss.IDSelectorBatch(among)
        want = min(k, n if among is None else len(among))
        distances, keys = self._read(vectors, want, selector, effort)
        short = keys[:, -1] < 0
        if short.any() and self._probe(effort) < self.inner.nlist:
            distances[short], keys[short] = self._read(
                vectors[short], want, selector, self.inner.nlist
            )
        return candidates(self._spec, distances, keys, k)

    def chunks(self, batch: int) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything, at most `batch` rows at a time."""
        held: list[tuple[Keys, Codes]] = []
        rows = 0
        for keys, codes in self._chunks():
            for start in range(0, len(keys), batch):
                piece = keys[start : start + batch], codes[start : start + batch]
                if rows + len(piece[0]) > batch:
                    yield _joined(held)
                    held, rows = [], 0
                held.append(piece)
                rows += len(piece[0])
        if held:
            yield _joined(held)

    def save(self, location: str) -> None:
        """Write one FAISS file."""
        files.write(self.inner, location)

    def _chunks(self) -> Iterator[tuple[Keys, Codes]]:
        """Yield copies of the keys and codes of each list that holds any."""
        for number, size in enumerate(self._sizes()):
            if size:
                yield self._keys(number, size), self._codec.codes(self._stored(number, size))

    def _top(self) -> int:
        if self._largest is None:
            sizes = enumerate(self._sizes())
            tops = (int(self._keys(number, size).max()) for number, size in sizes if size)
            self._largest = max(tops, default=-1)
        return self._largest

    def _keys(self, number: int, size: int) -> Keys:
        keys: Keys = faiss.rev_swig_ptr(self._lists.get_ids(number), size).copy()
        return keys

    def _stored(self, number: int, size: int) -> NDArray[np.uint8]:
        if self._fast:
            return fastscan.gather(self._blocks(number, size), np.arange(size))
        raw = bytes_at(self._lists.get_codes(number), size * self._codec.row_bytes)
        return raw.reshape(size, -1)

    def _blocks(self, number: int, size: int) -> NDArray[np.uint8]:
        room = -(-size // LIST_BLOCK) * LIST_BLOCK * self._codec.row_bytes
        raw = bytes_at(self._lists.get_codes(number), room)
        return fastscan.blocks_of(raw, LIST_BLOCK, self._codec.row_bytes)

    def _clear_tails(self, before: list[int]) -> None:
        """Zero what `remove_ids` left behind the last row of a list (see fastscan)."""
        for number, size in enumerate(self._sizes()):
            tail = np.arange(size, -(-size // LIST_BLOCK) * LIST_BLOCK)
            if size < before[number] and len(tail):
                zeros = np.zeros((len(tail), self._codec.row_bytes), np.uint8)
                fastscan.scatter(self._blocks(number, size), tail, zeros)

    def _sizes(self) -> list[int]:
        return [self._lists.list_size(number) for number in range(self.inner.nlist)]

    def _read(self, vectors: Any, k: int, selector: Any, effort: int | None) -> tuple[Any, Any]:
        params = None
        if selector is not None or effort is not None:
            params = faiss.SearchParametersIVF(nprobe=self._probe(effort), sel=selector)
        return ask(self.inner, vectors, k, params)

    def _probe(self, effort: int | None) -> int:
        return probes(self._spec, int(self.inner.nlist), effort)


def new_lists(spec: IndexSpec, types: IndexTypes, sample: Codes | None) -> Any:
    """Return empty lists trained on `sample`, codes of the format of `spec`."""
    if sample is None or not len(sample):
        raise InputError("a faiss ivf index learns its lists: create it with a sample of codes")
    return types.ivf(lists_wanted(spec, len(sample)), types.codec.vectors(sample))


def lists_wanted(spec: IndexSpec, rows: int) -> int:
    """Return how many lists an index of `spec` gets that learns them from a sample of `rows`."""
    items = max(spec.expected, rows)
    most = max(1, rows // SAMPLE_PER_LIST)
    wish = whole_number(spec, "nlist", max(1, min(int(2 * math.sqrt(items)), most)))
    # No more lists than rows to learn them from; a larger sample comes with a larger index.
    return min(wish, max(rows, 1))


def probes(spec: IndexSpec, nlist: int, effort: int | None) -> int:
    """Return how many of `nlist` lists a search reads."""
    usual = whole_number(spec, "nprobe", math.ceil(4 * math.sqrt(nlist)))
    return min(nlist, effort or usual)


def _joined(pieces: list[tuple[Keys, Codes]]) -> tuple[Keys, Codes]:
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate([p[0] for p in pieces]), np.concatenate([p[1] for p in pieces])
