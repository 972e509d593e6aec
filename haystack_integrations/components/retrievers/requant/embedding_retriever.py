"""The retriever by embedding."""

from __future__ import annotations

from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.document_stores.types import FilterPolicy

from haystack_integrations.document_stores.requant import RequantDocumentStore
from requant.integration.haystack.retrieving import check_retriever, checked_policy, chosen_filters


@component
class RequantEmbeddingRetriever:
    """Retrieves the documents nearest to the embedding of a query.

    >>> store = RequantDocumentStore(":memory:", embedding_dim=2)
    >>> store.write_documents([Document(content="one", embedding=[1.0, 0.0])])
    1
    >>> retriever = RequantEmbeddingRetriever(store)
    >>> [found.content for found in retriever.run([0.9, 0.1])["documents"]]
    ['one']
    """

    def __init__(
        self,
        document_store: RequantDocumentStore,
        *,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
    ) -> None:
        """Retrieve from a store.

        Args:
            document_store: a RequantDocumentStore.
            filters: only these documents are searched.
            top_k: how many documents.
            scale_score: scores from 0 to 1.
            return_embedding: give documents their embeddings.
            filter_policy: whether filters of `run` replace those given here, or are merged.

        Raises:
            TypeError: another document store. FilterError, ValueError: a filter or `top_k`.
        """
        check_retriever(document_store, RequantDocumentStore, filters, top_k)
        self.document_store = document_store
        self.filters = filters
        self.top_k = top_k
        self.scale_score = scale_score
        self.return_embedding = return_embedding
        self.filter_policy = checked_policy(filter_policy)

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments for a pipeline's YAML, the store's with them."""
        return default_to_dict(
            self,
            document_store=self.document_store,
            filters=self.filters,
            top_k=self.top_k,
            scale_score=self.scale_score,
            return_embedding=self.return_embedding,
            filter_policy=self.filter_policy.value,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RequantEmbeddingRetriever:
        """Return the retriever that `to_dict` has described."""
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Return `documents`, best first; what is not given is as the retriever was made.

        Args:
            query_embedding: of the query.
            filters: only these documents are searched, see `filter_policy`.
            top_k: how many documents.
            scale_score: scores from 0 to 1.
            return_embedding: give documents their embeddings.
        """
        chosen = self._chosen(filters, top_k, scale_score, return_embedding)
        return {"documents": self.document_store.embedding_retrieval(query_embedding, *chosen)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Return `documents` as `run` does, from a thread, so that the event loop goes on."""
        chosen = self._chosen(filters, top_k, scale_score, return_embedding)
        found = await self.document_store.embedding_retrieval_async(query_embedding, *chosen)
        return {"documents": found}

    def _chosen(
        self,
        filters: dict[str, Any] | None,
        top_k: int | None,
        scale_score: bool | None,
        return_embedding: bool | None,
    ) -> tuple[dict[str, Any] | None, int, bool, bool]:
        return (
            chosen_filters(self.filter_policy, self.filters, filters),
            self.top_k if top_k is None else top_k,
            self.scale_score if scale_score is None else scale_score,
            self.return_embedding if return_embedding is None else return_embedding,
        )
