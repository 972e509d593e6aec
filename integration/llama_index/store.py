"""The vector store that LlamaIndex is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import fsspec
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

from requant.collection import Collection
from requant.database import Database
from requant.errors import InputError, UnsupportedError
from requant.integration.doors import Door
from requant.integration.filling import filling
from requant.integration.llama_index import existing, places
from requant.integration.llama_index.filters import check_ids, to_where
from requant.integration.llama_index.modes import answer
from requant.integration.llama_index.nodes import REF, to_columns, to_node
from requant.integration.locations import MEMORY, Location
from requant.integration.sqlalchemy.aio.caller import Caller
from requant.scores import Metric
from requant.store import Item


class RequantVectorStore(BasePydanticVectorStore):
    """Nodes of LlamaIndex in a collection of requant, with their texts.

    A collection that is there is used as it is, with the index that it uses now; else one is made
    when the first nodes come, which tell the dimension. Two stores at one place share it.

    >>> store = RequantVectorStore(":memory:", engine="usearch", precision="binary")
    >>> store.collection is None
    True
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    location: str = Field(default=MEMORY, description="Where it is, without a password.")
    collection_name: str = "llama_index"
    metric: str = "cosine"
    engine: str | None = "faiss"
    precision: str = "int8"
    full_text: bool = False
    folder: str | None = None
    must_exist: bool = False
    index: dict[str, Any] = Field(default_factory=dict)
    _door: Door = PrivateAttr()
    _caller: Caller = PrivateAttr()

    def __init__(
        self,
        location: Location = MEMORY,
        *,
        collection_name: str = "llama_index",
        metric: Metric = "cosine",
        engine: str | None = "faiss",
        precision: str = "int8",
        full_text: bool = False,
        folder: str | PathLike[str] | None = None,
        must_exist: bool = False,
        **index: Any,
    ) -> None:
        """Open the store; nothing is made before the first nodes come but the database.

        Args:
            location: a path, a URL, a SQLAlchemy engine or a `requant.Database`.
            collection_name: of the collection that holds the nodes.
            metric: `cosine`, `ip` or `l2`; a collection that is there must have it.
            engine: of its index: "faiss", "usearch", "qdrant", "lancedb", "turbovec" or another;
                None for none, so that every search is exact.
            precision: of its index, as in `Collection.add_index`.
            full_text: search the texts by words, too: for the modes text_search and hybrid.
            folder: where index files are kept, as in `requant.open`; PostgreSQL needs to be told.
            must_exist: raise InputError where the collection is not there, instead of beginning an
                empty one.
            **index: what else `Collection.add_index` takes.

        Raises:
            InputError, StoreError: it cannot be opened so; nothing has been made.
        """
        place = None if folder is None else str(Path(folder).absolute())
        options: dict[str, Any] = {
            "collection_name": collection_name,
            "metric": metric,
            "engine": engine,
            "precision": precision,
            "full_text": full_text,
            "folder": place,
            "must_exist": must_exist,
            "index": index,
        }
        super().__init__(**{"location": places.shown(location), **options})
        name = options.pop("collection_name")
        self._door = Door(location, name=name, fields=(REF,), **options)
        self._caller = Caller(f"the store of collection {collection_name!r}")

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex writes."""
        return "RequantVectorStore"

    @property
    def client(self) -> Database:
        """The database."""
        return self._door.database

    @property
    def collection(self) -> Collection | None:
        """The collection, for all that LlamaIndex does not ask for; None before the first nodes."""
        return self._door.found()

    def __repr__(self) -> str:
        """Show where it is."""
        return f"<RequantVectorStore {self.collection_name!r} at {self.location}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle where it is, not what it holds; raises UnsupportedError for what is in memory."""
        if self.location == MEMORY:
            raise UnsupportedError("a store in memory is not in another process: give it a path")
        return type(self).from_dict, (self.to_dict(),)

    def add(self, nodes: Sequence[BaseNode], **add_kwargs: Any) -> list[str]:
        """Store nodes, replacing those of the same ids; all of them or, on an error, none.

        Returns their ids. Of two nodes with one id the last counts.

        Raises:
            NoEmbeddingError, DimensionError, NonFiniteError, InputError: a node cannot be stored.
            StoreError: the database refused.
        """
        _no_options("add", add_kwargs)
        columns = to_columns(nodes)
        if not columns.ids:
            return []
        self._door.written(
            len(columns.vectors[0]), lambda found: found.upsert(*columns, duplicates="last")
        )
        return columns.ids

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document; one that is not known is no error."""
        _no_options("delete", delete_kwargs)
        if not isinstance(ref_doc_id, str):
            raise InputError(f"ref_doc_id is the id of a document, a text, not {ref_doc_id!r}")
        self._delete({REF: ref_doc_id})

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete nodes by id, by filter, or those that meet both; no id in the list is no node.

        Raises InputError where neither is given: `clear` deletes everything.
        """
        _no_options("delete_nodes", delete_kwargs)
        where = to_where(filters, node_ids)
        if where is None:
            raise InputError("give node_ids or filters that ask for something; clear() deletes all")
        self._delete(where)

    def clear(self) -> None:
        """Delete all nodes; the collection stays, with its dimension and indexes."""
        self._door.asked(lambda found: found.clear(), int)

    def get_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
    ) -> list[BaseNode]:
        """Return nodes: those of `node_ids` that exist, in this order, or that meet the filters.

        Without either all nodes, in the order in which they were first stored.
        """
        where = to_where(filters)
        ids = None if node_ids is None else check_ids("node_ids", node_ids)
        items: list[Item] = self._door.asked(lambda found: found.get(ids, where=where), list)
        return [to_node(item.id, item.document, item.metadata) for item in items]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the nodes that a query asks for, best first, with exact similarities.

        Args:
            query: in the mode default or mmr, or with `full_text=True` text_search or hybrid.
            **kwargs: `recall`, `oversample`, `effort`, `exact`, `index` of `Collection.search`; for
                mmr `mmr_threshold` and `mmr_prefetch_factor` or `mmr_prefetch_k`, too.

        Raises:
            ModeError: another mode; NoEmbeddingError, InputError, FilterError: it cannot be asked.
        """
        private: Any = self.__pydantic_private__  # self._door takes pydantic a detour
        door: Door = private["_door"]
        full_text = self.full_text
        return door.asked(
            lambda found: answer(found, query, kwargs, full_text),
            lambda: answer(None, query, kwargs, full_text),
        )

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Do as `add`; cancelled, it is done whole or not at all, as all that writes here."""
        return await self._caller.run("writes", partial(self.add, nodes, **kwargs))

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Do as `delete`."""
        await self._caller.run("writes", partial(self.delete, ref_doc_id, **delete_kwargs))

    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Do as `delete_nodes`."""
        await self._caller.run(
            "writes", partial(self.delete_nodes, node_ids, filters, **delete_kwargs)
        )

    async def aclear(self) -> None:
        """Do as `clear`."""
        await self._caller.run("writes", self.clear)

    async def aget_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
    ) -> list[BaseNode]:
        """Do as `get_nodes`."""
        return await self._caller.run("reads", partial(self.get_nodes, node_ids, filters))

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Do as `query`."""
        return await self._caller.run("reads", partial(self.query, query, **kwargs))

    def persist(self, persist_path: str, fs: fsspec.AbstractFileSystem | None = None) -> None:
        """Publish the indexes, and write a file that `from_persist_path` opens the store by.

        What is in memory alone is in that file whole; of all else it holds the place.

        Raises InputError where no file can name the place: an engine, a `requant.Database`.
        """
        places.persist(self, persist_path, fs)

    @classmethod
    def from_persist_path(
        cls,
        persist_path: str,
        fs: fsspec.AbstractFileSystem | None = None,
        location: Location | None = None,
    ) -> RequantVectorStore:
        """Open the store that `persist` was told of.

        Args:
            persist_path: the file.
            fs: where it is; default: local files.
            location: where the store is now, if that has changed, or has a password; for a store
                that was in memory, where it is to be, a path at which nothing is.

        Raises InputError, StoreError.
        """
        return places.from_persist_path(cls, persist_path, fs, location)

    @classmethod
    def from_persist_dir(
        cls,
        persist_dir: str,
        namespace: str = "default",
        fs: fsspec.AbstractFileSystem | None = None,
        location: Location | None = None,
    ) -> RequantVectorStore:
        """Open what `StorageContext.persist` has written to a folder, as `from_persist_path`."""
        return cls.from_persist_path(places.persisted(persist_dir, namespace, fs), fs, location)

    @classmethod
    def from_existing(
        cls,
        source: str | PathLike[str],
        location: Location = MEMORY,
        *,
        vector: str | None = None,
        text: str | None = None,
        **constructor: Any,
    ) -> RequantVectorStore:
        """Open a store of LlamaIndex that is there already; nothing is embedded again.

        Args:
            source: a folder of `StorageContext.persist` (SimpleVectorStore or FAISS), or what
                Chroma, Qdrant, LanceDB or FAISS keep, as for `requant import`; it is only read.
            location: where the nodes are stored, all of them or, on an error, none; as in the
                constructor.
            vector: the name of the vectors, of a source that has several (Qdrant, LanceDB).
            text: the column or payload key that holds the texts, of what LlamaIndex did not write.
            **constructor: all else that the constructor takes; metric: the source's, by default.

        Raises:
            SourceError: it cannot be read, or holds no nodes, or one without a vector.
            ExistsError: the collection holds nodes already.

        Warns with IndexWarning where vectors are not what was embedded, cosine is not known to be
        the metric, something was left out, or texts are missing.
        """
        return existing.from_existing(cls, source, location, vector, text, constructor)

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> RequantVectorStore:
        """Open the store that `to_dict` described; `kwargs` come before what that says.

        Raises InputError where it names no place, or one where its collection is not.
        """
        return places.opened(cls, {**data, **kwargs})

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Describe where the store is; once it has its collection, that must exist there.

        What is in memory is not in the description: `persist` keeps it.
        """
        return {**super().to_dict(**kwargs), "must_exist": self.must_exist or self._door.is_made()}

    def close(self) -> None:
        """Give the database back, which the last store that uses it closes; again is harmless."""
        self._door.close()

    def made(self, dim: int) -> Collection:
        """Return the collection, made for vectors of `dim` dimensions if it is not there."""
        return self._door.made(dim)

    def filling(self, dim: int, source: str, kind: str) -> AbstractContextManager[Collection]:
        """Make the collection, to be filled from a source; see `requant.integration.filling`."""
        return filling(self._door, dim, source, kind)

    def _delete(self, where: Mapping[str, Any]) -> None:
        self._door.asked(lambda found: found.delete(where=where), int)


def _no_options(name: str, given: Mapping[str, Any]) -> None:
    if given:
        raise InputError(f"{name} takes no option {sorted(given)[0]!r}")
