"""One question answered in one snapshot: ids looked up, searched, and the results chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys
from requant.errors import InputError, UnknownIdError
from requant.indexes import Loaded, Memory
from requant.metrics import Operation
from requant.quantizers.arrays import Float32s
from requant.scores import normalise
from requant.search.choosing import Ranker, diverse, grouped
from requant.search.finder import Compile, Finder
from requant.search.options import Question
from requant.search.request import Found, Request
from requant.search.results import Ranks
from requant.search.search import FEW, Search
from requant.search.text import ByWords, Fused
from requant.store import CollectionRow, CollectionState, Reader, items_among

# Below this length a mean of vectors of length 1 is what rounding has left of nothing.
_NOTHING = 1e-6


class Answer(NamedTuple):
    """The results that were chosen, of each query, and what the first search was and found.

    `groups` are the numbers of the groups that results are in, `vectors` what is stored of them,
    or `rows` where some have none; `ranks` are their places by words and by vector, by key.
    """

    request: Request
    first: list[Found]
    chosen: list[Found]
    groups: list[NDArray[np.intp]] | None = None
    vectors: list[Float32s] | None = None
    rows: list[Float32s | None] | None = None
    ranks: dict[int, Ranks] | None = None


def answered(
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    loaded: Loaded | None,
    question: Question,
    compile_where: Compile,
    operation: Operation,
    memory: Memory,
) -> Answer:
    """Answer with the index `loaded`, or exactly if it is None; `operation` is measured.

    `memory` may have all vectors of the collection.
    """
    request = _narrowed(reader, owner, question)
    if question.is_plain:
        found = Search(
            reader, owner, state, loaded, request, operation=operation, memory=memory
        ).run()
        return Answer(request, found, found)
    if question.words is not None:
        return _by_words(
            reader, owner, state, loaded, question, request, compile_where, operation, memory
        )
    without = np.empty(0, np.int64)
    if question.like is not None:
        query, without = _query_like(reader, owner, question.like)
        request = request._replace(queries=query)
    finder = Finder(
        reader,
        owner,
        state,
        loaded,
        request,
        where=question.where,
        compile_where=compile_where,
        without=without,
        min_score=question.min_score,
        # Of groups only a few of those that are looked at come to be results.
        keep=question.mmr is not None or (question.vectors and question.groups is None),
        operation=operation,
        memory=memory,
    )
    chosen, groups = _chosen(finder, request, question)
    if question.mmr is not None:
        chosen = [_diverse(finder, found, question, owner) for found in chosen]
    vectors = [finder.vectors(keys) for keys, _ in chosen] if question.vectors else None
    return Answer(*finder.first, chosen, groups, vectors)


def _narrowed(reader: Reader, owner: CollectionRow, question: Question) -> Request:
    """Return the request of a question, with the keys of the items that it is asked among."""
    request = question.request
    if question.ids is not None:
        by_id = reader.keys_of(owner.id, question.ids) if question.ids else {}
        request = request._replace(keys=np.array(sorted(by_id.values()), np.int64))
    if question.select is not None:
        keys, floats = items_among(reader, owner, question.select, FEW)
        if request.keys is not None:
            keys, at, _ = np.intersect1d(
                keys, request.keys, assume_unique=True, return_indices=True
            )
            floats = None if floats is None else floats[at]
        request = request._replace(keys=keys, vectors=floats)
    return request


def _chosen(
    finder: Ranker, request: Request, question: Question
) -> tuple[list[Found], list[NDArray[np.intp]] | None]:
    if question.groups is None:
        return finder.run(request.queries, request.k).found, None
    both = grouped(finder, request.queries, request.k, question.groups)
    return [found for found, _ in both], [numbers for _, numbers in both]


def _by_words(
    reader: Reader,
    owner: CollectionRow,
    state: CollectionState,
    loaded: Loaded | None,
    question: Question,
    request: Request,
    compile_where: Compile,
    operation: Operation,
    memory: Memory,
) -> Answer:
    """Answer by the words of documents, and by nearness too if that has a weight."""
    assert question.words is not None
    least = question.min_score if question.weights is None else None
    words = ByWords(
        reader,
        owner,
        state,
        request,
        question.words,
        compile_where=compile_where,
        min_score=least,
        operation=operation,
    )
    finder: ByWords | Fused = words
    if question.weights is not None:
        near = Finder(
            reader,
            owner,
            state,
            loaded,
            request,
            where=question.where,
            compile_where=compile_where,
            without=np.empty(0, np.int64),
            min_score=None,
            keep=False,
            operation=operation,
            memory=memory,
        )
        finder = Fused(words, near, question.weights, question.min_score)
    chosen, groups = _chosen(finder, request, question)
    rows = _stored(reader, chosen[0][0], owner.dim) if question.vectors else None
    ranks = finder.ranks if isinstance(finder, Fused) else None
    return Answer(*finder.first, chosen, groups, None, rows, ranks)


def _stored(reader: Reader, keys: Keys, dim: int) -> list[Float32s | None]:
    """Return the vector of each of `keys`, None for an item without."""
    found, vectors = reader.vectors(np.sort(keys), dim)
    by_key = dict(zip(found.tolist(), vectors, strict=True))
    return [by_key.get(key) for key in keys.tolist()]


def _diverse(finder: Finder, found: Found, question: Question, owner: CollectionRow) -> Found:
    assert question.mmr is not None
    keys, scores = found
    order = diverse(scores, finder.vectors(keys), question.k, question.mmr, owner.metric)
    return keys[order], scores[order]


def _query_like(reader: Reader, owner: CollectionRow, ids: Sequence[str]) -> tuple[Float32s, Keys]:
    """Return what to search for, `(1, d) float32`, and the keys of the items themselves.

    The mean of the stored vectors; for cosine, of these at length 1.

    Raises:
        UnknownIdError: an id is not stored, or has no vector; InputError: they cancel out.
    """
    reader.state_of(owner)
    by_id = reader.keys_of(owner.id, ids)
    unknown = next((text for text in ids if text not in by_id), None)
    if unknown is not None:
        raise UnknownIdError(f"no item {unknown[:80]!r} in collection {owner.name!r}")
    keys = np.array(sorted(by_id.values()), np.int64)
    found, vectors = reader.vectors(keys, owner.dim)
    if len(found) < len(keys):
        there = set(found.tolist())
        name = next(text for text in ids if by_id[text] not in there)
        raise UnknownIdError(f"item {name[:80]!r} of collection {owner.name!r} has no vector")
    if len(keys) == 1:
        return vectors, keys
    directions = normalise(vectors) if owner.metric == "cosine" else vectors
    mean = directions.mean(axis=0, dtype=np.float64, keepdims=True)
    if owner.metric == "cosine" and np.linalg.norm(mean) < _NOTHING:
        raise InputError("the vectors of these items cancel out: their mean has no direction")
    return mean.astype(np.float32), keys
