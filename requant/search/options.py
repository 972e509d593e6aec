"""What a search may be asked beside its query, checked once and whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypedDict, cast

import numpy as np
import sqlalchemy as sa

from requant.embeddings import Model
from requant.errors import InputError
from requant.filters import Filter, check_select, field_path, named_ids, parse
from requant.inputs import check_ids
from requant.quantizers.arrays import Float32s, as_vectors
from requant.search.choosing import Groups, Reranker, check_reranker
from requant.search.request import MAX_K, Request
from requant.search.text import Weights, check_weights
from requant.store import FIELDS, Id, Lent, TextQuery, read_query

MAX_EFFORT = 1_000_000
MAX_GROUPS = 10_000  # a filter names the groups that are full
# What mmr and rerank choose from, at least and for each result.
_REACH, _REACH_SHARE = 20, 4
_LARGEST = float(np.finfo(np.float32).max)


class SearchOptions(TypedDict, total=False):
    """How a collection is searched: keywords of `Collection.search`, which explains them."""

    where: Mapping[str, Any] | None
    among: Iterable[Id] | sa.SelectBase | None
    min_score: float | None
    vectors: bool
    fields: Iterable[str] | None
    group_by: str | None
    group_size: int
    mmr: float | None
    fetch_k: int | None
    rerank: Reranker | None
    recall: float | None
    oversample: float | None
    effort: int | None
    exact: bool
    index: str | None
    connection: Lent | None


class Question(NamedTuple):
    """All that is asked: `request` is what is searched for first, the rest is done with results."""

    request: Request
    k: int
    exact: bool
    index_name: str | None
    where: Mapping[str, Any] | None = None
    ids: list[str] | None = None
    select: sa.SelectBase | None = None  # of ids, which are not read but joined
    like: list[str] | None = None
    min_score: float | None = None
    vectors: bool = False
    groups: Groups | None = None
    mmr: float | None = None
    rerank: Any = None
    text: str | None = None
    connection: Lent | None = None  # in whose transaction it is answered
    words: TextQuery | None = None  # by which documents are found
    fields: frozenset[str] = FIELDS  # of an item, which hits are given beside its id
    weights: Weights | None = None  # of words and of nearness, where it is by both
    model: Model | None = None  # that has embedded the query, and has to be the collection's

    @property
    def most(self) -> int:
        """How many results a query can have."""
        return self.k * self.groups.size if self.groups is not None else self.k

    @property
    def is_plain(self) -> bool:
        """Whether what the request finds is the answer, as it is."""
        chosen = self.groups is not None or self.mmr is not None or self.min_score is not None
        beside = self.like is not None or self.words is not None
        return not (chosen or self.vectors or beside)

    @property
    def is_of_words(self) -> bool:
        """Whether the words of documents alone tell what is found, and nothing else is read."""
        asked = self.request
        lets_all = asked.condition is None and self.ids is None and self.select is None
        chosen = self.groups is not None or self.rerank is not None
        beside = self.weights is not None or self.vectors or self.connection is not None
        return self.words is not None and lets_all and not (chosen or beside)


Compile = Callable[[Mapping[str, Any]], "Filter | None"]


def question(
    compile_where: Compile,
    queries: Float32s,
    k: int,
    like: list[str] | None,
    text: str | None,
    /,
    *,
    where: Mapping[str, Any] | None = None,
    among: Iterable[Id] | sa.SelectBase | None = None,
    min_score: float | None = None,
    vectors: bool = False,
    fields: Iterable[str] | None = None,
    group_by: str | None = None,
    group_size: int = 1,
    mmr: float | None = None,
    fetch_k: int | None = None,
    rerank: Reranker | None = None,
    recall: float | None = None,
    oversample: float | None = None,
    effort: int | None = None,
    exact: bool = False,
    index: str | None = None,
    connection: Lent | None = None,
) -> Question:
    """Return the question that `SearchOptions` make of a query; raises InputError, FilterError.

    `like` are ids whose vectors are the query, `text` what the query was made from.
    """
    k = _whole("k", k, 1, MAX_K)
    if oversample is not None:
        _number("oversample", oversample, 1, MAX_K)
    if effort is not None:
        _whole("effort", effort, 1, MAX_EFFORT)
    if recall is not None:
        _number("recall", recall, 0, 1)
        if oversample is not None or effort is not None:
            raise InputError("recall= chooses oversample= and effort= by itself: leave them out")
        exact, recall = exact or recall == 1, None if exact or recall == 1 else float(recall)
    ids, condition = None, None
    if where is not None:
        ids, where = named_ids(where)
        condition = compile_where(where)
    select = None if among is None else check_select(among)
    if among is not None and select is None:
        ids = _both(ids, check_ids(cast("Iterable[Id]", among))[0])
    if vectors is not False and not isinstance(vectors, bool | np.bool_):
        raise InputError(f"vectors must be True or False, not {vectors!r}")
    if rerank is not None:
        check_reranker(rerank, text)
    named = FIELDS if fields is None else _fields(fields)
    if (
        rerank is not None
        and "document" not in named
        and callable(getattr(rerank, "predict", None))
    ):
        raise InputError('rerank= is given a model that reads documents: add "document" to fields=')
    groups = _groups(group_by, group_size, k)
    return Question(
        Request(
            queries,
            _reach(k, groups, mmr, fetch_k, rerank),
            oversample,
            effort,
            condition,
            recall=recall,
        ),
        k,
        exact,
        index,
        where,
        ids,
        select,
        like,
        None if min_score is None else _least(min_score),
        bool(vectors),
        groups,
        mmr,
        rerank,
        text,
        connection,
        fields=named,
    )


def check_by_words(options: SearchOptions, *, vector: bool) -> None:
    """Refuse what a search by words cannot be asked; raises InputError."""
    if options.get("mmr") is not None:
        raise InputError("mmr= weighs scores of vectors: leave it out of a search by words")
    for name in ("recall", "oversample", "effort", "exact", "index"):
        if not vector and options.get(name):
            raise InputError(f"{name}= is about an index of vectors, and no vector is searched for")


def _fields(names: Iterable[str]) -> frozenset[str]:
    """Return which fields of items are to be read; id and score are told in any case."""
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise InputError(f'fields= takes a tuple of names, such as ("id",), not {names!r:.80}')
    asked, known = list(names), ("id", "score", *sorted(FIELDS))
    unknown = [name for name in asked if name not in known]
    if "vector" in unknown:
        raise InputError("fields= does not name vectors: vectors=True gives hits theirs")
    if unknown:
        raise InputError(f"fields= names {unknown[0]!r:.80}: a hit has {', '.join(known)}")
    return FIELDS.intersection(asked)


def _both(ids: list[str] | None, others: list[str]) -> list[str]:
    if ids is None:
        return others
    among = set(others)
    return [text for text in ids if text in among]


def _groups(field: str | None, size: int, k: int) -> Groups | None:
    if field is None:
        if size != 1:
            raise InputError("group_size= goes with group_by=, which names the field to group by")
        return None
    path = field_path(field)
    _whole("k with group_by", k, 1, MAX_GROUPS)
    return Groups(field, path, _whole("group_size", size, 1, MAX_K // k))


def _reach(
    k: int, groups: Groups | None, mmr: float | None, fetch_k: int | None, rerank: Any
) -> int:
    """Return how many results, or groups, there are to be chosen from."""
    if mmr is None and rerank is None:
        if fetch_k is not None:
            raise InputError("fetch_k= goes with mmr= or rerank=: it is how many they choose from")
        return k
    if mmr is not None:
        _number("mmr", mmr, 0, 1)
        if groups is not None:
            raise InputError("mmr= and group_by= each choose other results: pass one of them")
        if rerank is not None:
            raise InputError("mmr= and rerank= each put results in another order: pass one of them")
    most = MAX_K if groups is None else min(MAX_GROUPS, MAX_K // groups.size)
    if fetch_k is None:
        return min(max(_REACH, _REACH_SHARE * k), most)
    return _whole("fetch_k", fetch_k, k, most)


def _least(score: float) -> float:
    """Return a least score as scores are: rounded to float32."""
    if isinstance(score, float | np.floating) and not math.isfinite(score):
        raise InputError(f"min_score must be a finite number, not {score!r}")
    _number("min_score", score, -math.inf, math.inf)
    return float(np.float32(min(max(float(score), -_LARGEST), _LARGEST)))


def _whole(name: str, value: Any, least: int, most: int) -> int:
    if type(value) is int and least <= value <= most:
        return value  # as nearly always
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        raise InputError(f"{name} must be an integer from {least} to {most}, not {value!r}")
    return int(value)


def _number(name: str, value: Any, least: float, most: float) -> None:
    number = isinstance(value, int | float | np.integer | np.floating)
    if not number or isinstance(value, bool) or not least <= value <= most:
        raise InputError(f"{name} must be a number from {least} to {most}, not {value!r}")


def check_unasked(
    k: int, options: SearchOptions, *, vector: Any = None, words: Any = None, weights: Any = None
) -> None:
    """Refuse what no collection can be asked, where none is there yet, so of any dimension.

    Args:
        k: how many results.
        options: those of `Collection.search`.
        vector: `(d,)`, or None for a search by words alone.
        words: the text of `search_documents` and `search_hybrid`; None for a search by vector.
        weights: those of `search_hybrid`.

    Raises InputError, NonFiniteError, FilterError.

    >>> check_unasked(10, {"where": {"lang": "en"}}, vector=[1.0, 0.0])
    """
    query = np.zeros((1, 1), np.float32)
    if vector is not None:
        query = as_vectors(vector if np.ndim(vector) == 2 else [vector], name="vector")
    if words is not None:
        read_query(words)
        check_by_words(options, vector=vector is not None)
    if weights is not None:
        check_weights(weights)
    question(_parsed, query, k, None, words, **options)


def _parsed(where: Mapping[str, Any] | None) -> Filter | None:
    if where:
        parse(where)
    # Of a question that nobody answers, only whether it can be read counts.
    return None
