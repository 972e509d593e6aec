"""HNSW graphs. FAISS cannot remove a node: dead ones stay, unanswered, until a rebuild."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np

from requant.adapters.faiss import files
from requant.adapters.faiss.answers import among_rows, ask, candidates
from requant.adapters.faiss.flat import found_codes, found_keys, rows_of
from requant.adapters.faiss.index_types import IndexTypes
from requant.adapters.faiss.pages import HugePages
from requant.adapters.guards import whole_number
from requant.adapters.keys import KeyColumn, Rows
from requant.adapters.protocol import Candidates, IndexSpec, Keys
from requant.quantizers.arrays import Codes

DEAD_SHARE = 0.2
# With fewer rows to choose from, reading them all is faster than walking past the others.
SCAN_SHARE = 0.1
_AT_ONCE = 65536


class GraphIndex:
    """A FAISS graph, the keys of its nodes beside it; a dead node has key -1."""

    def __init__(self, spec: IndexSpec, types: IndexTypes, inner: Any, keys: KeyColumn) -> None:
        """Take over the FAISS graph `inner`, whose node i has key i of `keys`."""
        self._spec = spec
        self._types = types
        self._alive: Any = None  # a selector of the living nodes, made when some are dead
        self.keys: KeyColumn = keys
        self._adopt(inner)

    def __len__(self) -> int:
        """Return the number of live keys."""
        return len(self.keys) - self.dead

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Link new nodes; the old nodes of known keys die."""
        at = self.keys.find(keys)
        for start in range(0, len(codes), _AT_ONCE):
            self.inner.add(self._types.codec.vectors(codes[start : start + _AT_ONCE]))
        self._bury(at[at >= 0])
        self.keys.append(keys)
        self._pages.follow()

    def delete(self, keys: Keys) -> int:
        """Let the nodes of `keys` die."""
        at = self.keys.find(keys)
        at = at[at >= 0]
        self._bury(at)
        return len(at)

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Walk the graph; where it finds fewer than there are, read the rows one by one."""
        n, selector = self._choice(among)
        if not n or not len(queries):
            return Candidates.empty(self._spec, len(queries), k, codes)
        vectors = self._types.codec.queries(queries)
        search = self._scan if n < SCAN_SHARE * len(self.keys) else self._walk
        distances, rows = search(vectors, min(k, n), selector, effort)
        handed = found_codes(self._rows, rows) if codes else None
        return candidates(self._spec, distances, found_keys(self.keys, rows), k, handed)

    def chunks(self, batch: int) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything alive, at most `batch` rows at a time."""
        live = self._live_rows()
        for start in range(0, len(live), batch):
            rows = live[start : start + batch]
            yield self.keys.view[rows], self._rows.gather(rows)

    def save(self, location: str) -> None:
        """Write one FAISS file."""
        files.write(files.with_keys(self.inner, self.keys.view), location)

    @property
    def is_crowded(self) -> bool:
        """Whether so many nodes are dead that the graph should be made anew."""
        return self.dead > DEAD_SHARE * len(self.keys)

    def empty(self) -> Any:
        """Return a graph without nodes."""
        return new_graph(self._spec, self._types)

    def vectors(self, rows: Rows) -> Any:
        """Return copies of `rows` as FAISS takes them."""
        return self._types.codec.vectors(self._rows.gather(rows))

    def become(self, inner: Any, keys: KeyColumn) -> None:
        """Go on with the graph `inner`, whose node i has key i of `keys`."""
        self.keys = keys
        self._adopt(inner)

    def _choice(self, among: Keys | None) -> tuple[int, Any]:
        """Return how many rows may be answered with, and a selector of them (None: all)."""
        if among is not None:
            rows = self.keys.find(among)
            rows = rows[rows >= 0]
            return len(rows), among_rows(rows, len(self.keys))
        if self.dead and self._alive is None:
            self._alive = among_rows(self._live_rows(), len(self.keys))
        return len(self), self._alive

    def _walk(self, vectors: Any, k: int, selector: Any, effort: int | None) -> tuple[Any, Any]:
        params = None
        if selector is not None or effort is not None:
            params = faiss.SearchParametersHNSW(
                sel=selector, efSearch=effort or self.inner.hnsw.efSearch
            )
        distances, rows = ask(self.inner, vectors, k, params)
        short = rows[:, -1] < 0  # no link leads to the others, or too many dead stand in between
        if short.any():
            distances[short], rows[short] = self._scan(vectors[short], k, selector, None)
        return distances, rows

    def _scan(self, vectors: Any, k: int, selector: Any, effort: int | None) -> tuple[Any, Any]:
        params = None if selector is None else faiss.SearchParameters(sel=selector)
        return ask(self._storage, vectors, k, params)

    def _bury(self, rows: Rows) -> None:
        self.keys.kill(rows)
        self.dead += len(rows)
        self._alive = None

    def _live_rows(self) -> Rows:
        return np.flatnonzero(self.keys.view >= 0)

    def _adopt(self, inner: Any) -> None:
        self.inner = inner
        self._storage = files.downcast(inner.storage)
        self._rows = rows_of(self._storage, self._types)
        self.dead: int = len(self.keys) - len(self._live_rows())
        self._alive = None
        self._pages = HugePages(inner)
        tune(self._spec, inner)


def new_graph(spec: IndexSpec, types: IndexTypes) -> Any:
    """Return an empty graph with the parameters of `spec`."""
    graph = types.hnsw(whole_number(spec, "M", 16, least=2))
    tune(spec, graph)
    return graph


def tune(spec: IndexSpec, graph: Any) -> None:
    """Set what may differ from one opening to the next."""
    graph.hnsw.efConstruction = whole_number(spec, "efConstruction", 100)
    graph.hnsw.efSearch = whole_number(spec, "efSearch", 128)
