"""What a search of LangChain asks of the collection: by vector, by words, or by both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, cast, get_args

from requant.collection import Collection
from requant.errors import InputError, UnsupportedError
from requant.search import Hit, SearchOptions, check_unasked

Mode = Literal["vector", "text", "hybrid"]
_MODES = get_args(Mode)
# A filter is `filter`, mmr a method of its own; a transaction is for who uses the collection, and
# documents are what LangChain searches for.
_SHARED = frozenset(SearchOptions.__optional_keys__) - {"where", "vectors", "fields", "connection"}
_KNOWN: dict[Any, frozenset[str]] = {
    "vector": _SHARED,
    "text": _SHARED,
    "hybrid": _SHARED | {"weights"},
}


class Asked(NamedTuple):
    """A request of LangChain's, checked as far as it can be without a collection."""

    k: int
    where: Mapping[str, Any] | None
    mode: Mode
    options: dict[str, Any]

    @property
    def by_vector(self) -> bool:
        """Whether a text has to be embedded for it."""
        return self.mode != "text"

    def answer(self, vector: Any, text: str | None, collection: Collection) -> list[Hit]:
        """Return the hits, best first; `vector` and `text` are what the mode needs of the two."""
        if self.mode == "vector":
            return collection.search(vector, self.k, where=self.where, **self.options)
        words: Any = text
        if self.mode == "text":
            return collection.search_documents(words, self.k, where=self.where, **self.options)
        return collection.search_hybrid(words, vector, self.k, where=self.where, **self.options)

    def answer_nothing(self, vector: Any, text: str | None, full_text: bool) -> list[Hit]:
        """Return the hits of a collection that is not there; raises where one would refuse."""
        options = {**self.options, "where": self.where}
        weights = options.pop("weights", None)
        words = None if self.mode == "vector" else text
        if words is not None and not full_text:
            raise UnsupportedError(
                f"a {self.mode} search is by words, which are not indexed here: open the store "
                "with full_text=True"
            )
        if self.by_vector and vector is None:
            raise InputError("vector is None: the embedding has to give a list of numbers")
        check_unasked(
            self.k, cast("SearchOptions", options), vector=vector, words=words, weights=weights
        )
        return []


def asked(k: int, filter: Any, options: dict[str, Any], *, text: bool = True) -> Asked:
    """Return a request.

    Args:
        k: how many documents.
        filter: a dictionary, see `requant.filters`.
        options: the other keywords of the search.
        text: whether there is a text to search for, or a vector alone.

    Raises:
        InputError, TypeError: a keyword that no such search has, a filter that is none.
    """
    mode: Any = options.pop("mode", "vector") if options else "vector"
    if mode != "vector":
        if mode not in _MODES:
            raise InputError(f"mode must be one of {', '.join(_MODES)}, not {mode!r}")
        if not text:
            raise InputError(f"a {mode} search needs a text, not a vector alone")
    if filter is not None and not isinstance(filter, Mapping):
        raise InputError(
            "filter must be a dictionary, as {'lang': 'en'} or {'year': {'$gte': 2000}}, not "
            f"{type(filter).__name__}: see requant.filters"
        )
    if options and not options.keys() <= _KNOWN[mode]:
        unknown = min(options.keys() - _KNOWN[mode])
        raise TypeError(
            f"a {mode} search has no option {unknown!r}; it has filter, mode, "
            f"{', '.join(sorted(_KNOWN[mode]))}"
        )
    return Asked(k, filter, mode, options)


def asked_diverse(
    k: int, fetch_k: int, lambda_mult: float, filter: Any, options: dict[str, Any]
) -> Asked:
    """Return a request for k of the `fetch_k` nearest that are unlike each other."""
    if options.get("mode", "vector") != "vector":
        raise InputError("maximal marginal relevance is that of vectors: leave out mode=")
    # Who wants more than are to choose from gets them.
    reach = max(k, fetch_k) if isinstance(k, int) and isinstance(fetch_k, int) else fetch_k
    return asked(k, filter, {**options, "mmr": lambda_mult, "fetch_k": reach}, text=False)


def refuse_words(options: Mapping[str, Any]) -> None:
    """Refuse what has no relevance from 0 to 1."""
    if options.get("mode", "vector") != "vector":
        raise InputError(
            f"scores of a {options['mode']} search have no greatest value, so no relevance from 0 "
            "to 1: leave out mode=, or use similarity_search_with_score"
        )
