"""What all methods of the store stand on: its collection, its embedding, and threads to work in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from requant.errors import DimensionError, InputError
from requant.integration.doors import Door
from requant.integration.sqlalchemy.aio.caller import Caller
from requant.integration.sqlalchemy.aio.calls import Call

T = TypeVar("T")
Filter = Mapping[str, Any] | None


class Opened(VectorStore):
    """A store whose database is open; what it does stands in the classes above."""

    def __init__(self, embedding: Embeddings, door: Door) -> None:
        """Work with a door, whose database is open, and with what embeds."""
        self._embedding = embedding
        self._door = door
        self._caller = Caller(f"the store {door.name!r}")

    @property
    def embeddings(self) -> Embeddings:
        """What embeds texts and queries."""
        return self._embedding

    def _other_width(self, error: DimensionError) -> DimensionError:
        return DimensionError(
            f"{error}: another embedding than {type(self._embedding).__name__} has made what is in "
            f"collection {self._door.name!r}; open the store with that one, or choose another "
            "collection_name"
        )


async def in_thread(work: Callable[[Call], T]) -> T:
    """Return what `work(call)` returns in a thread, before there is a store to work for."""
    return await Caller("a store of LangChain").call("builds", None, work)


def checked(embedding: Embeddings | None) -> Embeddings:
    """Return an embedding; raises InputError where it is none."""
    able = all(callable(getattr(embedding, n, None)) for n in ("embed_documents", "embed_query"))
    if able and not isinstance(embedding, type) and embedding is not None:
        return embedding
    given = "a class" if isinstance(embedding, type) else type(embedding).__name__
    raise InputError(
        f"embedding must be an object with embed_documents and embed_query, not {given}: give an "
        "Embeddings of LangChain, as HuggingFaceEmbeddings(...) or OpenAIEmbeddings(...)"
    )
