"""What comes in of texts and documents, checked before anything is embedded, and what goes out."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.documents import Document
from pydantic import BaseModel

from requant.embeddings import check_texts
from requant.errors import InputError
from requant.inputs import check_rows
from requant.quantizers.arrays import Float32s, as_vectors
from requant.search import Hit
from requant.store import Item

Metadata = Mapping[str, Any] | None
_blank = object.__new__
# The places of an instance of pydantic's, to be set without looking them up by name.
_put_fields, _put_given, _put_extra, _put_private = (
    vars(BaseModel)[f"__{name}__"].__set__
    for name in ("dict", "pydantic_fields_set", "pydantic_extra", "pydantic_private")
)


@dataclass(frozen=True)
class Incoming:
    """Rows that can be stored as soon as their texts have vectors."""

    ids: list[Any]
    texts: list[str]
    metadata: list[Metadata]

    @property
    def names(self) -> list[str]:
        """The ids as LangChain has them."""
        return [str(name) for name in self.ids]

    def vectors(self, embedded: Any) -> Float32s:
        """Return what the texts were embedded to, `(n, d) float32`; raises InputError."""
        floats = as_vectors(embedded, name="embeddings")
        if len(floats) != len(self.texts):
            raise InputError(
                f"the embedding gave {len(floats)} vectors for {len(self.texts)} texts: it has to "
                "give one for each"
            )
        return floats


def incoming(
    texts: Iterable[str],
    metadatas: Sequence[Metadata] | None = None,
    ids: Sequence[Any] | None = None,
) -> Incoming:
    """Check texts, and give those without an id one; raises InputError, naming the row."""
    texts = listed("texts", texts)
    check_texts(texts)
    metadata = _column("metadatas", metadatas, len(texts))
    # Of what is stored by an id already, nothing stays: None takes metadata away.
    named = [uuid.uuid4().hex if one is None else one for one in _column("ids", ids, len(texts))]
    if texts:
        check_rows(named, None, texts, metadata, 1, "last")
    return Incoming(named, texts, metadata)


def of_documents(documents: Iterable[Document], ids: Sequence[Any] | None = None) -> Incoming:
    """Check documents; an id of `ids` comes before that of a document. Raises InputError."""
    documents = listed("documents", documents)
    for row, document in enumerate(documents):
        if not isinstance(document, Document):
            raise InputError(
                f"documents row {row} is {type(document).__name__}: give Document objects, or "
                "texts to add_texts"
            )
    given = _column("ids", ids, len(documents))
    named = [
        document.id if one is None else one for document, one in zip(documents, given, strict=True)
    ]
    texts = [document.page_content for document in documents]
    return incoming(texts, [document.metadata for document in documents], named)


def document(found: Hit | Item) -> Document:
    """Return an item as LangChain has it; one without a text has the empty one.

    >>> document(Hit("a", 1.0, "text", {"n": 1}))
    Document(id='a', metadata={'n': 1}, page_content='text')
    """
    # As pydantic makes an instance of what has been validated, without what it does beside: that
    # takes longer than all the rest that is done here for a search.
    made = _blank(Document)
    fields = {
        "id": str(found.id),
        "metadata": found.metadata or {},
        "page_content": found.document or "",
        "type": "Document",
    }
    _put_fields(made, fields)
    _put_given(made, {"id", "metadata", "page_content"})
    _put_extra(made, None)
    _put_private(made, None)
    return made


def _column(name: str, given: Any, n: int) -> list[Any]:
    if given is None:
        return [None] * n
    entries = listed(name, given)
    if len(entries) != n:
        raise InputError(f"{name} has {len(entries)} entries for {n} texts: give one for each")
    return entries


def check_text(query: object) -> None:
    """Raise InputError for a query that is no text."""
    if not isinstance(query, str):
        raise InputError(f"query must be a text, not {type(query).__name__}")


def listed(name: str, given: Any) -> list[Any]:
    """Return what is given as a list; raises InputError for what is one thing, or none."""
    # A document can be iterated, too: over its fields.
    single = isinstance(given, str | bytes | Mapping | Document)
    if single or not isinstance(given, Iterable):
        raise InputError(f"{name} must be a list, not {type(given).__name__}: wrap one in a list")
    return list(given)
