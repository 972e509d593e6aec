"""Questions to a connection, and its answers as candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Candidates, IndexSpec, Keys
from requant.adapters.qdrant.codec import codes_of, distances_of, vectors_of
from requant.adapters.qdrant.collection_layout import Layout
from requant.adapters.qdrant.connection import Connection, Wish
from requant.quantizers.arrays import Codes

# Queries in one request: their answers are Python objects until they are arrays.
_QUERIES = 256
# Qdrant makes room for as many answers as it is asked for.
_MANY = 10_000
# A root in float32 tells whole numbers apart up to here.
_ROOTS = 1 << 22

Distances = NDArray[np.float64]


class Asker:
    """Searches a connection for an index of `spec` in `layout`."""

    def __init__(self, connection: Connection, spec: IndexSpec, layout: Layout) -> None:
        """Ask `connection`, which others may use as well."""
        self._connection = connection
        self._spec = spec
        self._layout = layout
        # Without a graph and without compression there is one way; with compression, Qdrant's
        # "exact" would read the vectors from disk.
        self._exact = not layout.graph and layout.quantization is None
        self._whole_l2 = spec.metric == "l2" and spec.code.format in ("int8", "uint8")

    def ask(self, queries: Codes, k: int, among: Keys | None, effort: int | None) -> Candidates:
        """Return the k nearest of each query, padded."""
        q = len(queries)
        answer = Candidates.empty(self._spec, q, k)
        want = k if among is None else min(k, len(among))
        if want > _MANY:
            want = min(want, self._connection.count())
        if not want:
            return answer
        keys, distances = answer.keys[:, :want], answer.distances[:, :want]
        for start in range(0, q, _QUERIES):
            part = slice(start, start + _QUERIES)
            self._fill(keys[part], distances[part], queries[part], among, effort)
        return answer

    def _fill(
        self, keys: Keys, distances: Any, queries: Codes, among: Keys | None, effort: int | None
    ) -> None:
        vectors, k = vectors_of(queries, self._spec), keys.shape[1]
        most = self._connection.limits.keys
        if among is not None and len(among) > most:
            parts = np.array_split(among, -(-len(among) // most))
            answers = self._merged([self._points(vectors, k, part, effort) for part in parts], k)
        else:
            answers = self._points(vectors, k, among, effort)
        farthest = 0.0
        for row, points in enumerate(answers):
            n = len(points)
            if n:
                keys[row, :n] = [point.id for point in points]
                scores = np.array([point.score for point in points], np.float64)
                distances[row, :n] = distances_of(scores, self._spec, self._layout.size)
                farthest = max(farthest, distances[row, n - 1])
        if self._whole_l2 and farthest >= _ROOTS:
            self._recompute(keys, distances, queries)

    def _points(
        self, vectors: list[list[float]], k: int, among: Keys | None, effort: int | None
    ) -> list[Sequence[Any]]:
        """Ask once, and where a graph gives fewer answers than there may be, ask for all."""
        chosen = None if among is None else among.tolist()
        want = k if chosen is None else min(k, len(chosen))
        answers = self._connection.search(vectors, want, Wish(self._exact, effort, chosen))
        if not self._layout.graph:
            return answers
        short = [row for row, points in enumerate(answers) if len(points) < want]
        if short:
            every = Wish(exact=True, among=chosen)
            again = self._connection.search([vectors[row] for row in short], want, every)
            for row, points in zip(short, again, strict=True):
                answers[row] = points
        return answers

    def _merged(self, parts: list[list[Sequence[Any]]], k: int) -> list[Sequence[Any]]:
        """Return the best k of several answers to the same queries."""
        sign = 1 if self._layout.distance == "Euclid" else -1
        return [
            sorted((point for row in rows for point in row), key=lambda p: sign * p.score)[:k]
            for rows in zip(*parts, strict=True)
        ]

    def _recompute(self, keys: Keys, distances: Any, queries: Codes) -> None:
        """Replace distances that a root has blurred by those of the codes themselves."""
        records = self._connection.vectors(np.unique(keys[keys >= 0]).tolist())
        found = np.array([record.id for record in records], np.int64)
        codes = codes_of([record.vector for record in records], self._spec).astype(np.float64)
        order = np.argsort(found)
        for row, query in enumerate(queries.astype(np.float64)):
            n = int((keys[row] >= 0).sum())
            at = order[
                np.minimum(np.searchsorted(found, keys[row, :n], sorter=order), len(found) - 1)
            ]
            exact = ((codes[at] - query) ** 2).sum(axis=1)
            # What was deleted meanwhile keeps the distance that Qdrant gave.
            exact = np.where(found[at] == keys[row, :n], exact, distances[row, :n])
            best = np.argsort(exact, kind="stable")
            keys[row, :n], distances[row, :n] = keys[row, :n][best], exact[best]
