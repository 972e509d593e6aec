"""HNSW graphs in usearch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from usearch.index import Index

from requant.adapters.errors import CorruptIndexError
from requant.adapters.guards import whole_number
from requant.adapters.protocol import Candidates, IndexSpec, Keys
from requant.adapters.usearch.arguments import (
    dimensions,
    distances_of,
    given,
    given_kind_of,
    kind_of,
    metric_of,
    threads,
)
from requant.quantizers.arrays import Codes


class GraphIndex:
    """One usearch index; its keys are ours."""

    def __init__(self, spec: IndexSpec, inner: Index | None = None, mapped: bool = False) -> None:
        """Take over `inner`, or begin empty."""
        self._spec = spec
        self._given = given_kind_of(spec)
        self._threads = threads(spec)
        self._inner = _new(spec) if inner is None else inner
        self._mapped = mapped
        # One search at a time. No race was seen without it, but usearch does not promise that calls
        # with explicit threads may overlap, and the effort below is shared in any case.
        self._lock = threading.RLock()

    @classmethod
    def load(cls, spec: IndexSpec, location: str, mmap: bool) -> GraphIndex:
        """Read or map the file that `save` wrote; its digest must have been checked before."""
        try:
            found = Index.metadata(location) or {}
            _check(spec, found, location)
            inner = _new(spec)
            (inner.view if mmap else inner.load)(location)
        except (RuntimeError, ValueError, OSError) as error:
            raise CorruptIndexError(f"usearch cannot read {location}: {error}") from error
        if len(inner) != found["count_present"]:
            raise CorruptIndexError(
                f"{location} holds {len(inner)} of {found['count_present']} codes"
            )
        if inner.connectivity != _effort(spec)[0]:
            raise CorruptIndexError(
                f"{location} does not fit: it has {inner.connectivity} links a node, expected "
                f"{_effort(spec)[0]}"
            )
        # A loaded index has forgotten what it was declared with.
        _tune(spec, inner)
        return cls(spec, inner, mmap)

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._inner)

    def upsert(self, keys: Keys, codes: Codes) -> None:
        """Remove the old codes of known keys, and add: usearch refuses a known key."""
        if not len(keys):
            return
        self._own()
        self._inner.remove(keys.astype(np.uint64))
        self._inner.add(
            keys.astype(np.uint64),
            given(self._spec, codes),
            copy=True,
            threads=self._threads,
            dtype=self._given,
        )

    def delete(self, keys: Keys) -> int:
        """Remove `keys`; usearch uses their places again."""
        if not len(keys):
            return 0
        self._own()
        before = len(self._inner)
        self._inner.remove(keys.astype(np.uint64))
        return before - len(self._inner)

    def search(
        self, queries: Codes, k: int, among: Keys | None, effort: int | None, codes: bool
    ) -> Candidates:
        """Walk the graph; where it finds fewer than there are, compare every code."""
        want = min(k, len(self)) if len(queries) else 0
        if not want:
            return Candidates.empty(self._spec, len(queries), k, codes)
        queries = given(self._spec, queries)
        keys, distances = self._walk(queries, want, effort)
        short = keys[:, -1] < 0
        if short.any():
            keys[short], distances[short] = self._matches(queries[short], want, exact=True)
        return self._answer(keys, distances, k, codes)

    @property
    def inner(self) -> Index:
        """The usearch index itself."""
        return self._inner

    def chunks(self, batch: int) -> Iterator[tuple[Keys, Codes]]:
        """Yield everything, at most `batch` rows at a time."""
        keys = np.asarray(self._inner.keys).astype(np.int64)
        for start in range(0, len(keys), batch):
            part = keys[start : start + batch]
            yield part, self._codes(part)

    def save(self, location: str) -> None:
        """Write one usearch file."""
        self._inner.save(location)

    def _walk(self, queries: Codes, k: int, effort: int | None) -> tuple[Keys, Any]:
        if effort is None:
            return self._matches(queries, k)
        # usearch keeps the effort in the index, where searches of other threads would meet it.
        with self._lock:
            usual = self._inner.expansion_search
            self._inner.expansion_search = effort
            try:
                return self._matches(queries, k)
            finally:
                self._inner.expansion_search = usual

    def _matches(self, queries: Codes, k: int, exact: bool = False) -> tuple[Keys, Any]:
        """Search, and cut each row at its count: usearch pads with key 0 and NaN."""
        with self._lock:
            found = self._inner.search(
                queries, k, exact=exact, threads=self._threads, dtype=self._given
            )
        n = len(queries)
        counts = np.asarray(found.counts) if n > 1 else np.array([len(found)])
        raw = np.asarray(found.keys).astype(np.int64).reshape(n, -1)
        keys = np.where(np.arange(raw.shape[1]) < counts[:, None], raw, -1)
        near = distances_of(self._spec, found.distances, n)
        answer = Candidates.padded(self._spec, keys, near, k)
        return answer.keys, answer.distances

    def _answer(self, keys: Keys, distances: Any, k: int, codes: bool) -> Candidates:
        found = self._codes(keys) if codes else None
        return Candidates.padded(self._spec, keys, distances, k, found)

    def _codes(self, keys: Keys) -> Codes:
        """Return the codes of `keys` of any shape, zeros where a key is -1."""
        codes = np.zeros((keys.size, self._spec.code.width), self._spec.code.dtype)
        known = keys.ravel() >= 0
        if known.any():
            wanted = keys.ravel()[known].astype(np.uint64)
            codes[known] = np.stack(self._inner.get(wanted, dtype=self._given))
        return codes.reshape(*keys.shape, -1)

    def _own(self) -> None:
        """Copy a mapped index: usearch crashes when one is written to."""
        if self._mapped:
            image = self._inner.save()
            self._inner = _new(self._spec)
            self._inner.load(image)
            _tune(self._spec, self._inner)
            self._mapped = False


def _new(spec: IndexSpec) -> Index:
    links, add, search = _effort(spec)
    return Index(
        ndim=dimensions(spec),
        metric=metric_of(spec),
        dtype=kind_of(spec),
        connectivity=links,
        expansion_add=add,
        expansion_search=search,
        multi=False,
    )


def _tune(spec: IndexSpec, inner: Index) -> None:
    _, inner.expansion_add, inner.expansion_search = _effort(spec)


def _effort(spec: IndexSpec) -> tuple[int, int, int]:
    """Return connectivity, expansion_add and expansion_search."""
    if spec.index_type == "flat":
        return 2, 1, 1  # nobody follows its links
    return (
        whole_number(spec, "connectivity", 16, least=2),
        whole_number(spec, "expansion_add", 128),
        whole_number(spec, "expansion_search", 128),
    )


def _check(spec: IndexSpec, found: dict[str, Any], location: str) -> None:
    wanted = {
        "dimensions": dimensions(spec),
        "kind_scalar": kind_of(spec),
        "kind_metric": metric_of(spec),
    }
    for trait, value in wanted.items():
        if found.get(trait) != value:
            raise CorruptIndexError(
                f"{location} does not fit: its {trait} is {found.get(trait)}, expected {value}"
            )
