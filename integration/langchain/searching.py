"""Reading and searching documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from langchain_core.documents import Document

from requant.errors import DimensionError
from requant.integration.langchain.asking import Asked, asked, asked_diverse, refuse_words
from requant.integration.langchain.opened import Filter, Opened
from requant.integration.langchain.relevance import relevance_of
from requant.integration.langchain.rows import check_text, document, listed
from requant.search import Hit
from requant.store import Item


class Searching(Opened):
    """The reading half of the store."""

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents that exist, in the order of the ids."""
        wanted = listed("ids", ids)
        items: list[Item] = self._door.asked(lambda found: found.get(wanted), list)
        return [*map(document, items)]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return documents, as `get_by_ids` does."""
        return await self._caller.run("reads", lambda: self.get_by_ids(ids))

    def similarity_search(
        self, query: str, k: int = 4, filter: Filter = None, **options: Any
    ) -> list[Document]:
        """Return the k documents nearest to a text, best first.

        Args:
            query: the text; it is embedded.
            k: how many; fewer come back only if fewer exist.
            filter: a dictionary, see `requant.filters`: `{"lang": "en", "year": {"$gte": 2000}}`.
            **options: `mode`: "vector", or with `full_text` "text" and "hybrid"; and those of
                `Collection.search`.

        Raises:
            InputError, FilterError, DimensionError: ValueErrors; TypeError: an unknown option.
        """
        return [*map(document, self._hits(query, asked(k, filter, options)))]

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: Filter = None, **options: Any
    ) -> list[Document]:
        """Return documents, as `similarity_search` does."""
        return [*map(document, await self._ahits(query, asked(k, filter, options)))]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Return documents and scores: higher is better, of l2 the negated squared distance."""
        hits = self._hits(query, asked(k, filter, options))
        return [(document(hit), hit.score) for hit in hits]

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Return documents and scores, as `similarity_search_with_score` does."""
        hits = await self._ahits(query, asked(k, filter, options))
        return [(document(hit), hit.score) for hit in hits]

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter = None, **options: Any
    ) -> list[Document]:
        """Return the k documents nearest to a vector, as `similarity_search` does."""
        request = asked(k, filter, options, text=False)
        return [*map(document, self._search(request, embedding))]

    async def asimilarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter = None, **options: Any
    ) -> list[Document]:
        """Return the k documents nearest to a vector, as `similarity_search` does."""
        return await self._caller.run(
            "reads", lambda: self.similarity_search_by_vector(embedding, k, filter, **options)
        )

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Return the k documents nearest to a vector, and their scores."""
        request = asked(k, filter, options, text=False)
        return [(document(hit), hit.score) for hit in self._search(request, embedding)]

    async def asimilarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter = None, **options: Any
    ) -> list[tuple[Document, float]]:
        """Return the k documents nearest to a vector, and their scores."""
        search = self.similarity_search_with_score_by_vector
        return await self._caller.run("reads", lambda: search(embedding, k, filter, **options))

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **options: Any,
    ) -> list[Document]:
        """Return k documents that are near to a text and unlike each other, by stored vectors.

        Args:
            query: the text.
            k: how many documents.
            fetch_k: how many of the nearest they are chosen from; at least k are.
            lambda_mult: from 0, as unlike as can be, to 1, nearness alone.
            filter: as in `similarity_search`.
            **options: those of `Collection.search`.
        """
        request = asked_diverse(k, fetch_k, lambda_mult, filter, options)
        return [*map(document, self._hits(query, request))]

    async def amax_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **options: Any,
    ) -> list[Document]:
        """Return documents, as `max_marginal_relevance_search` does."""
        request = asked_diverse(k, fetch_k, lambda_mult, filter, options)
        return [*map(document, await self._ahits(query, request))]

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **options: Any,
    ) -> list[Document]:
        """Return documents for a vector, as `max_marginal_relevance_search` does."""
        request = asked_diverse(k, fetch_k, lambda_mult, filter, options)
        return [*map(document, self._search(request, embedding))]

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **options: Any,
    ) -> list[Document]:
        """Return documents for a vector, as `max_marginal_relevance_search` does."""
        given = (embedding, k, fetch_k, lambda_mult, filter)
        search = self.max_marginal_relevance_search_by_vector
        return await self._caller.run("reads", lambda: search(*given, **options))

    def _hits(self, query: str, request: Asked) -> list[Hit]:
        check_text(query)
        vector = self._embedding.embed_query(query) if request.by_vector else None
        return self._search(request, vector, query)

    async def _ahits(self, query: str, request: Asked) -> list[Hit]:
        check_text(query)
        vector = await self._embedding.aembed_query(query) if request.by_vector else None
        return await self._caller.run("reads", lambda: self._search(request, vector, query))

    def _search(self, request: Asked, vector: Any, text: str | None = None) -> list[Hit]:
        door = self._door
        try:
            return door.asked(
                partial(request.answer, vector, text),
                partial(request.answer_nothing, vector, text, door.full_text),
            )
        except DimensionError as error:
            raise self._other_width(error) from error

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return relevance_of(self._door.metric)

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        refuse_words(options)
        return super()._similarity_search_with_relevance_scores(query, k, **options)

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        refuse_words(options)
        return await super()._asimilarity_search_with_relevance_scores(query, k, **options)
