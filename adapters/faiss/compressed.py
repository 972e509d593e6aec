"""Vectors compressed in one of FAISS's own ways; removed ones stay, unanswered, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np

from requant.adapters.faiss import compaction, files, layers
from requant.adapters.faiss.answers import among_rows, ask, candidates
from requant.adapters.faiss.flat import found_keys
from requant.adapters.faiss.graph import DEAD_SHARE, SCAN_SHARE, tune
from requant.adapters.faiss.lists import probes
from requant.adapters.faiss.pages import HugePages
from requant.adapters.keys import KeyColumn, Rows
from requant.adapters.protocol import Candidates, IndexSpec, Keys
from requant.quantizers.arrays import Codes, Float32s
from requant.quantizers.distance import code_distances

_AT_ONCE = 65536
_Found = tuple[Any, Any]  # distances as FAISS tells them, and rows


class CompressedIndex:
    """An index of FAISS's factory, the keys of its rows beside it; a dead row has key -1."""

    def __init__(self, spec: IndexSpec, inner: Any, keys: KeyColumn) -> None:
        """Take over the trained FAISS index `inner`, whose row i has key i of `keys`."""
        self.inner: Any = inner
        self.keys: KeyColumn = keys
        self._spec = spec
        self._core = layers.core_of(inner)
        self._takes_selectors = True  # until it says that it does not
        self._alive: Rows | None = None  # the live rows, when somebody asked for them
        self.dead: int = len(keys) - len(self._live())
        layers.mend(inner)
        self._pages = HugePages(inner)
        self._tune()

    def __len__(self) -> int:
        """Return the number of live keys."""
        return len(self.keys) - self.dead

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Add vectors; the old rows of known keys die."""
        at = self.keys.find(keys)
        for start in range(0, len(codes), _AT_ONCE):
            self.inner.add(codes[start : start + _AT_ONCE])
        self._bury(at[at >= 0])
        self.keys.append(keys)
        self._alive = None
        self._pages.follow()
        self._compact_if_due()

    def delete(self, keys: Keys) -> int:
        """Let the rows of `keys` die."""
        at = self.keys.find(keys)
        at = at[at >= 0]
        self._bury(at)
        self._compact_if_due()
        return len(at)

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Ask FAISS; where it finds fewer than there are, compare what it can give back."""
        allowed = self._live() if self.dead else None
        if among is not None:
            rows = self.keys.find(among)
            allowed = np.sort(rows[rows >= 0])
        n = len(self.keys) if allowed is None else len(allowed)
        if not n or not len(queries):
            return Candidates.empty(self._spec, len(queries), k, codes)
        want = min(k, n)
        if self._spec.index_type != "ivf" and n < SCAN_SHARE * len(self.keys):
            distances, rows = self._scan(queries, want, allowed)
        else:
            distances, rows = self._thorough(queries, want, allowed, effort)
        return candidates(self._spec, distances, found_keys(self.keys, rows), k)

    def chunks(self, batch: int) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything alive, as FAISS gives it back, at most `batch` rows at a time."""
        for rows, vectors in self._blocks(self._live()):
            for start in range(0, len(rows), batch):
                part = slice(start, start + batch)
                yield self.keys.view[rows[part]], vectors[part].copy()

    def save(self, location: str) -> None:
        """Write one FAISS file."""
        files.write(files.with_keys(self.inner, self.keys.view), location)

    @property
    def is_crowded(self) -> bool:
        """Whether so many rows are dead that the index should be made anew."""
        return self.dead > DEAD_SHARE * len(self.keys) and compaction.starts_anew(self.inner)

    def empty(self) -> Any:
        """Return an index without rows, trained as this one."""
        return compaction.emptied(self.inner)

    def vectors(self, rows: Rows) -> Any:
        """Return what FAISS makes of `rows`, to be compressed once more."""
        return layers.reconstructed_rows(self.inner, rows)

    def become(self, inner: Any, keys: KeyColumn) -> None:
        """Go on with the FAISS index `inner`, whose row i has key i of `keys`."""
        self.inner, self.keys, self._core = inner, keys, layers.core_of(inner)
        self._alive = None
        self.dead = len(keys) - len(self._live())
        self._pages = HugePages(inner)
        self._tune()

    def _thorough(
        self, queries: Codes, want: int, allowed: Rows | None, effort: int | None
    ) -> _Found:
        """Ask, ask all lists, and compare one by one: each for what the one before left short."""
        nlist = self._nlist()
        tries = [effort] if self._probe(effort) == nlist else [effort, nlist]
        found = self._ask(queries, want, allowed, tries[0])
        for spent in tries[1:]:
            found = self._completed(
                found, lambda q, e=spent: self._ask(q, want, allowed, e), queries
            )
        return self._completed(found, lambda q: self._scan(q, want, allowed), queries)

    def _completed(self, found: _Found, again: Any, queries: Codes) -> _Found:
        """Replace the answers that are short by those of another way to search."""
        short = found[1][:, -1] < 0
        if short.any():
            found[0][short], found[1][short] = again(queries[short])
        return found

    def _ask(self, queries: Codes, want: int, allowed: Rows | None, effort: int | None) -> _Found:
        """Return FAISS's answer, without rows that are not allowed; it may be short."""
        n, probe = len(self.keys), self._probe(effort)
        if allowed is None:
            params = layers.parameters(self.inner, None, effort, probe)
            return ask(self.inner, queries, want, params)
        mask = np.zeros(n, bool)
        mask[allowed] = True
        if self._takes_selectors:
            params = layers.parameters(self.inner, among_rows(allowed, n), effort, probe)
            try:
                return _only(*ask(self.inner, queries, want, params), mask, want)
            except RuntimeError:  # fast scan and several others take none
                self._takes_selectors = False
        params = layers.parameters(self.inner, None, effort, probe)
        # Ask for so many that about enough of them are allowed, and for more until they are.
        most = min(n, 2 * -(-want * n // len(allowed)))
        while True:
            distances, rows = ask(self.inner, queries, most, params)
            few = (rows >= 0) & mask[rows]
            if most == n or ((few.sum(axis=1) >= want) | (rows[:, -1] < 0)).all():
                return _only(distances, rows, mask, want)
            most = min(n, 4 * most)

    def _scan(self, queries: Codes, want: int, allowed: Rows | None) -> _Found:
        """Compare the queries with every vector that FAISS gives back."""
        sign = -1 if self._spec.metric == "ip" else 1
        near = np.full((len(queries), want), np.inf, np.float32)
        rows = np.full((len(queries), want), -1, np.int64)
        for some, vectors in self._blocks(
            np.arange(len(self.keys)) if allowed is None else allowed
        ):
            found = code_distances(queries, vectors, self._spec.code, self._spec.metric)
            all_rows = np.concatenate([rows, np.broadcast_to(some, found.shape)], axis=1)
            all_near = np.concatenate([near, found], axis=1)
            best = np.argsort(all_near, axis=1, kind="stable")[:, :want]
            near = np.take_along_axis(all_near, best, axis=1)
            rows = np.take_along_axis(all_rows, best, axis=1)
        return sign * near, rows

    def _blocks(self, rows: Rows) -> Iterator[tuple[Rows, Float32s]]:
        """Yield the ascending `rows` and their vectors, a bounded number at a time."""
        for start in range(0, len(self.keys), _AT_ONCE):
            some = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + _AT_ONCE)]
            if len(some):
                yield some, layers.reconstructed_rows(self.inner, some)

    def _live(self) -> Rows:
        live = self._alive  # read once: several searches may find it missing at the same time
        if live is None:
            self._alive = live = np.flatnonzero(self.keys.view >= 0)
        return live

    def _bury(self, rows: Rows) -> None:
        self.keys.kill(rows)
        self.dead += len(rows)
        self._alive = None

    def _compact_if_due(self) -> None:
        if self.dead > DEAD_SHARE * len(self.keys) and not self.is_crowded:
            live = self._live()
            inner = compaction.compacted(self.inner, live)
            self.become(inner, KeyColumn(self.keys.view[live]))

    def _nlist(self) -> int:
        return int(self._core.nlist) if self._spec.index_type == "ivf" else 1

    def _probe(self, effort: int | None) -> int:
        return probes(self._spec, self._nlist(), effort)

    def _tune(self) -> None:
        if self._spec.index_type == "ivf":
            self._core.nprobe = self._probe(None)
        elif isinstance(self._core, faiss.IndexHNSW):
            tune(self._spec, self._core)


def _only(distances: Any, rows: Any, mask: Any, want: int) -> _Found:
    """Keep what `mask` allows, the best `want` of each query, and pad with row -1."""
    good = (rows >= 0) & mask[rows]
    order = np.argsort(~good, axis=1, kind="stable")[:, :want]
    rows = np.take_along_axis(np.where(good, rows, -1), order, axis=1)
    return np.take_along_axis(distances, order, axis=1), rows
