"""The modes of a query: which there are, and what each asks of the collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from llama_index.core.indices.query.embedding_utils import get_top_k_mmr_embeddings
from llama_index.core.vector_stores.types import (
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from numpy.typing import NDArray

from requant.collection import Collection
from requant.errors import InputError, UnsupportedError
from requant.integration.llama_index.errors import ModeError, NoEmbeddingError
from requant.integration.llama_index.filters import Where, to_where
from requant.integration.llama_index.nodes import to_node
from requant.scores import Metric
from requant.search import Hit, SearchOptions, check_unasked

# As in LlamaIndex's other stores: how many for each result maximal marginal relevance chooses from.
_PREFETCH, _AT_LEAST = 4.0, 20
_SEARCH = ("recall", "oversample", "effort", "exact", "index")
_MMR = ("mmr_threshold", "mmr_prefetch_factor", "mmr_prefetch_k")
_Mode = Callable[[Any, VectorStoreQuery, Any, dict[str, Any]], VectorStoreQueryResult]


def answer(
    collection: Collection | None,
    query: VectorStoreQuery,
    options: Mapping[str, Any],
    full_text: bool,
) -> VectorStoreQueryResult:
    """Return what a query finds, best first; of no collection nothing, where the query is right.

    Raises:
        ModeError: it cannot be asked in this mode.
        NoEmbeddingError, InputError, FilterError: it lacks something, or that has no meaning.
    """
    if not isinstance(query, VectorStoreQuery):
        raise InputError(f"query is a VectorStoreQuery, not {type(query).__name__}")
    mode = query.mode
    if mode not in _MODES:
        there = ", ".join(one.value for one in _MODES)
        hint = _HINTS.get(mode, "")
        raise ModeError(f"query mode {_shown(mode)} is not there: choose {there}{hint}")
    if mode in _OF_WORDS and not (full_text if collection is None else collection.full_text):
        raise ModeError(
            f"query mode {_shown(mode)} searches by words, which are not indexed here: open the "
            "store with full_text=True"
        )
    if query.output_fields or query.embedding_field or query.sparse_top_k is not None:
        raise UnsupportedError(
            "output_fields, embedding_field and sparse_top_k are of other stores: a node comes "
            "whole, has one embedding, and hybrid looks as far into both lists as it must"
        )
    allowed = _ALLOWED[mode]
    if unknown := [name for name in options if name not in allowed]:
        raise InputError(
            f"unknown option {unknown[0]!r} of a query in mode {_shown(mode)}: there are "
            f"{', '.join(allowed) or 'none'}"
        )
    k = query.similarity_top_k
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"similarity_top_k is how many results are wanted, from 1, not {k!r}")
    # An empty list of ids is no restriction to LlamaIndex's retrievers.
    where = to_where(query.filters, query.node_ids or None, query.doc_ids or None)
    return _MODES[mode](collection, query, where, dict(options))


def _default(
    collection: Collection | None, query: VectorStoreQuery, where: Where | None, options: Any
) -> VectorStoreQueryResult:
    vector = _vector(query)
    if collection is None:
        return _nothing(query.similarity_top_k, where, options, vector=vector)
    return _result(collection.search(vector, query.similarity_top_k, where=where, **options))


def _mmr(
    collection: Collection | None, query: VectorStoreQuery, where: Where | None, options: Any
) -> VectorStoreQueryResult:
    vector, threshold, fetched = _vector(query), *_mmr_options(query, options)
    k = query.similarity_top_k
    if collection is None:
        return _nothing(max(k, fetched), where, options, vector=vector)
    hits = collection.search(vector, max(k, fetched), where=where, vectors=True, **options)
    if not hits:
        return _result([])
    scores = _scores(np.asarray([hit.vector for hit in hits], np.float64), collection.metric)
    relevance = [hit.score for hit in hits]

    def similarity(one: int, other: int) -> float:
        return relevance[other] if one < 0 else float(scores[one, other])

    # Places instead of vectors, so that nothing is computed twice.
    places: Any = list(range(len(hits)))
    asked: Any = -1
    similarities, order = get_top_k_mmr_embeddings(
        asked, places, similarity, k, places, mmr_threshold=threshold
    )
    found = _result([hits[place] for place in order])
    found.similarities = [float(one) for one in similarities]
    return found


def _mmr_options(query: VectorStoreQuery, options: dict[str, Any]) -> tuple[float, int]:
    """Take the options of this mode; return the threshold and how many to choose from."""
    threshold, factor, fetched = (options.pop(name, None) for name in _MMR)
    if threshold is None:
        threshold = 0.5 if query.mmr_threshold is None else query.mmr_threshold
    _check("mmr_threshold", threshold, 0, 1)
    if factor is not None and fetched is not None:
        raise InputError("mmr_prefetch_factor and mmr_prefetch_k say the same: give one of them")
    if fetched is not None:
        _check("mmr_prefetch_k", fetched, 1, 1_000_000)
    elif factor is not None:
        _check("mmr_prefetch_factor", factor, 1, 10_000)
        fetched = factor * query.similarity_top_k
    else:
        fetched = max(_AT_LEAST, _PREFETCH * query.similarity_top_k)
    return threshold, int(fetched)


def _check(name: str, value: Any, least: float, most: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most:
        raise InputError(f"{name} must be a number from {least} to {most}, not {value!r}")


def _scores(vectors: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Return how near each vector is to each, `(n, n)`, in the terms of the collection's scores."""
    if metric == "cosine":
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = vectors / np.where(lengths == 0, 1, lengths)
    products: NDArray[np.float64] = vectors @ vectors.T
    if metric != "l2":
        return products
    squares = np.diag(products)
    distances: NDArray[np.float64] = squares[:, None] + squares[None, :] - 2 * products
    return -distances


def _text_search(
    collection: Collection | None, query: VectorStoreQuery, where: Where | None, options: Any
) -> VectorStoreQueryResult:
    words = _words(query)
    if collection is None:
        return _nothing(query.similarity_top_k, where, options, words=words)
    return _result(collection.search_documents(words, query.similarity_top_k, where=where))


def _hybrid(
    collection: Collection | None, query: VectorStoreQuery, where: Where | None, options: Any
) -> VectorStoreQueryResult:
    words, vector, k = _words(query), _vector(query), query.hybrid_top_k
    if query.alpha is not None:
        _check("alpha", query.alpha, 0, 1)
        options["weights"] = (1 - query.alpha, query.alpha)
    k = query.similarity_top_k if k is None else k
    if collection is None:
        return _nothing(k, where, options, vector=vector, words=words)
    return _result(collection.search_hybrid(words, vector, k, where=where, **options))


_MODES: dict[VectorStoreQueryMode, _Mode] = {
    VectorStoreQueryMode.DEFAULT: _default,
    VectorStoreQueryMode.MMR: _mmr,
    VectorStoreQueryMode.TEXT_SEARCH: _text_search,
    VectorStoreQueryMode.HYBRID: _hybrid,
}
_ALLOWED: dict[VectorStoreQueryMode, tuple[str, ...]] = {
    VectorStoreQueryMode.DEFAULT: _SEARCH,
    VectorStoreQueryMode.MMR: (*_SEARCH, *_MMR),
    VectorStoreQueryMode.TEXT_SEARCH: (),
    VectorStoreQueryMode.HYBRID: _SEARCH,
}
_OF_WORDS = (VectorStoreQueryMode.TEXT_SEARCH, VectorStoreQueryMode.HYBRID)
_HINTS = {
    VectorStoreQueryMode.SEMANTIC_HYBRID: "; hybrid, with a reranker as node_postprocessor, is it",
    VectorStoreQueryMode.SPARSE: "; text_search is by words",
}


def _words(query: VectorStoreQuery) -> str:
    if not isinstance(query.query_str, str):
        raise InputError(f"a query in mode {_shown(query.mode)} needs query_str, a text")
    return query.query_str


def _vector(query: VectorStoreQuery) -> list[float]:
    if query.query_embedding is None:
        raise NoEmbeddingError(
            f"a query in mode {_shown(query.mode)} needs query_embedding: ask through an index, or "
            "embed query_str"
        )
    return query.query_embedding


def _result(hits: list[Hit]) -> VectorStoreQueryResult:
    return VectorStoreQueryResult(
        nodes=[to_node(hit.id, hit.document, hit.metadata) for hit in hits],
        similarities=[hit.score for hit in hits],
        ids=[str(hit.id) for hit in hits],
    )


def _nothing(
    k: int, where: Where | None, options: dict[str, Any], *, vector: Any = None, words: Any = None
) -> VectorStoreQueryResult:
    """Return what a collection finds that is not there; raises where one would refuse."""
    weights = options.pop("weights", None)
    asked = cast("SearchOptions", {**options, "where": where})
    check_unasked(k, asked, vector=vector, words=words, weights=weights)
    return _result([])


def _shown(mode: Any) -> str:
    return repr(getattr(mode, "value", mode))
