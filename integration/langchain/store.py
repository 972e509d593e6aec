"""The vector store."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

from langchain_core.embeddings import Embeddings
from typing_extensions import Self

from requant.collection import Collection
from requant.errors import UnknownCollectionError
from requant.integration.doors import Door
from requant.integration.existing import fill, metric_of, open_existing
from requant.integration.importing.run import Progress
from requant.integration.importing.source import Import
from requant.integration.langchain.opened import checked, in_thread
from requant.integration.langchain.rows import incoming
from requant.integration.langchain.searching import Searching
from requant.integration.langchain.writing import Writing
from requant.integration.locations import Location
from requant.integration.sqlalchemy.aio.calls import Call
from requant.scores import Metric


class RequantVectorStore(Writing, Searching):
    """A vector store of LangChain: texts in a collection of requant, searched by their meaning.

    Safe to share between threads and tasks; asynchronous methods never hold up the event loop.
    Scores are those of requant: higher is better, whatever the metric. A search takes the keywords
    of `Collection.search` as well: `oversample`, `exact`, `group_by`, `rerank`, `min_score`...
    """

    def __init__(
        self,
        embedding: Embeddings,
        location: Location = ":memory:",
        *,
        collection_name: str = "langchain",
        metric: Metric = "cosine",
        engine: str | None = "faiss",
        precision: str = "int8",
        full_text: bool = False,
        folder: str | os.PathLike[str] | None = None,
        must_exist: bool = False,
        **index: Any,
    ) -> None:
        """Open a store, and make it with the first text that is added if it is not there.

        Args:
            embedding: what embeds texts and queries.
            location: a path, `":memory:"`, a URL, a SQLAlchemy engine or a `requant.Database`.
                Stores on one path or URL share it within a process.
            collection_name: of the collection in that database.
            metric: `cosine`, `ip` or `l2`; a collection that is there must have it.
            engine: of the index, if the collection has none yet; None: exact search alone.
            precision: of that index.
            full_text: search texts by their words, too: `mode="text"` and `mode="hybrid"`.
            folder: where index files are kept; to be given for PostgreSQL by URL.
            must_exist: raise InputError where the collection is not there, instead of beginning an
                empty one.
            **index: what else `Collection.add_index` takes.

        Raises:
            InputError, EngineMissingError, StoreError: it cannot be opened so; nothing was made.
        """
        checked(embedding)
        door = Door(
            location,
            name=collection_name,
            metric=metric,
            engine=engine,
            precision=precision,
            full_text=full_text,
            folder=folder,
            index=index,
            must_exist=must_exist,
        )
        super().__init__(embedding, door)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **constructor: Any,
    ) -> Self:
        """Return a store with these texts added; see the constructor and `add_texts`."""
        rows = incoming(texts, metadatas, ids)
        store = cls(embedding, **constructor)
        try:
            cls._add(store, rows)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **constructor: Any,
    ) -> Self:
        """Return a store with these texts added, as `from_texts` does."""
        rows = incoming(texts, metadatas, ids)
        # Cancelled meanwhile, a store that nobody holds gives its database back.
        store = await in_thread(lambda _: cls(embedding, **constructor))
        try:
            await cls._aadd(store, rows)
        except BaseException:
            await store.aclose()
            raise
        return store

    @classmethod
    def from_existing(
        cls,
        source: str | os.PathLike[str],
        embedding: Embeddings,
        *,
        vector: str | None = None,
        text: str | None = None,
        **constructor: Any,
    ) -> Self:
        """Return a store with everything that another one holds; nothing is embedded again.

        Args:
            source: a folder of `FAISS.save_local`, a Qdrant collection (the folder of its local
                mode, or `http://host:6333/collections/NAME`), a LanceDB table, a Chroma folder; or
                whatever else `requant import` reads with its texts. It is only read.
            embedding: the one that has embedded what is there.
            vector: the name of the vectors, of a source that has several (Qdrant, LanceDB).
            text: the payload key or column of the texts, if it has a name of its own.
            **constructor: see there; `metric` is by default as the source compares, or cosine where
                it does not tell (LanceDB without an index: LangChain compares by l2 there), or by
                another one.

        Raises:
            ExistsError: there is something in the collection; SourceError: the source cannot be
                read, or a row of it not be stored. Nothing is stored then.
            StoreError: a process fills the collection, or did until it was killed: the text says
                how to begin again.

        Warns with IndexWarning where the source has not kept the vectors as they were embedded,
        cosine is not known to be its metric, something was left out, or texts are missing.
        """
        checked(embedding)
        return cls._existing(open_existing(source, vector, text), embedding, constructor, None)

    @classmethod
    async def afrom_existing(
        cls,
        source: str | os.PathLike[str],
        embedding: Embeddings,
        *,
        vector: str | None = None,
        text: str | None = None,
        **constructor: Any,
    ) -> Self:
        """Return a store with everything that another one holds, as `from_existing` does."""
        checked(embedding)
        return await in_thread(
            lambda call: cls._existing(
                open_existing(source, vector, text), embedding, constructor, _watching(call)
            )
        )

    @classmethod
    def _existing(
        cls, opened: Import, embedding: Embeddings, constructor: Any, progress: Progress | None
    ) -> Self:
        try:
            if "metric" not in constructor:
                notes = opened.described()["notes"]
                constructor["metric"] = metric_of(opened.name, opened.metric, notes)
            store = cls(embedding, **constructor)
            try:
                cls._fill(store, opened, progress)
            except BaseException:
                store.close()
                raise
        finally:
            opened.close()
        return store

    @property
    def collection(self) -> Collection:
        """The collection of requant; raises UnknownCollectionError before a text was added."""
        found = self._door.found()
        if found is None:
            raise UnknownCollectionError(
                f"collection {self._door.name!r} is not there yet: it is made when the first text "
                "is added, whose vector tells the dimension"
            )
        return found

    def close(self) -> None:
        """Give the database back: the last store of a path or URL closes it; again is harmless."""
        self._door.close()

    async def aclose(self) -> None:
        """Give the database back, as `close` does."""
        await self._caller.run("writes", self.close)

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    async def __aenter__(self) -> Self:
        """Return the store itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.aclose()

    def __repr__(self) -> str:
        """Show where the collection is."""
        return f"<RequantVectorStore {self._door.name!r} in {self._door.database!r}>"

    def _fill(self, opened: Import, progress: Progress | None) -> None:
        fill(self._door, opened, progress)


def _watching(call: Call) -> Progress:
    """Return what ends an import whose task was cancelled."""
    watch = call.watch(None)
    return lambda done, total: watch(done, total or done)
