"""What searches return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from requant.errors import InputError
from requant.quantizers.arrays import Float32s
from requant.search.request import Found
from requant.store import Id, RawItem, content_of

_new = tuple.__new__


class Ranks(NamedTuple):
    """The places, from 1, of a result by the words of its document and by its vector.

    None where it is not among those that the search has looked at.
    """

    text: int | None
    vector: int | None


class Hit(NamedTuple):
    """One result: higher scores are better, whatever the metric and the engine.

    `document` and `metadata` are None where the item has none, or the search was made with `fields`
    that do not name them; `vector` is there if it was made with `vectors=True`, and the item has
    one; `ranks` if it was made by words and vector, with `search_hybrid`.
    """

    id: Id
    score: float
    document: str | None
    metadata: dict[str, Any] | None
    vector: Float32s | None = None
    ranks: Ranks | None = None


@dataclass(frozen=True, repr=False, eq=False)
class Batch(Sequence["list[Hit]"]):
    """Results of many queries: a list of `Hit` each, and the same as arrays for all of them.

    `ids` has a list a query, `scores` is `(q, n) float32` and `keys` `(q, n) int64`, where `n` is
    how many results a query can have. One with fewer has a shorter list of ids; its row of
    `scores` ends in -inf and its row of `keys` in -1. `vectors`, if they were asked for, are an
    array `(m, d) float32` a query.

    Documents and metadata are of the same moment as the scores; a hit's metadata is decoded when
    the hit is looked at. Made with `documents=False`, there are the arrays alone.
    """

    ids: list[list[Id]]
    scores: Float32s
    keys: NDArray[np.int64]
    vectors: list[Float32s] | None = None
    _items: Mapping[int, RawItem] | None = None

    def __repr__(self) -> str:
        """Tell how many queries and results there are."""
        results, most = sum(map(len, self.ids)), self.scores.shape[1]
        return f"<Batch: {len(self)} queries, {results} results, at most {most} each>"

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.ids)

    def __iter__(self) -> Iterator[list[Hit]]:
        """Yield the results of each query, best first."""
        return map(self._hits, range(len(self)))

    @overload
    def __getitem__(self, at: int) -> list[Hit]: ...
    @overload
    def __getitem__(self, at: slice) -> list[list[Hit]]: ...
    def __getitem__(self, at: int | slice) -> list[Hit] | list[list[Hit]]:
        """Return the results of the query at this place, or of several."""
        rows = range(len(self))[at]
        return self._hits(rows) if isinstance(rows, int) else [*map(self._hits, rows)]

    def _hits(self, row: int) -> list[Hit]:
        if self._items is None:
            raise InputError(
                "search_many(documents=False) has read no items: use ids, scores and keys"
            )
        found = self.keys[row, : len(self.ids[row])], self.scores[row, : len(self.ids[row])]
        return hits(found, self._items, None if self.vectors is None else self.vectors[row])


def hits(
    found: Found,
    items: Mapping[int, RawItem],
    vectors: Sequence[Float32s | None] | Float32s | None = None,
    ranks: Mapping[int, Ranks] | None = None,
) -> list[Hit]:
    """Join the keys and scores of one query with their items, with `vectors (n, d)` and `ranks`."""
    keys, scores = found
    joined = []
    for key, score in zip(keys.tolist(), scores.tolist(), strict=True):
        row = items.get(key)
        if row is not None:
            name, document, metadata = content_of(*row)
            # Past the constructor of named tuples, which takes twice as long.
            joined.append(_new(Hit, (name, score, document, metadata, None, None)))
    if ranks is not None:
        places = [ranks[key] for key in keys.tolist() if key in items]
        joined = [hit._replace(ranks=place) for hit, place in zip(joined, places, strict=True)]
    if vectors is None:
        return joined
    # Copies: who keeps one vector is not to keep the memory of all.
    rows = [row for key, row in zip(keys.tolist(), vectors, strict=True) if key in items]
    return [
        hit if row is None else hit._replace(vector=row.copy())
        for hit, row in zip(joined, rows, strict=True)
    ]


def batch_of(
    found: Sequence[Found],
    names: Mapping[int, Id],
    most: int,
    vectors: list[Float32s] | None = None,
    items: Mapping[int, RawItem] | None = None,
) -> Batch:
    """Join the keys and scores of many queries, at most so many of each, with their ids."""
    ids: list[list[Id]] = []
    all_scores = np.full((len(found), most), -np.inf, np.float32)
    all_keys = np.full((len(found), most), -1, np.int64)
    for row, (keys, scores) in enumerate(found):
        ids.append([names[key] for key in keys.tolist()])
        all_scores[row, : len(scores)] = scores
        all_keys[row, : len(keys)] = keys
    return Batch(ids, all_scores, all_keys, vectors, items)
