"""Results in the order of another model's scores, such as a cross-encoder's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from requant.embeddings import as_array
from requant.errors import InputError, NonFiniteError
from requant.search.results import Hit

_LARGEST = float(np.finfo(np.float32).max)


class CrossEncoder(Protocol):
    """What rates pairs of a query and a document, as sentence-transformers' class does."""

    def predict(self, pairs: Any, /) -> Any:
        """Return a score for each `(query, document)`, higher is better."""
        ...


Reranker = Callable[[Any, "list[Hit]"], Any] | CrossEncoder


def check_reranker(rerank: Any, text: str | None) -> None:
    """Raise InputError unless `rerank` can be asked about a query; `text` is None for a vector."""
    if callable(getattr(rerank, "predict", None)):
        if text is None:
            raise InputError(
                "rerank= is given a model with predict, which reads texts: use search_text, or "
                "pass a function of the query and the hits"
            )
    elif not callable(rerank):
        raise InputError(
            f"rerank must be a function of the query and the hits, or have predict(pairs), not "
            f"{type(rerank).__name__}"
        )


def reranked(
    rerank: Any,
    query: Any,
    hits: Sequence[Hit],
    groups: NDArray[np.intp] | None,
    k: int,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return which k of `hits` are best by the reranker, in order, and the scores of these.

    With `groups`, the number of each hit's group, k groups: the one with the best hit first. A tie
    goes to what the search ranked higher.
    """
    if not hits:
        return np.empty(0, np.intp), np.empty(0)
    scores = _scores(rerank, query, hits)
    if groups is None:
        order = np.argsort(-scores, kind="stable")[:k]
        return order, scores[order]
    best = np.full(int(groups.max()) + 1, -np.inf)
    np.maximum.at(best, groups, scores)
    place = np.empty(len(best), np.intp)
    place[np.argsort(-best, kind="stable")] = np.arange(len(best))
    order = np.lexsort((-scores, place[groups]))
    order = order[place[groups[order]] < k]
    return order, scores[order]


def _scores(rerank: Any, query: Any, hits: Sequence[Hit]) -> NDArray[np.float64]:
    predict = getattr(rerank, "predict", None)
    if callable(predict):
        given = predict([(query, _document(hit)) for hit in hits])
    else:
        given = rerank(query, list(hits))
    try:
        scores = np.asarray(as_array(given), np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"rerank gave {type(given).__name__}, not a score a hit") from error
    if scores.shape != (len(hits),):
        raise InputError(
            f"rerank gave an array of shape {scores.shape} for {len(hits)} hits: it has to give "
            "one score for each"
        )
    if not np.isfinite(scores).all():
        row = int(np.argmin(np.isfinite(scores)))
        raise NonFiniteError(f"rerank gave {scores[row]} for the hit {hits[row].id!r}")
    if np.abs(scores).max() > _LARGEST:
        row = int(np.argmax(np.abs(scores)))
        raise InputError(
            f"rerank gave {scores[row]} for the hit {hits[row].id!r}: scores are float32"
        )
    return scores


def _document(hit: Hit) -> str:
    if hit.document is None:
        raise InputError(
            f"rerank reads documents, and item {hit.id!r} has none: leave such items out by "
            'where={"$document": {"$ne": None}}, or pass a function of the query and the hits'
        )
    return hit.document
