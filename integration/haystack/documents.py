"""Documents of Haystack as items of a collection, and back.

Content, embedding and `meta` are the item's document, vector and metadata. What else a document may
have (a blob, a sparse embedding, a score) stands in the metadata under one key.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

from haystack.dataclasses import ByteStream, Document, SparseEmbedding

from requant.errors import CorruptDataError
from requant.integration.haystack.errors import DocumentError
from requant.quantizers.arrays import Float32s

BESIDE = "_haystack"
_BLANK = vars(Document(id="blank"))


class Columns(NamedTuple):
    """A batch as `Collection.upsert` takes it."""

    ids: list[str]
    vectors: list[Any]
    documents: list[str | None]
    metadata: list[dict[str, Any]]


def checked(documents: Any) -> list[Document]:
    """Return documents as a list; raises DocumentError where they are none."""
    if isinstance(documents, str | bytes | Document) or not hasattr(documents, "__iter__"):
        raise DocumentError(
            f"documents must be a list of Document objects, not {type(documents).__name__}"
        )
    listed = list(documents)
    for row, one in enumerate(listed):
        if not isinstance(one, Document):
            raise DocumentError(
                f"documents row {row} is a {type(one).__name__}: give objects of "
                "haystack.Document, such as Document.from_dict makes"
            )
    return listed


def columns(documents: Sequence[Document], dim: int) -> Columns:
    """Return documents as columns; raises DocumentError, with the row of what cannot be stored."""
    vectors = [one.embedding for one in documents]
    for row, vector in enumerate(vectors):
        if vector is not None and _length(vector) != dim:
            raise DocumentError(
                f"documents row {row} ({documents[row].id[:80]!r}): its embedding has "
                f"{_length(vector)} dimensions, the store has embedding_dim={dim}: embed all "
                "documents and queries with one model, or give each model a store of its own"
            )
    return Columns(
        [one.id for one in documents],
        vectors,
        [one.content for one in documents],
        [_metadata(row, one) for row, one in enumerate(documents)],
    )


def document(
    id: object,
    content: str | None,
    metadata: dict[str, Any] | None,
    vector: Float32s | None = None,
    score: float | None = None,
) -> Document:
    """Return an item as a document; `metadata` becomes its own."""
    meta = {} if metadata is None else metadata
    whole = _BLANK | {
        "id": str(id),
        "content": content,
        "meta": meta,
        "score": score,
        "embedding": None if vector is None else vector.tolist(),
    }
    if BESIDE in meta:
        kept = meta.pop(BESIDE)
        try:
            whole["blob"] = _blob(kept.get("blob"))
            whole["sparse_embedding"] = _sparse(kept.get("sparse_embedding"))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptDataError(
                f"id {str(id)[:80]!r}: what its metadata has under {BESIDE!r} was not written by a "
                "RequantDocumentStore: rename this key in what wrote it"
            ) from error
        whole["score"] = kept.get("score") if score is None else score
    # Its constructor looks at each attribute several times; of what was stored all is known.
    made = object.__new__(Document)
    vars(made).update(whole)
    return made


def _length(vector: Any) -> int:
    return len(vector) if hasattr(vector, "__len__") else 0


def _metadata(row: int, one: Document) -> dict[str, Any]:
    meta: Any = one.meta
    if not isinstance(meta, dict):
        raise DocumentError(f"documents row {row}: meta is a {type(meta).__name__}, not a dict")
    if BESIDE in meta:
        raise DocumentError(
            f"documents row {row} ({one.id[:80]!r}): the key {BESIDE!r} of meta is kept for what "
            "stands beside meta; rename it"
        )
    try:
        kept = beside(one)
    except (AttributeError, TypeError, ValueError) as error:
        raise DocumentError(f"documents row {row} ({one.id[:80]!r}): {error}") from error
    return {**meta, BESIDE: kept} if kept else meta


def beside(one: Document) -> dict[str, Any]:
    """Return what a document has beside its metadata, as it stands in that under one key."""
    kept: dict[str, Any] = {}
    if one.blob is not None:
        data = b64encode(one.blob.data).decode()
        kept["blob"] = {"data": data, "meta": one.blob.meta, "mime_type": one.blob.mime_type}
    if one.sparse_embedding is not None:
        kept["sparse_embedding"] = one.sparse_embedding.to_dict()
    if one.score is not None:
        kept["score"] = float(one.score)
    return kept


def _blob(kept: dict[str, Any] | None) -> ByteStream | None:
    if kept is None:
        return None
    return ByteStream(b64decode(kept["data"]), kept["meta"], kept["mime_type"])


def _sparse(kept: dict[str, Any] | None) -> SparseEmbedding | None:
    return None if kept is None else SparseEmbedding.from_dict(kept)
