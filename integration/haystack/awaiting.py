"""Document stores whose methods are awaited: in few threads, so that the event loop never waits."""

from __future__ import annotations

from typing import Any

from haystack.dataclasses import Document
from haystack.document_stores.types import DuplicatePolicy

from requant.integration.haystack.hybrid import by_words_and_nearness
from requant.integration.haystack.kept import Documents
from requant.integration.haystack.statistics import count_unique, ends, field_types, unique
from requant.integration.sqlalchemy.aio.caller import Caller


class AwaitedStore:
    """The methods of a document store that are awaited, by what the others do."""

    _kept: Documents
    _caller: Caller
    return_embedding: bool

    async def count_documents_async(self) -> int:
        """Return how many documents there are."""
        return await self._caller.run("reads", self._kept.count)

    async def filter_documents_async(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """Return the documents that a filter lets through, as `filter_documents`."""
        return await self._caller.run(
            "reads", lambda: self._kept.matching(filters, self.return_embedding)
        )

    async def write_documents_async(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Store a batch whole, or raise, as `write_documents`."""
        return await self._caller.run("writes", lambda: self._kept.write(documents, policy))

    async def delete_documents_async(self, document_ids: list[str]) -> None:
        """Remove documents, as `delete_documents`."""
        await self._caller.run("writes", lambda: self._kept.delete(document_ids))

    async def delete_all_documents_async(self, recreate_index: bool = False) -> None:
        """Remove all documents, as `delete_all_documents`."""
        await self._caller.run("writes", lambda: self._kept.clear(recreate_index))

    async def delete_by_filter_async(self, filters: dict[str, Any]) -> int:
        """Remove what a filter lets through, as `delete_by_filter`."""
        return await self._caller.run("writes", lambda: self._kept.delete_by(filters))

    async def update_by_filter_async(self, filters: dict[str, Any], meta: dict[str, Any]) -> int:
        """Set metadata of what a filter lets through, as `update_by_filter`."""
        return await self._caller.run("writes", lambda: self._kept.update_by(filters, meta))

    async def count_documents_by_filter_async(self, filters: dict[str, Any]) -> int:
        """Return how many documents a filter lets through."""
        return await self._caller.run("reads", lambda: self._kept.count_by(filters))

    async def count_unique_metadata_by_filter_async(
        self, filters: dict[str, Any], metadata_fields: list[str]
    ) -> dict[str, int]:
        """Return how many values fields have, as `count_unique_metadata_by_filter`."""
        return await self._caller.run(
            "reads", lambda: count_unique(self._kept, filters, metadata_fields)
        )

    async def get_metadata_fields_info_async(self) -> dict[str, dict[str, str]]:
        """Return which fields there are, as `get_metadata_fields_info`."""
        return await self._caller.run("reads", lambda: field_types(self._kept))

    async def get_metadata_field_min_max_async(self, metadata_field: str) -> dict[str, Any]:
        """Return the ends of a field, as `get_metadata_field_min_max`."""
        return await self._caller.run("reads", lambda: ends(self._kept, metadata_field))

    async def get_metadata_field_unique_values_async(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: dict[str, Any] | None = None,
    ) -> tuple[list[Any], int]:
        """Return values of a field, as `get_metadata_field_unique_values`."""
        return await self._caller.run(
            "reads",
            lambda: unique(self._kept, metadata_field, search_term, from_, size, filters),
        )

    async def embedding_retrieval_async(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool | None = False,
    ) -> list[Document]:
        """Return the nearest documents, as `embedding_retrieval`."""
        given = self.return_embedding if return_embedding is None else return_embedding
        return await self._caller.run(
            "reads",
            lambda: self._kept.nearest(query_embedding, filters, top_k, scale_score, given),
        )

    async def hybrid_retrieval_async(
        self,
        query: str,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        return_embedding: bool | None = False,
    ) -> list[Document]:
        """Return documents by words and nearness, as `hybrid_retrieval`."""
        given = self.return_embedding if return_embedding is None else return_embedding
        return await self._caller.run(
            "reads",
            lambda: by_words_and_nearness(
                self._kept, query, query_embedding, filters, top_k, given
            ),
        )
