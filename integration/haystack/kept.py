"""The documents of one store: written, read, counted and searched in one collection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeVar

import sqlalchemy as sa
from haystack.dataclasses import Document
from haystack.document_stores.types import DuplicatePolicy

from requant.collection import Collection
from requant.database import MAX_DIM
from requant.inputs import OnConflict
from requant.integration.doors import Door
from requant.integration.haystack.documents import BESIDE, checked, columns, document
from requant.integration.haystack.errors import DocumentError, TakenIdError, telling
from requant.integration.haystack.filters import read
from requant.integration.haystack.leaves import EVERYTHING, Condition
from requant.integration.haystack.scaling import scaled
from requant.search import Hit
from requant.store import Item

T = TypeVar("T")
Filters = Mapping[str, Any]
_NOBODY: dict[str, Any] = {"$id": {"$in": []}}


class Documents:
    """What a document store does, once its arguments are known."""

    def __init__(self, door: Door, dim: int) -> None:
        """Keep documents behind `door`; raises DocumentError where its vectors are of others."""
        if isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= MAX_DIM:
            raise DocumentError(f"embedding_dim is a whole number from 1 to {MAX_DIM}, not {dim!r}")
        self.door = door
        self.dim = dim
        found = door.found()
        if found is not None:
            self._checked(found)

    @property
    def collection(self) -> Collection:
        """The collection, which is made if it is not there."""
        return self._checked(self.door.made(self.dim))

    def asked(self, work: Callable[[Collection], T], nothing: Callable[[], T]) -> T:
        """Return `work(collection)`, or `nothing()` where there is none; see `Door.asked`."""
        with telling():
            return self.door.asked(lambda found: work(self._checked(found)), nothing)

    # Writing

    def write(self, documents: Any, policy: DuplicatePolicy) -> int:
        """Store a batch whole, or raise; return how many were written."""
        listed = checked(documents)
        if not isinstance(policy, DuplicatePolicy):
            raise DocumentError(f"policy is a DuplicatePolicy, not {policy!r}")
        if not listed:
            return 0
        if policy is DuplicatePolicy.OVERWRITE:
            self._write(list({one.id: one for one in listed}.values()), "replace")
            return len(listed)
        if policy is DuplicatePolicy.SKIP:
            return self._write(_first(listed), "skip")
        return self._write(_unique(listed), "error")

    def _write(self, documents: list[Document], on_conflict: OnConflict) -> int:
        rows = columns(documents, self.dim)
        with telling():
            return self.door.written(
                self.dim,
                lambda found: self._checked(found).upsert(*rows, on_conflict=on_conflict),
            )

    def delete(self, ids: Iterable[str]) -> None:
        """Remove documents; unknown ids are no error."""
        if isinstance(ids, str) or not hasattr(ids, "__iter__"):
            raise DocumentError(f"document_ids is a list of ids, not {type(ids).__name__}")
        listed = list(ids)
        self.asked(lambda found: found.delete(listed), int)

    def clear(self, rebuild: bool) -> None:
        """Remove all documents; indexes stay, and are empty, if need be made anew."""

        def work(found: Collection) -> None:
            found.clear()
            for index in found.indexes if rebuild else ():
                found.rebuild(index.name)

        self.asked(work, lambda: None)

    def delete_by(self, filters: Filters) -> int:
        """Remove what a filter lets through, and return how many documents that were."""
        read(filters)

        def work(found: Collection) -> int:
            condition = _condition(found, filters)
            if condition.exact:
                return found.delete(where=condition.most)
            with self._turn(found) as connection:
                ids = [item.id for item in _met(found, condition, connection)]
                return found.delete(ids, connection=connection)

        return self.asked(work, int)

    def update_by(self, filters: Filters, meta: Mapping[str, Any]) -> int:
        """Set fields of the metadata of what a filter lets through, and return how many."""
        if not isinstance(meta, Mapping) or BESIDE in meta:
            raise DocumentError(f"meta is a dict of fields and values, without {BESIDE!r}")
        read(filters)

        def work(found: Collection) -> int:
            condition = _condition(found, filters)
            if condition.exact and meta and not any(map(_merges, meta.values())):
                return found.update(where=condition.most, metadata=meta)
            with self._turn(found) as connection:
                items = list(_met(found, condition, connection))
                if items:
                    changed = [{**(item.metadata or {}), **meta} for item in items]
                    ids = [item.id for item in items]
                    found.upsert(ids, metadata=changed, connection=connection)
                return len(items)

        return self.asked(work, int)

    # Reading

    def count(self) -> int:
        """Return how many documents there are."""
        return self.asked(len, int)

    def count_by(self, filters: Filters | None) -> int:
        """Return how many documents a filter lets through; all without one."""
        if not asks(filters):
            return self.count()

        def work(found: Collection) -> int:
            condition = _condition(found, filters or {})
            if condition.exact:
                return found.count(condition.most)
            return sum(1 for _ in _met(found, condition))

        return self.asked(work, int)

    def matching(self, filters: Filters | None, embeddings: bool) -> list[Document]:
        """Return what a filter lets through, in the order of insertion."""
        items = self.items(filters, vectors=embeddings)
        return [
            document(one.id, one.document, one.metadata, one.vector if embeddings else None)
            for one in items
        ]

    def items(self, filters: Filters | None, *, vectors: bool = False) -> Iterator[Item]:
        """Yield what a filter lets through, from one snapshot."""
        restricted = asks(filters)

        def work(found: Collection) -> Iterator[Item]:
            if not restricted:
                return _begun(found.iter(vectors=vectors))
            return _begun(_met(found, _condition(found, filters or {}), vectors=vectors))

        items = self.asked(work, lambda: iter(()))
        with telling():
            yield from items

    def nearest(
        self,
        embedding: list[float],
        filters: Filters | None,
        top_k: int,
        scale: bool,
        embeddings: bool,
    ) -> list[Document]:
        """Return the nearest documents, best first."""
        query = query_of(embedding, self.dim)
        restricted = asks(filters)
        if not positive(top_k):
            return []

        def work(found: Collection) -> list[Hit]:
            if not restricted:
                return found.search(query, top_k, vectors=embeddings)
            return _searched(found, _condition(found, filters or {}), query, top_k, embeddings)

        return retrieved(self.asked(work, list), self.door.metric, scale)

    @contextmanager
    def _turn(self, found: Collection) -> Iterator[sa.Connection]:
        """Yield a connection in whose transaction nobody else writes to the collection."""
        with self.door.database.engine.begin() as connection:
            found.delete(where=_NOBODY, connection=connection)  # takes the turn of all who write
            yield connection

    def _checked(self, found: Collection) -> Collection:
        if found.dim != self.dim:
            raise DocumentError(
                f"collection {found.name!r} has {found.dim} dimensions, embedding_dim={self.dim}: "
                f"give embedding_dim={found.dim}, or another collection_name"
            )
        return found


def asks(filters: Filters | None) -> bool:
    """Whether a filter asks for anything; raises FilterError where it cannot be understood."""
    if filters is None or filters == {}:
        return False
    read(filters)
    return True


def narrowed(found: Collection, filters: Filters | None) -> dict[str, Any] | None:
    """Return a filter of requant's that says the same, by ids where no other does."""
    if not filters:
        return None
    condition = _condition(found, filters)
    if condition.exact:
        return condition.most
    return {"$id": {"$in": [item.id for item in _met(found, condition)]}}


def _condition(found: Collection, filters: Filters) -> Condition:
    condition = read(filters)
    if not condition.exact:
        instants = {
            field.name for field in found.fields if field.ready and field.kind == "datetime"
        }
        return read(filters, instants) if instants else condition
    return condition


def query_of(embedding: Any, dim: int) -> Any:
    """Return an embedding to search for; raises DocumentError where it is none."""
    if not hasattr(embedding, "__len__") or isinstance(embedding, str | bytes):
        kind = type(embedding).__name__
        raise DocumentError(f"query_embedding is a list of floats, not {kind}")
    if len(embedding) != dim:
        raise DocumentError(
            f"query_embedding has {len(embedding)} dimensions, the store has embedding_dim={dim}: "
            "embed queries with the model that embedded the documents"
        )
    return embedding


def retrieved(hits: list[Hit], metric: str, scale: bool) -> list[Document]:
    """Return hits as documents with scores, from 0 to 1 if they are to be scaled."""
    return [
        document(hit.id, hit.document, hit.metadata, hit.vector,
                 scaled(hit.score, metric) if scale else hit.score)
        for hit in hits
    ]  # fmt: skip


def _searched(
    found: Collection, condition: Condition, query: Any, k: int, vectors: bool
) -> list[Hit]:
    if condition.exact:
        where = None if condition.most is EVERYTHING else condition.most
        return found.search(query, k, where=where, vectors=vectors)
    ids = [item.id for item in _met(found, condition)]
    if not ids:
        return []
    needed = condition.needs_vector
    hits = found.search(query, k, among=ids, vectors=vectors or needed)
    # Once more: they may have been changed between the two.
    hits = [hit for hit in hits if condition.meets(hit)]
    return hits if vectors or not needed else [hit._replace(vector=None) for hit in hits]


def _met(
    found: Collection,
    condition: Condition,
    connection: sa.Connection | None = None,
    *,
    vectors: bool = False,
) -> Iterator[Item]:
    needed = not condition.exact and condition.needs_vector
    items = found.iter(where=condition.most, vectors=vectors or needed, connection=connection)
    return items if condition.exact else filter(condition.meets, items)


def _begun(items: Iterator[Item]) -> Iterator[Item]:
    """Read the first item now, so that it is told here that there is no collection any more."""
    first = next(items, None)
    return iter(()) if first is None else chain((first,), items)


def _first(documents: list[Document]) -> list[Document]:
    kept: dict[str, Document] = {}
    for one in documents:
        kept.setdefault(one.id, one)
    return list(kept.values())


def _unique(documents: list[Document]) -> list[Document]:
    if len({one.id for one in documents}) < len(documents):
        seen: set[str] = set()
        for row, one in enumerate(documents):
            if one.id in seen:
                raise TakenIdError(
                    f"documents row {row}: id {one.id[:80]!r} occurs twice in one batch; "
                    "policy=DuplicatePolicy.SKIP keeps the first, OVERWRITE the last"
                )
            seen.add(one.id)
    return documents


def _merges(value: Any) -> bool:
    """Whether `Collection.update` would merge or remove where Haystack sets."""
    return value is None or isinstance(value, Mapping)


def positive(top_k: Any) -> bool:
    """Whether anything is asked for; raises DocumentError where `top_k` is no such number."""
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 0:
        raise DocumentError(f"top_k is a whole number from 0 on, not {top_k!r}")
    return top_k > 0
