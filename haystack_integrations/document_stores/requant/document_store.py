"""The document store: arguments as Haystack passes them; what is done stands in requant."""

from __future__ import annotations

import os
from typing import Any, Literal

from haystack import Document, default_from_dict, default_to_dict
from haystack.document_stores.types import DuplicatePolicy

from requant import Collection
from requant.integration.doors import Door
from requant.integration.existing import fill, open_existing
from requant.integration.haystack import statistics
from requant.integration.haystack.awaiting import AwaitedStore
from requant.integration.haystack.errors import telling
from requant.integration.haystack.hybrid import by_words_and_nearness
from requant.integration.haystack.kept import Documents
from requant.integration.haystack.moving import complete, fitting
from requant.integration.haystack.scaling import metric_of
from requant.integration.haystack.writing_down import (
    Place,
    opened_at,
    told_index,
    told_place,
    warn_of_new,
)
from requant.integration.importing.source import Import
from requant.integration.sqlalchemy.aio.caller import Caller


class RequantDocumentStore(AwaitedStore):
    """Documents in SQLite or PostgreSQL, searched by a quantized index and scored exactly.

    >>> from haystack import Document
    >>> store = RequantDocumentStore(":memory:", embedding_dim=2)
    >>> store.write_documents([Document(content="one", embedding=[1.0, 0.0])])
    1
    >>> [found.content for found in store.embedding_retrieval([0.9, 0.1])]
    ['one']
    """

    def __init__(
        self,
        location: Place = ":memory:",
        *,
        collection_name: str = "haystack",
        embedding_dim: int = 768,
        similarity: Literal["cosine", "dot_product", "l2"] = "cosine",
        engine: str | None = "faiss",
        precision: str = "int8",
        index: dict[str, Any] | None = None,
        return_embedding: bool = True,
        folder: str | os.PathLike[str] | None = None,
        must_exist: bool = False,
    ) -> None:
        """Open the database; the collection is made with the first documents.

        Args:
            location: a path, a URL, a `Secret` of one, a SQLAlchemy engine or a `requant.Database`;
                stores of one process at one place share it.
            collection_name: of the collection in the database.
            embedding_dim: dimensions of all embeddings; those of a collection that is there.
            similarity: cosine, dot_product or l2; that of a collection that is there.
            engine: of the index: faiss, usearch, qdrant, turbovec...; None searches without one. A
                collection that has an index keeps it.
            precision: of the index: int8, binary, float32...
            index: what else `Collection.add_index` takes: `{"index_type": "hnsw"}`.
            return_embedding: whether documents come with their embeddings, which are float32.
            folder: where index files are kept; of a database by URL, which has no place beside it.
            must_exist: refuse to begin an empty collection where it is not there; a pipeline's YAML
                says so of a store that had its collection when it was written down.

        Raises:
            DocumentStoreError, requant.RequantError: it cannot be opened so.
        """
        self.location = location
        self.collection_name = collection_name
        self.embedding_dim = embedding_dim
        self.similarity = similarity
        self.engine = engine
        self.precision = precision
        self.index = index
        self.return_embedding = return_embedding
        self.folder = folder
        self.must_exist = must_exist
        with telling():
            door = Door(
                opened_at(location), name=collection_name, metric=metric_of(similarity),
                engine=engine, precision=precision, folder=folder, index=index,
                must_exist=must_exist,
            )  # fmt: skip
            try:
                self._kept = Documents(door, embedding_dim)
            except BaseException:
                door.close()
                raise
        self._caller = Caller(f"the document store {collection_name!r}")

    @classmethod
    def from_existing(
        cls,
        source: str | os.PathLike[str],
        location: Place,
        *,
        vector: str | None = None,
        text: str | None = None,
        **constructor: Any,
    ) -> RequantDocumentStore:
        """Bring in what another store has written, and open it; nothing is embedded again.

        Args:
            source: a file of `InMemoryDocumentStore.save_to_disk`, a folder of FAISSDocumentStore,
                Qdrant's, Chroma's or LanceDB's, or what else `requant.import_items` reads.
            location: as of the constructor.
            vector: the name of the vectors, of a source that has several (Qdrant, LanceDB).
            text: the payload key or column of the contents, if it has a name of its own.
            **constructor: its other arguments; dimensions and, if nothing else is said, similarity
                are those of the source.

        Raises:
            DocumentStoreError: it cannot be read, or a document not be stored;
                requant.ExistsError: the collection is there already. Nothing is stored then.

        Warns with IndexWarning where the source has not kept the vectors as they were embedded,
        cosine is not known to be its metric, something was left out, or contents are missing.
        """
        with telling():
            opened = open_existing(source, vector, text)
            try:
                complete(opened)
                store = cls(location, **fitting(opened, constructor))
                try:
                    cls._fill(store, opened)
                except BaseException:
                    store.close()
                    raise
            finally:
                opened.close()
        return store

    def _fill(self, source: Import) -> None:
        fill(self._kept.door, source, None)

    @property
    def collection(self) -> Collection:
        """The collection of requant's, which is made if it is not there."""
        return self._kept.collection

    def close(self) -> None:
        """Give the database back; who uses the store again is told that it is closed."""
        self._caller.threads.shut()
        self._kept.door.close()

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments for a pipeline's YAML.

        Raises DocumentStoreError where the location is an engine, a `requant.Database` or a URL
        with a password: of the latter give a `Secret`.
        """
        door = self._kept.door
        return default_to_dict(
            self,
            location=told_place(self.location),
            collection_name=self.collection_name,
            embedding_dim=self.embedding_dim,
            similarity=self.similarity,
            engine=self.engine,
            precision=self.precision,
            index=told_index(self.index),
            return_embedding=self.return_embedding,
            folder=None if self.folder is None else os.fspath(self.folder),
            must_exist=self.must_exist or (door.is_made() and not door.in_memory),
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RequantDocumentStore:
        """Return the store that `to_dict` has described.

        Raises DocumentStoreError where its collection must exist and is not there. Where it need
        not, IndexWarning tells of the database that is made.
        """
        warn_of_new(data)
        return default_from_dict(cls, data)

    def count_documents(self) -> int:
        """Return how many documents there are."""
        return self._kept.count()

    def filter_documents(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """Return the documents that a filter lets through, in the order of insertion."""
        return self._kept.matching(filters, self.return_embedding)

    def write_documents(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Store a batch, all of it or, on an error, nothing; return how many were written.

        Args:
            documents: with embeddings or without; these are not found by embedding.
            policy: of ids that are stored already: NONE and FAIL raise, SKIP leaves what is there,
                OVERWRITE replaces it. Of an id twice in the batch SKIP keeps the first and
                OVERWRITE the last.

        Raises:
            DuplicateDocumentError: an id is stored already.
            DocumentStoreError, ValueError: a document that cannot be stored, by its row.
        """
        return self._kept.write(documents, policy)

    def delete_documents(self, document_ids: list[str]) -> None:
        """Remove documents; ids that are not stored are no error."""
        self._kept.delete(document_ids)

    def delete_all_documents(self, recreate_index: bool = False) -> None:
        """Remove all documents; the collection and its indexes stay, and are empty.

        With `recreate_index` the indexes are made anew, and fitted to the next documents.
        """
        self._kept.clear(recreate_index)

    def delete_by_filter(self, filters: dict[str, Any]) -> int:
        """Remove the documents that a filter lets through, and return how many there were."""
        return self._kept.delete_by(filters)

    def update_by_filter(self, filters: dict[str, Any], meta: dict[str, Any]) -> int:
        """Set fields of `meta` where a filter lets a document through, and return how many."""
        return self._kept.update_by(filters, meta)

    def count_documents_by_filter(self, filters: dict[str, Any]) -> int:
        """Return how many documents a filter lets through."""
        return self._kept.count_by(filters)

    def count_unique_metadata_by_filter(
        self, filters: dict[str, Any], metadata_fields: list[str]
    ) -> dict[str, int]:
        """Return how many values each field has among the documents that a filter lets through."""
        return statistics.count_unique(self._kept, filters, metadata_fields)

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Return each field's type: boolean, int, float or keyword."""
        return statistics.field_types(self._kept)

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """Return `min` and `max` of a field, both None where its values have no order."""
        return statistics.ends(self._kept, metadata_field)

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: dict[str, Any] | None = None,
    ) -> tuple[list[Any], int]:
        """Return a page of a field's values, in order, and how many values there are.

        `1`, `1.0`, `"1"` and `True` are four values. `search_term` is looked for within them,
        whatever its case.
        """
        return statistics.unique(self._kept, metadata_field, search_term, from_, size, filters)

    def embedding_retrieval(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool | None = False,
    ) -> list[Document]:
        """Return the documents nearest to an embedding, best first, with exact scores.

        Args:
            query_embedding: of the query.
            filters: only these documents are searched; all `top_k` come from among them.
            top_k: how many.
            scale_score: scores from 0 to 1.
            return_embedding: None stands for the store's own.

        Raises:
            FilterError, DocumentStoreError: a filter or an embedding that cannot be understood.
        """
        given = self.return_embedding if return_embedding is None else return_embedding
        return self._kept.nearest(query_embedding, filters, top_k, scale_score, given)

    def hybrid_retrieval(
        self,
        query: str,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        return_embedding: bool | None = False,
    ) -> list[Document]:
        """Return the documents that fit a query by its words and by nearness, best first.

        The documents' words are indexed the first time. Other arguments are those of
        `embedding_retrieval`.
        """
        given = self.return_embedding if return_embedding is None else return_embedding
        return by_words_and_nearness(self._kept, query, query_embedding, filters, top_k, given)
