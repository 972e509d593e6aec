"""Adding and removing documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langchain_core.documents import Document

from requant.errors import DimensionError, InputError
from requant.integration.langchain.opened import Filter, Opened
from requant.integration.langchain.rows import Incoming, incoming, listed, of_documents
from requant.search import check_unasked


class Writing(Opened):
    """The writing half of the store; unlike others of LangChain, it refuses unknown keywords."""

    def add_texts(  # type: ignore[override]
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        ids: list[str] | None = None,
        *,
        batch_size: int | None = None,
    ) -> list[str]:
        """Embed texts and store them, all or, on an error, none; return their ids.

        Args:
            texts: at least all that are to be whole or absent together: this is one transaction.
            metadatas: a JSON-like dict for each text.
            ids: one for each text; one that is stored already is replaced, None is made up. Of one
                that occurs twice, the last text counts.
            batch_size: what `langchain_core.indexing` passes; it changes nothing.

        Raises:
            InputError: bad input, which is a ValueError, with its row; DimensionError: another
                embedding has made what is stored; StoreError: the database refused.
        """
        return self._add(incoming(texts, metadatas, ids))

    async def aadd_texts(  # type: ignore[override]
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        ids: list[str] | None = None,
        *,
        batch_size: int | None = None,
    ) -> list[str]:
        """Embed texts and store them, as `add_texts` does."""
        return await self._aadd(incoming(texts, metadatas, ids))

    def add_documents(  # type: ignore[override]
        self,
        documents: list[Document],
        ids: list[str] | None = None,
        *,
        batch_size: int | None = None,
    ) -> list[str]:
        """Embed documents and store them, as `add_texts` does; `ids` come before their own."""
        return self._add(of_documents(documents, ids))

    async def aadd_documents(  # type: ignore[override]
        self,
        documents: list[Document],
        ids: list[str] | None = None,
        *,
        batch_size: int | None = None,
    ) -> list[str]:
        """Embed documents and store them, as `add_documents` does."""
        return await self._aadd(of_documents(documents, ids))

    def delete(self, ids: list[str] | None = None, *, filter: Filter = None) -> bool:  # type: ignore[override]
        """Remove documents: by id, where unknown ones are no error, or by a filter; else all.

        Raises InputError for both, or for a filter that would let everything pass.
        """
        if ids is not None:
            ids = listed("ids", ids)
        if ids is None and filter is None:
            self._door.asked(lambda found: found.clear(), int)
        elif ids is not None and filter is not None:
            raise InputError("give either ids or a filter, not both")
        elif ids is None and not filter:
            raise InputError("the filter lets everything pass: delete() removes all")
        else:
            check_unasked(1, {"where": filter, "among": ids})
            self._door.asked(lambda found: found.delete(ids, where=filter), int)
        return True

    async def adelete(self, ids: list[str] | None = None, *, filter: Filter = None) -> bool:  # type: ignore[override]
        """Remove documents, as `delete` does."""
        return await self._caller.run("writes", lambda: self.delete(ids, filter=filter))

    def _add(self, rows: Incoming) -> list[str]:
        if rows.texts:
            self._write(rows, self._embedding.embed_documents(rows.texts))
        return rows.names

    async def _aadd(self, rows: Incoming) -> list[str]:
        if rows.texts:
            embedded = await self._embedding.aembed_documents(rows.texts)
            await self._caller.run("writes", lambda: self._write(rows, embedded))
        return rows.names

    def _write(self, rows: Incoming, embedded: Any) -> None:
        vectors = rows.vectors(embedded)
        # All but the dimension has been checked: what is refused leaves no collection behind.
        columns = rows.ids, vectors, rows.texts, rows.metadata
        try:
            self._door.written(
                vectors.shape[1], lambda found: found.upsert(*columns, duplicates="last")
            )
        except DimensionError as error:
            raise self._other_width(error) from error
