"""The retriever by words and by embedding."""

from __future__ import annotations

from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.document_stores.types import FilterPolicy

from haystack_integrations.document_stores.requant import RequantDocumentStore
from requant.integration.haystack.retrieving import check_retriever, checked_policy, chosen_filters


@component
class RequantHybridRetriever:
    """Retrieves the documents that fit a query both by its words and by its embedding.

    The words of the documents are indexed when the first query comes.
    """

    def __init__(
        self,
        document_store: RequantDocumentStore,
        *,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        return_embedding: bool = False,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
    ) -> None:
        """Retrieve from a store; the arguments are those of RequantEmbeddingRetriever."""
        check_retriever(document_store, RequantDocumentStore, filters, top_k)
        self.document_store = document_store
        self.filters = filters
        self.top_k = top_k
        self.return_embedding = return_embedding
        self.filter_policy = checked_policy(filter_policy)

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments for a pipeline's YAML, the store's with them."""
        return default_to_dict(
            self,
            document_store=self.document_store,
            filters=self.filters,
            top_k=self.top_k,
            return_embedding=self.return_embedding,
            filter_policy=self.filter_policy.value,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RequantHybridRetriever:
        """Return the retriever that `to_dict` has described."""
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Return `documents`, best first; what is not given is as the retriever was made.

        Args:
            query: its words.
            query_embedding: its embedding.
            filters: only these documents are searched, see `filter_policy`.
            top_k: how many documents.
            return_embedding: give documents their embeddings.
        """
        chosen = self._chosen(filters, top_k, return_embedding)
        found = self.document_store.hybrid_retrieval(query, query_embedding, *chosen)
        return {"documents": found}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Return `documents` as `run` does, from a thread, so that the event loop goes on."""
        chosen = self._chosen(filters, top_k, return_embedding)
        found = await self.document_store.hybrid_retrieval_async(query, query_embedding, *chosen)
        return {"documents": found}

    def _chosen(
        self, filters: dict[str, Any] | None, top_k: int | None, return_embedding: bool | None
    ) -> tuple[dict[str, Any] | None, int, bool]:
        return (
            chosen_filters(self.filter_policy, self.filters, filters),
            self.top_k if top_k is None else top_k,
            self.return_embedding if return_embedding is None else return_embedding,
        )
