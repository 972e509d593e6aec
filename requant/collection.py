"""A collection: items with ids, documents, metadata and vectors, and the indexes over them.

This file is long because it is the reference of the public API: two thirds of it are docstrings;
what a method does beyond checking its arguments stands in the rooms below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike

from requant.batches import write_batches, write_slices
from requant.calibration import Calibrated, calibrate, check_wish
from requant.embeddings import ModelInfo, check_texts
from requant.errors import InputError, StoreError, UnsupportedError
from requant.exchange import ExportReport, export_items
from requant.filters import field_path
from requant.indexes import IndexOptions, IndexSet, Progress, Workspace, index_config
from requant.inputs import (
    Duplicates,
    OnConflict,
    Vectors,
    check_choice,
    check_ids,
    check_name,
    check_params,
    check_rows,
)
from requant.migration import (
    Asked,
    Embedder,
    MigrationInfo,
    MigrationPlan,
    MigrationReport,
    Migrator,
    Missing,
    Reembedder,
    ReembedInfo,
    ReembedPlan,
    ReembedReport,
    Wanted,
    attach,
    attached_config,
    plan_migration,
)
from requant.patches import check_patch, check_patches
from requant.quantizers.arrays import Float32s, as_vector, as_vectors
from requant.scores import Metric
from requant.search import Batch, Hit, Searcher, SearchOptions
from requant.store import (
    CollectionRow,
    Contents,
    ContentsWriter,
    Deleting,
    Extent,
    FieldInfo,
    Id,
    Item,
    Lent,
    Origin,
    Part,
    Selection,
    ValueCount,
    catalog,
    check_tokenizer,
)
from requant.tables import TableOptions, upsert_table
from requant.verification import (
    IndexInfo,
    PublishedIndex,
    Report,
    Stats,
    collect_stats,
    published,
    verify,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

NOT_PICKLED = (
    "databases and collections are not pickled: pass the path or URL, and let each process that is "
    "started by spawn or forkserver open it with requant.open"
)


class Collection:
    """Items of one dimension and one metric. Made by `Database.create_collection`.

    Safe to share between threads. Every call sees what was committed before it began, by this
    process or another.
    """

    def __init__(self, workspace: Workspace, row: CollectionRow) -> None:
        """Stand for the collection `row`."""
        self._closed = False
        self._stand_for(workspace, row)

    def _stand_for(self, workspace: Workspace, row: CollectionRow) -> None:
        self._workspace = workspace
        self._store = workspace.store
        self._row = row
        self._contents = Contents(workspace.store, row)
        self._indexes = IndexSet(workspace, row)
        self._writer = ContentsWriter(workspace.store, row, self._indexes.publish_if_due)
        self._searcher = Searcher(workspace.store, row, self._indexes, workspace.room)
        self._migrator = Migrator(workspace, row, self._indexes)
        self._embedder = Embedder(workspace.store, row)

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._row.name

    @property
    def dim(self) -> int:
        """Dimensions of its vectors."""
        return self._row.dim

    @property
    def metric(self) -> Metric:
        """`cosine`, `ip` (inner product) or `l2` (Euclidean distance)."""
        return self._row.metric

    @property
    def closed(self) -> bool:
        """Whether it was closed, by itself or with its database; every other call then fails."""
        return self._closed

    def __reduce__(self) -> NoReturn:
        """Raise UnsupportedError: what is open here is not open in another process."""
        raise UnsupportedError(NOT_PICKLED)

    def __repr__(self) -> str:
        """Show name, dimension and metric."""
        return f"<Collection {self.name!r}: {self.dim} dimensions, {self.metric}>"

    def __len__(self) -> int:
        """Return how many items are stored."""
        return len(self._contents)

    # Writing

    def upsert(
        self,
        ids: Iterable[Id],
        vectors: Vectors | None = None,
        documents: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        on_conflict: OnConflict = "replace",
        duplicates: Duplicates = "error",
        connection: Lent | None = None,
    ) -> int:
        """Store items, replacing what their ids had; all of them or, on an error, none.

        Args:
            ids: text, integers or UUIDs, each once.
            vectors: `(n, d)` real numbers, stored as float32 exactly as given (never normalised);
                lists, NumPy arrays, torch tensors, anything with `__array__`; or a list of vectors
                with None for the items that have none.
            documents: a text or None for each id.
            metadata: a JSON-like dict or None for each id.
            on_conflict: what becomes of an id that is stored already: "replace" its columns,
                "skip" it, or raise an "error".
            duplicates: of an id that occurs twice in the batch: an "error", or the "last" counts.
            connection: an open SQLAlchemy connection to the same database, or a Session; its
                transaction then decides whether the items come to stay, and what its driver raises
                is raised as SQLAlchemy does.

        A column that is not given stays as it was; None in one that is given takes away what the
        item had. `7` and `"7"` are one id, and it comes back as it was first given.

        Returns:
            How many of the ids are new.

        Raises:
            DuplicateIdError, DimensionError, NonFiniteError, InputError: bad input, named with its
                row; nothing has been written.
            StoreError: the database refused.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.upsert(["a", "b"], [[1, 0], [0, 1]], documents=["first", "second"])
        2
        >>> [hit.id for hit in notes.search([0.9, 0.1], k=1)]
        ['a']
        >>> notes.upsert(["b", "c"], [None, [1, 1]], on_conflict="skip")
        1
        """
        check_choice("on_conflict", on_conflict, OnConflict)
        rows = check_rows(ids, vectors, documents, metadata, self.dim, duplicates)
        return self._writer.write(rows, connection, on_conflict)

    def add(
        self,
        ids: Iterable[Id],
        vectors: Vectors | None = None,
        documents: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        duplicates: Duplicates = "error",
        connection: Lent | None = None,
    ) -> int:
        """Store new items, as `upsert(on_conflict="error")` does.

        Raises DuplicateIdError if an id is stored already.
        """
        rows = check_rows(ids, vectors, documents, metadata, self.dim, duplicates)
        return self._writer.write(rows, connection, "error")

    def upsert_texts(
        self,
        ids: Iterable[Id],
        texts: Sequence[str],
        model: Any = None,
        *,
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
        encode: Mapping[str, Any] | None = None,
        on_conflict: OnConflict = "replace",
        duplicates: Duplicates = "error",
        batch: int | None = None,
        progress: Progress | None = None,
        connection: Lent | None = None,
    ) -> int:
        """Embed texts and store them as documents with their vectors, as `upsert` does.

        Args:
            ids: one for each text.
            texts: documents; all are embedded before the first is stored.
            model: a SentenceTransformer, LangChain's `Embeddings`, anything with
                `encode(texts)`, a function from texts to vectors, or the name of a model, see
                docs/models.md; default: the model of the last call on this object, else the one
                that the collection remembers. One with a name is remembered at the first call.
            metadata: a JSON-like dict or None for each text.
            encode: options of the model's `encode`: `prompt_name`, `prompt`, `batch_size`...
            on_conflict: as in `upsert`; what is to be skipped is not embedded.
            duplicates: as in `upsert`.
            batch: embed and store so many texts at a time, each batch in a transaction of its
                own, so that what an error interrupts can go on: `error.stored` texts are stored.
                None: all or none.
            progress: called with (done, total); default: a bar where stderr is a terminal.
            connection: as in `upsert`.

        Raises:
            OtherModelError: the collection's texts were embedded by another model.
            InputError: no model, or one that gives codes; else as `upsert`.
            ModelError: it failed again and again.
        """
        if batch is not None:
            return self._upsert_texts_by(
                batch, ids, texts, model, metadata, progress,
                encode=encode, on_conflict=on_conflict, duplicates=duplicates,
                connection=connection,
            )  # fmt: skip
        check_choice("on_conflict", on_conflict, OnConflict)
        check_texts(texts)
        # Before an hour of embedding; vectors are of no use for what is refused or skipped.
        rows = check_rows(ids, None, texts, metadata, self.dim, duplicates)
        rows = self._writer.to_be_written(rows, connection, on_conflict)
        known = self._embedder.known(model)
        if not len(rows):
            return 0
        given: Any = rows.documents
        vectors, embedded = self._embedder.documents(given, known, encode, progress)
        rows = replace(rows, vectors=vectors)
        added = self._writer.write(rows, connection, on_conflict, embedded)
        self._embedder.used(known)
        return added

    def upsert_many(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        batch: int = 1024,
        on_conflict: OnConflict = "replace",
        duplicates: Duplicates = "error",
        progress: Progress | None = None,
        connection: Lent | None = None,
    ) -> int:
        """Store what an iterator yields, a batch at a time, however much it is.

        Args:
            rows: a dict an item, with `id` and any of `vector`, `document` and `metadata`; what is
                not in it stays as it was, None takes it away.
            batch: how many items are stored at once, each batch in a transaction of its own; less
                where vectors are wide. A batch ends early where the next row has other columns.
            on_conflict: as in `upsert`.
            duplicates: as in `upsert`, of an id that occurs twice in one batch; in a later batch it
                is stored already.
            progress: called with (done, total) rows; total is `done` where nobody knows.
            connection: as in `upsert`; all batches are then in its transaction.

        Returns:
            How many of the ids are new.

        Raises:
            As `upsert` does, of the batch that was refused: the batches before are stored, and
            `error.stored` is how many rows that is. Nothing else is: go on from there, or from the
            beginning with `on_conflict="skip"`. An error of the iterator itself is passed on, after
            the whole batches before it were stored.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.upsert_many({"id": n, "vector": [n, 1]} for n in range(5000))
        5000
        """
        check_choice("on_conflict", on_conflict, OnConflict)
        check_choice("duplicates", duplicates, Duplicates)

        def write(columns: dict[str, Any]) -> int:
            return self.upsert(
                **columns, on_conflict=on_conflict, duplicates=duplicates, connection=connection
            )

        return write_batches(rows, write, batch, self.dim, progress)

    def upsert_table(
        self,
        table: Any,
        *,
        id: str = "id",
        vector: str | None = "vector",
        document: str | None = None,
        metadata: Sequence[str] | None = None,
        on_conflict: OnConflict = "replace",
        duplicates: Duplicates = "error",
        batch: int = 1024,
        progress: Progress | None = None,
        connection: Lent | None = None,
    ) -> int:
        """Store the rows of a table, a batch at a time, however many they are.

        Dates and times are stored as ISO 8601 text, decimals as text, categories as what they stand
        for, lists and structs as JSON; nulls as null. A DataFrame's index is a column if it has a
        name. Types that JSON has not (bytes, durations) are refused by the name of the column, as
        are NaN and infinities, except pandas' NaN, which is its null.

        Args:
            table: a DataFrame of pandas or Polars, pyarrow's Table, RecordBatch or
                RecordBatchReader, anything else with `__arrow_c_stream__`.
            id: the column of ids: text, whole numbers or UUIDs.
            vector: the column of vectors, lists of numbers; a null is an item without. None: the
                table has no vectors, and those that are stored stay.
            document: the column of texts; None: there is none, and those that are stored stay.
            metadata: the columns that become keys of the metadata; None: all that are nothing else;
                `()`: none.
            on_conflict: as in `upsert`.
            duplicates: as in `upsert`; "last" is within one batch, in a later one an id is stored
                already.
            batch: rows a transaction; fewer where vectors are wide.
            progress: called with (done, total) rows; total is `done` where nobody knows.
            connection: as in `upsert`; all batches are then in its transaction.

        Returns:
            How many of the ids are new.

        Raises:
            InputError, DuplicateIdError...: a column or value that cannot be stored, by row and
                column. Of a table that can be read twice (all but readers), nothing has been
                written then; else `error.stored` tells how many rows are stored.
            PackageMissingError: pyarrow is not installed.

        >>> import pyarrow as pa, requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> table = pa.table({"id": ["a"], "vector": [[1.0, 0.0]], "text": ["one"], "year": [2024]})
        >>> notes.upsert_table(table, document="text")
        1
        >>> notes.get(["a"])[0].metadata
        {'year': 2024}
        """
        check_choice("on_conflict", on_conflict, OnConflict)
        check_choice("duplicates", duplicates, Duplicates)
        options = TableOptions(id, vector, document, metadata, duplicates, batch)

        def write(columns: dict[str, Any]) -> int:
            return self.upsert(
                **columns, on_conflict=on_conflict, duplicates=duplicates, connection=connection
            )

        return upsert_table(table, options, self.dim, write, progress)

    def update(
        self,
        ids: Iterable[Id] | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None = None,
        documents: Sequence[str | None] | None = None,
        vectors: Vectors | None = None,
        connection: Lent | None = None,
    ) -> int:
        """Change items that are stored, and return how many; all of them or, on an error, none.

        Args:
            ids: which items, each once.
            where: or those that a filter lets through, see `requant.filters`; not empty.
            metadata: a merge patch (RFC 7396): its values replace those of the same keys, objects
                are merged, None removes a key, everything else stays as it was written. One for all
                items, or with `ids` a list with one for each, where None takes all metadata away.
            documents: with `ids`, a text for each, or None to take it away.
            vectors: with `ids`, as in `upsert`; None takes a vector away.
            connection: as in `upsert`.

        Metadata and documents are changed without any index having to follow.

        Raises:
            UnknownIdError: an id is not stored; nothing has been written.
            InputError, DuplicateIdError, FilterError: bad input, with its row.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.upsert(["a", "b"], [[1, 0], [0, 1]], metadata=[{"n": 1, "old": True}, {"n": 2}])
        2
        >>> notes.update(where={"n": 1}, metadata={"seen": {"by": "me"}, "old": None})
        1
        >>> notes.get(["a"])[0].metadata
        {'n': 1, 'seen': {'by': 'me'}}
        """
        if (ids is None) == (not where):
            raise InputError(
                "give either ids or a non-empty where; of all items, update(collection.ids(), ...)"
            )
        if metadata is None and documents is None and vectors is None:
            raise InputError("give metadata, documents or vectors: there is nothing to change")
        if ids is None:
            if metadata is None or documents is not None or vectors is not None:
                raise InputError("where takes one patch, metadata: documents and vectors go by ids")
            patch, condition = check_patch(metadata), self._searcher.condition(where)
            assert condition is not None
            return self._writer.update_where(condition, patch, connection)
        ids = list(ids) if isinstance(ids, Iterator) else ids
        texts, _ = check_ids(ids)
        patches = None if metadata is None else check_patches(metadata, len(texts))
        if not texts:
            return 0
        rows = check_rows(ids, vectors, documents, None, self.dim)
        return self._writer.update(rows, patches, connection)

    def delete(
        self,
        ids: Iterable[Id] | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        connection: Lent | None = None,
    ) -> int:
        """Remove items by id or by filter, and return how many there were.

        Unknown ids are no error. Raises InputError unless exactly one of `ids` and a non-empty
        `where` is given, FilterError if the filter cannot be understood.
        """
        if (ids is None) == (not where):
            raise InputError("give either ids or a non-empty where; `clear` removes everything")
        texts = check_ids(ids)[0] if ids is not None else []
        condition = self._searcher.condition(where)
        if condition is None and not texts:
            return 0
        if condition is None:
            return self._writer.delete(texts, connection)
        return self._writer.delete_where(condition, connection)

    def clear(self, *, connection: Lent | None = None) -> int:
        """Remove every item, and return how many there were; indexes stay, and are empty.

        Every process that has the collection open goes on with it. `connection` is as in `upsert`.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.upsert(["a", "b"], [[1, 0], [0, 1]])
        2
        >>> notes.clear(), len(notes)
        (2, 0)
        """
        return self._writer.clear(connection)

    # Reading

    def get(
        self,
        ids: Iterable[Id] | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        limit: int | None = None,
        after: Item | Id | None = None,
        vectors: bool = False,
        connection: Lent | None = None,
    ) -> list[Item]:
        """Return the items that exist: of `ids` in the order asked, else in that of insertion.

        Args:
            ids: text, integers or UUIDs; unknown ones are left out.
            where: a filter, see `requant.filters`; with `ids`, both have to hold.
            limit: at most so many.
            after: the last item of the page before, whose place counts even if it has been
                deleted, or the id of an item; not with `ids`, whose order is your own.
            vectors: read them, too; an item without one has `vector=None`.
            connection: as in `upsert`; what its transaction has written is read.

        An item that stands there all the time is on exactly one page, whatever is written between
        two pages; what is replaced keeps its place, what is new comes last.

        Raises:
            InputError, FilterError: bad input; UnknownIdError: the id `after` is not stored.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.upsert(["a", "b", "c"], metadata=[{"year": 1999}, {"year": 2024}, {"year": 2025}])
        3
        >>> page = notes.get(where={"year": {"$gt": 2000}}, limit=1)
        >>> [item.id for item in notes.get(where={"year": {"$gt": 2000}}, limit=1, after=page[-1])]
        ['c']
        """
        if ids is not None and after is not None:
            raise InputError("after goes on in the order of insertion: it cannot be used with ids")
        part = Part(self._searcher.condition(where), limit, after)
        texts = None if ids is None else check_ids(ids)[0]
        return self._contents.get(texts, part, connection, vectors)

    def ids(
        self,
        where: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
        after: Item | Id | None = None,
        connection: Lent | None = None,
    ) -> list[Id]:
        """Return ids in the order of insertion; the arguments are those of `get`.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.upsert(["a", 2, "c"], [[1, 0], [0, 1], [1, 1]])
        3
        >>> notes.ids(after="a")
        [2, 'c']
        """
        part = Part(self._searcher.condition(where), limit, after)
        return self._contents.ids(part, connection)

    def count(
        self,
        where: Mapping[str, Any] | None = None,
        *,
        connection: Lent | None = None,
    ) -> int:
        """Return how many items a filter lets through, counted in the database.

        `where` is a filter, see `requant.filters` (default: all items), `connection` as in `get`.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.upsert(["a", "b"], metadata=[{"lang": "en"}, {"lang": "de"}])
        2
        >>> notes.count({"lang": "de"})
        1
        """
        return self._contents.count(self._searcher.condition(where), connection)

    def distinct(
        self,
        field: str,
        where: Mapping[str, Any] | None = None,
        *,
        limit: int | None = None,
        connection: Lent | None = None,
    ) -> list[ValueCount]:
        """Count the items that have each value of a field, the most frequent first.

        Args:
            field: a field of the metadata, named as in a filter: `"author.name"`, `"v1\\.0"`.
            where: count these items only; a filter, see `requant.filters`.
            limit: the most frequent ones, at most so many; default: all.
            connection: as in `get`.

        An array counts as its elements do, each once an item. `True`, `1` and `"1"` are three
        values, `1` and `1.0` are one (from 10**16 on an integer and a float are two). A null counts
        as `None`, a missing field does not; objects, and arrays in arrays, are left out. Of equally
        frequent values `None` comes first, then False, True, numbers from the least, and strings by
        code point.

        Raises FilterError, InputError.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.upsert(["a", "b"], metadata=[{"tags": ["red", "new"]}, {"tags": "new"}])
        2
        >>> notes.distinct("tags")
        [ValueCount(value='new', count=2), ValueCount(value='red', count=1)]
        """
        condition = self._searcher.condition(where)
        values = self._searcher.values(field)
        return self._contents.distinct(field_path(field), values, condition, limit, connection)

    def extent(
        self,
        field: str,
        where: Mapping[str, Any] | None = None,
        *,
        connection: Lent | None = None,
    ) -> Extent:
        """Return the least and the greatest value of a field, and which types of JSON it has.

        Numbers come before strings, which are ordered by code point; an array counts as its
        elements do. The ends of numbers are exact, of an integer beside a float of any size, too.
        Other types have no order: where nothing else is there, both ends are None. `types` tells
        how many items have a null, boolean, number, string, array or object in the field. The
        arguments are those of `distinct`, and so is what is raised.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.upsert(["a", "b", "c"], metadata=[{"year": 1999}, {"year": 2024}, {"year": None}])
        3
        >>> notes.extent("year")
        Extent(least=1999, greatest=2024, types={'null': 1, 'number': 2})
        """
        searcher = self._searcher
        values, kinds = searcher.values(field), searcher.kinds(field)
        path, condition = field_path(field), searcher.condition(where)
        return self._contents.extent(path, values, kinds, condition, connection)

    def vectors(self, ids: Iterable[Id], *, connection: Lent | None = None) -> Float32s:
        """Return `(n, d) float32` in the order asked, exactly the floats that were given.

        `connection` is as in `get`.

        Raises:
            UnknownIdError: an id is not stored, or has no vector.
        """
        return self._contents.vectors(check_ids(ids)[0], connection)

    def iter(
        self,
        batch: int = 1024,
        *,
        where: Mapping[str, Any] | None = None,
        vectors: bool = True,
        connection: Lent | None = None,
    ) -> Iterator[Item]:
        """Yield every item with its vector, in the order of insertion, from one snapshot.

        Args:
            batch: how many items are read at a time.
            where: a filter on the metadata, see `requant.filters`; default: all items.
            vectors: read them; False saves the time where only the rest is wanted.
            connection: as in `get`. What its transaction writes while the items are read is to be
                seen or not, as the database likes; it is not to end meanwhile.

        An item without a vector has `vector=None`. At the first item: FilterError, InputError.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.upsert(["a", "b"], [[1, 0], [0, 1]], metadata=[{"lang": "en"}, {"lang": "de"}])
        2
        >>> [(item.id, item.vector.tolist()) for item in notes.iter(where={"lang": "de"})]
        [('b', [0.0, 1.0])]
        """
        return self._contents.iterate(self._searcher.condition(where), batch, vectors, connection)

    def search(self, vector: ArrayLike, k: int = 10, **options: Unpack[SearchOptions]) -> list[Hit]:
        """Return the k nearest items, best first, with exact scores.

        Args:
            vector: one query, `(d,)` real numbers.
            k: how many results, or groups; fewer come back only if fewer exist.
            where: a filter on the metadata, see `requant.filters`.
            among: ids, any number; only these items are searched. Unknown ones are no error. Or a
                `sqlalchemy.Select` of one column of ids (text, integers, UUIDs), which is joined in
                the database, in the same snapshot: it holds your tables as well, then.
            min_score: leave out what has a lower score (for l2 minus the squared distance, so
                `-0.25` stands for a distance of 0.5), rounded to float32 as scores are.
            vectors: give each hit its vector, `(d,) float32` as it is stored.
            fields: what to read of each hit beside its id and score, of "document" and "metadata";
                default: both. `("id",)` reads neither, and they are None.
            group_by: a field of the metadata, named as in filters; k groups come back, each the
                items with one value of it, one group after the other, the one with the best item
                first. Items without the field, or with null, are in no group.
            group_size: the best hits of each group, at most.
            mmr: from 1, nearness alone, to 0: choose results that are near to the query and unlike
                each other, by maximal marginal relevance (Carbonell and Goldstein 1998). Each next
                one has the largest `mmr * score(query, item) - (1 - mmr) * max(score(item, other))`
                over the others that were chosen, both scores exact and of the collection's metric.
            fetch_k: how many of the nearest `mmr` and `rerank` choose from, or groups for
                `rerank`; default: 4 for each result, at least 20.
            rerank: a function of the query and a list of hits that returns a score for each hit,
                or, for `search_text`, a model with `predict`, such as sentence-transformers'
                CrossEncoder, that is given pairs of the text and each document. Hits come in
                the order of these scores, which they then have as `score`.
            recall: how much of the k nearest is to be found, from 0 to 1 (1: exact): the effort
                and the candidates that `calibrate` has found to be enough for it.
            oversample: candidates of the first pass for each result; default: by precision.
            effort: what a graph or IVF index may spend (efSearch, nprobe, expansion).
            exact: score every vector instead of asking an index.
            index: the index to ask; default: the one in use.
            connection: an open SQLAlchemy connection, or a session, to the same database. The
                search is made in its transaction, by it alone: what that has written is found and
                what it has deleted is not, though nothing is committed, and nobody else sees any of
                it. Of a session, flush first. An index that this process has not opened yet is not
                asked, nor one that knows more than the transaction sees: the search is exact then.

        In which order these come, and which exclude each other, is told in `requant.search`.

        Raises:
            DimensionError, NonFiniteError, InputError, FilterError: the query is no good.
            UnknownIndexError, EngineMissingError: the index cannot be asked.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> of = [{"doc": "x"}, {"doc": "x"}, {"doc": "y"}]
        >>> notes.upsert(["a", "b", "c"], [[1, 0], [0.9, 0.1], [0.5, 0.5]], metadata=of)
        3
        >>> [hit.id for hit in notes.search([1, 0], k=2, group_by="doc")]
        ['a', 'c']
        >>> [hit.id for hit in notes.search([1, 0], k=2, mmr=0.3)]
        ['a', 'c']
        >>> notes.search([1, 0], among=["b", "c"], min_score=0.9, vectors=True)[0].vector.tolist()
        [0.8999999761581421, 0.10000000149011612]
        >>> notes.search([1, 0], k=1, fields=("id",))[0]
        Hit(id='a', score=1.0, document=None, metadata=None, vector=None, ranks=None)
        """
        query = as_vector(vector, self.dim)
        return self._searcher.hits(self._searcher.question(query, k, options))

    def search_many(
        self,
        queries: ArrayLike,
        k: int = 10,
        *,
        documents: bool = True,
        **options: Unpack[SearchOptions],
    ) -> Batch:
        """Search for many queries `(q, d)` at once; `options` are those of `search`.

        Cheaper than a loop: the engine sees one batch, and candidates that several queries share
        are fetched once. `documents=False` reads neither documents nor metadata, which takes time
        where they are large or the database is far away: there are ids, scores and keys, no hits.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.upsert(["a", "b"], [[1, 0], [0, 1]], documents=["east", "north"])
        2
        >>> found = notes.search_many([[1, 0], [0, 1]], k=1)
        >>> found
        <Batch: 2 queries, 2 results, at most 1 each>
        >>> [hit.document for hits in found for hit in hits]
        ['east', 'north']
        """
        rows = as_vectors(queries, self.dim, "queries")
        return self._searcher.batch(self._searcher.question(rows, k, options), documents)

    def search_text(
        self,
        text: str,
        k: int = 10,
        *,
        model: Any = None,
        encode: Mapping[str, Any] | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[Hit]:
        """Embed one query text and search for it; `options` are those of `search`.

        `model` and `encode` are as in `upsert_texts`; a model that has `encode_query` is asked by
        that, so that its prompt for queries is used. A function for `rerank` is given the text.
        Raises OtherModelError if the collection's texts were embedded by another model.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> lengths = lambda texts: [[len(text), text.count(" ")] for text in texts]
        >>> notes.upsert_texts(["a", "b"], ["one", "i am not one"], model=lengths)
        2
        >>> notes.search_text("word", k=1)[0].document
        'one'
        """
        known = self._embedder.known(model)
        query = as_vector(self._embedder.query(text, known, encode), self.dim)
        asked = self._searcher.question(query, k, options, text=text)
        found = self._searcher.hits(asked._replace(model=known))
        self._embedder.used(known)
        return found

    def search_documents(
        self, text: str, k: int = 10, **options: Unpack[SearchOptions]
    ) -> list[Hit]:
        """Return the k items whose documents have the words of a query, best first.

        Args:
            text: words, any of which may be there; `"a phrase"`, `begin*`, `this AND that`, `-not
                -"that"`. Nothing in it is an error, see docs/text.md.
            k: how many results, or groups.
            **options: those of `search` that are not about vectors or indexes, nor `mmr`. Scores
                are BM25 in SQLite, ts_rank_cd in PostgreSQL; a model for `rerank` reads the text.

        Raises:
            UnsupportedError: the documents are not indexed: `index_text`.
            InputError, FilterError: an option, or more than 500 words.

        >>> import requant
        >>> db = requant.open(":memory:")
        >>> notes = db.create_collection("notes", dim=2, full_text=True)
        >>> notes.upsert(["a", "b"], documents=["A black cat", "Cats are not dogs"])
        2
        >>> [hit.id for hit in notes.search_documents("cat* -dogs")]
        ['a']
        """
        return self._searcher.hits(self._searcher.by_words(text, k, options))

    def search_hybrid(
        self,
        text: str,
        vector: ArrayLike | None = None,
        k: int = 10,
        *,
        model: Any = None,
        encode: Mapping[str, Any] | None = None,
        weights: tuple[float, float] = (1.0, 3.0),
        **options: Unpack[SearchOptions],
    ) -> list[Hit]:
        """Search by words and by meaning, and return the best k of both lists as one.

        An item's score is the sum, over the two lists, of the list's weight divided by 2 plus the
        item's rank there (reciprocal rank fusion); `hit.ranks` tells both ranks, None where the
        item is not among the best of that list.

        Args:
            text: as in `search_documents`; it is embedded, too, unless there is a `vector`.
            vector: `(d,)`, instead of the embedded text.
            k: how many results, or groups.
            model: as in `search_text`.
            encode: as in `search_text`.
            weights: of the words, and of the vector; a list of weight 0 is not asked.
            **options: those of `search`, without `mmr`; `min_score` is of the sum.

        Raises:
            UnsupportedError: the documents are not indexed: `index_text`.
            InputError...: as `search_text` and `search` do.

        >>> import requant
        >>> db = requant.open(":memory:")
        >>> notes = db.create_collection("notes", dim=2, full_text=True)
        >>> notes.upsert(["a", "b"], [[1, 0], [0, 1]], documents=["A black cat", "Dogs"])
        2
        >>> notes.search_hybrid("cat", [0, 1], k=1)[0].ranks
        Ranks(text=1, vector=2)
        """
        known, query = None, vector
        if query is None:
            known = self._embedder.known(model)
            query = self._embedder.query(text, known, encode)
        asked = self._searcher.by_words(text, k, options, as_vector(query, self.dim), weights)
        found = self._searcher.hits(asked._replace(model=known))
        self._embedder.used(known)
        return found

    def more_like(
        self, ids: Id | Iterable[Id], k: int = 10, **options: Unpack[SearchOptions]
    ) -> list[Hit]:
        """Return the items nearest to a stored one, or to several, without these themselves.

        Args:
            ids: one id, or several; of several, the mean of their vectors is searched for, and for
                cosine of their vectors at length 1. An id that is repeated counts once.
            k: how many results.
            **options: those of `search`. A function for `rerank` is given the vector.

        Raises:
            UnknownIdError: an id is not stored, or has no vector.
            InputError: no id, or vectors whose mean has no direction; else as `search`.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.upsert(["a", "b", "c"], [[1, 0], [0, 1], [0.9, 0.1]])
        3
        >>> [hit.id for hit in notes.more_like("a", k=1)]
        ['c']
        """
        several = [ids] if isinstance(ids, str | int | UUID | np.integer) else ids
        texts = list(dict.fromkeys(check_ids(several)[0]))
        if not texts:
            raise InputError("give at least one id: there is nothing to be like")
        nothing = np.zeros((1, self.dim), np.float32)  # until the items are read, in the snapshot
        return self._searcher.hits(self._searcher.question(nothing, k, options, like=texts))

    # Models

    @property
    def model(self) -> ModelInfo | None:
        """The model that embeds its texts, None if none is remembered."""
        return self._embedder.look()

    def set_model(self, model: Any, *, encode: Mapping[str, Any] | None = None) -> None:
        """Say which model has embedded the collection's vectors, whatever is remembered.

        Nothing is embedded and nothing is checked: to move to another one, `reembed`.

        Args:
            model: as in `upsert_texts`, with a name; one that is given by name is not loaded. None
                forgets what is remembered.
            encode: the options that documents are embedded with, of which the prompt is remembered.

        Raises InputError if the model has no name.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.set_model("acme/v3")
        >>> notes.model.name
        'acme/v3'
        """
        self._embedder.set(model, encode)

    def plan_reembed(self, model: Any, *, encode: Mapping[str, Any] | None = None) -> ReembedPlan:
        """Tell what `reembed` would have to embed, how long and how large; embeds a few to see."""
        return Reembedder(self._workspace, self._row).plan(model, encode)

    def reembed(
        self,
        model: Any,
        *,
        encode: Mapping[str, Any] | None = None,
        batch: int = 256,
        queries: Sequence[str] | None = None,
        relevant: Sequence[Iterable[Id]] | None = None,
        k: int = 10,
        old_model: Any = None,
        tolerance: float = 0.02,
        missing: Missing = "refuse",
        switch: bool = True,
        progress: Progress | None = None,
    ) -> ReembedReport:
        """Embed the documents by another model, beside the one in use, and let that one be used.

        Reads and writes go on meanwhile. The new vectors stand in a collection of their own,
        `NAME.reembed`, which has the same items, fields and indexes, follows what is written here,
        and can be searched; at the switch it takes the name, in one transaction, and this object
        stands for it. What the collection was is then `NAME.before`, for `rollback_reembed`, until
        `drop_collection` removes it. Other objects of this collection, here or in other processes,
        raise UnknownCollectionError from then on: ask the database for it again.

        After an interruption the same call goes on where it stopped. If anything is wrong, the
        report says what, and nothing is switched.

        Args:
            model: as in `upsert_texts`, with a name; its vectors may have other dimensions.
            encode: options of its `encode` for documents.
            batch: items embedded and stored at once.
            queries: texts to compare both models by; default: stored documents, by their vectors.
            relevant: for each of `queries` the ids that it should find.
            k: how many results are compared.
            old_model: the model in use, for `queries`; default: the one that is remembered.
            tolerance: how much less of the relevant items may be found.
            missing: "refuse" the switch if items have a vector and no document to make another
                from, or "drop" these vectors.
            switch: False only embeds and compares; the same call with True switches.
            progress: called with (done, total) items.

        Raises:
            ExistsError: it is being moved, or was moved, to yet another model.
            InputError: the model has no name, or it is the one in use; ModelError: it failed.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> old = requant.Model("v1", lambda texts: [[len(text), 1] for text in texts])
        >>> notes.upsert_texts(["a", "b"], ["one", "three"], old)
        2
        >>> new = requant.Model("v2", lambda texts: [[len(text), 1, 0] for text in texts])
        >>> notes.reembed(new).state, notes.dim, notes.model.name
        ('switched', 3, 'v2')
        >>> notes.rollback_reembed()
        'v1'
        """
        asked = Asked(queries, relevant, k)
        wanted = Wanted(encode, batch, asked, old_model, tolerance, missing, switch, progress)
        report, row = Reembedder(self._workspace, self._row).run(model, wanted)
        if row is not None:
            self._become(row)
            self._embedder.used(self._embedder.known(model))
        return report

    @property
    def reembedding(self) -> ReembedInfo | None:
        """The move to another model that stands, before and after the switch; None without one."""
        return Reembedder(self._workspace, self._row).info()

    def rollback_reembed(
        self,
        model: Any = None,
        *,
        encode: Mapping[str, Any] | None = None,
        batch: int = 256,
        progress: Progress | None = None,
    ) -> str | None:
        """Go back to the model that was in use before `reembed`, and return its name.

        What was written since the switch is embedded by it first, so that nothing is lost: `model`
        is that one, needed only where no name is remembered by which it can be loaded. The new
        vectors are `NAME.reembed` again.

        Raises UnknownCollectionError if the collection was not moved, or `NAME.before` is gone.
        """
        row = Reembedder(self._workspace, self._row).rollback(model, encode, batch, progress)
        self._become(row)
        if model is not None:
            self._embedder.used(self._embedder.known(model))
        found = self._embedder.look()
        return None if found is None else found.name

    # Indexes

    @property
    def indexes(self) -> list[IndexInfo]:
        """What indexes there are, in the order in which they were added."""
        return self.stats().indexes

    def add_index(
        self,
        name: str,
        *,
        exist_ok: bool = False,
        overwrite: bool = False,
        progress: Progress | None = None,
        **index: Unpack[IndexOptions],
    ) -> None:
        """Build an index from the stored vectors; the first one is used by searches at once.

        Args:
            name: for `use_index`, `drop_index` and `search(index=...)`.
            engine: "faiss", "usearch", "qdrant", "lancedb", "turbovec" or another backend.
            precision: float32, float16, int8, uint8, int4, int2, int1, binary; or native, the
                engine's own compression of float32.
            index_type: flat (exact over the codes), hnsw or ivf.
            bits: bits a dimension of binary codes, 1 to 4 (default 2).
            rotate: rotate before quantizing (binary: on by default; int8, uint8: off).
            dialect: "sentence-transformers" for its int8, uint8 and ubinary codes,
                "sentence-transformers-5" for those of its releases up to 5.1.
            params: the engine's own parameters, see `requant engines`.
            mmap: let the engine map the index file instead of reading it, where it can.
            url: the server or object storage that keeps the index ("http://localhost:6333",
                "s3://bucket/indexes"); by default it is kept in the database's own folder.
            remote_name: what the index is called there; by default a name is made up.
            exist_ok: be content with an index of that name that is the same in all of this; where
                another process is just building it, wait until it is there.
            overwrite: replace what stands at `url` under `remote_name`, whoever made it.
            progress: called with (done, total) rows while the index is built.

        Raises:
            ExistsError: the name is taken, with `exist_ok` by an index that differs, and in what;
                LocationTakenError: `remote_name` is.
            EngineMissingError, UnsupportedError, InputError: it cannot be built; nothing remains.
        """
        config = index_config(**index)
        add = self._indexes.ensure if exist_ok else self._indexes.add
        add(check_name(name, "index"), config, progress, overwrite=overwrite)

    def attach_index(
        self,
        name: str,
        *,
        engine: str = "faiss",
        location: str | Path,
        ids: Mapping[Id, Id] | Iterable[Id] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> float:
        """Use an index that another program made and keeps as a first pass of this collection.

        It is searched where it stands and never written to; the collection has to hold its vectors
        (`requant import` reads them). What is written to the collection later is found as well, by
        reading it: `migrate` to an index of your own when that becomes much.

        Args:
            name: for `use_index`, `drop_index` and `search(index=...)`.
            engine: "faiss", "usearch", "qdrant" or "lancedb".
            location: the file, folder or URL.
            ids: what it calls the items: a dict from its ids to yours, or yours by its row numbers;
                by default both are the same.
            params: the engine's own parameters.

        Returns:
            recall@10 of stored vectors, as the collection searches now.

        Raises:
            InputError: it does not fit the collection; nothing of it is recorded then.
            ExistsError: the name is taken; EngineError, CorruptIndexError: it cannot be opened.
        """
        check_name(name, "index")
        catalog.check_there(self._store, self._row)
        config = attached_config(engine, str(location), check_params(params), ids is not None)
        return attach(self._workspace, self._row, self._indexes, name, config, ids)

    def migrate(
        self,
        name: str,
        *,
        queries: ArrayLike | None = None,
        k: int = 10,
        tolerance: float = 0.02,
        switch: bool = True,
        progress: Progress | None = None,
        **index: Unpack[IndexOptions],
    ) -> MigrationReport:
        """Build an index beside the one in use, verify it, and let searches use it instead.

        Reads and writes go on meanwhile, and the old index stays for `rollback` until it is
        dropped. After an interruption the same call goes on where it stopped; again, it only
        verifies. If anything is wrong, the report says what, and nothing is switched.

        Args:
            name: of the new index.
            queries: `(q, d)` vectors to compare recall on; default: a sample of the stored ones.
            k: how many results recall is counted over.
            tolerance: how far recall may fall.
            switch: False only builds and verifies, for `shadow`; the same call with True switches.
            progress: called with (done, total) rows while the index is built.
            **index: what the new index is: the arguments of `add_index`.

        Raises:
            ExistsError: an index of that name is there, and another one.
            EngineMissingError, EngineError, UnsupportedError, InputError: it cannot be built.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.upsert(["a", "b", "c"], [[0.0, 1.0], [1.0, 0.0], [0.6, 0.8]])
        3
        >>> report = notes.migrate("small", engine="faiss", precision="int4", k=1)
        >>> report.ok, report.state
        (True, 'switched')
        """
        asked = None if queries is None else as_vectors(queries, self.dim, "queries")
        config = index_config(**index)
        check_name(name, "index")
        return self._migrator.run(name, config, asked, k, tolerance, switch, progress)

    def plan_migration(self, name: str, **index: Unpack[IndexOptions]) -> MigrationPlan:
        """Tell what `migrate` would carry, change and drop, how large and how long; do nothing."""
        config = index_config(**index)
        return plan_migration(self._workspace, self._row, check_name(name, "index"), config)

    def rollback(self) -> str | None:
        """Use the index again that was in use before the last `migrate`, and return its name.

        None stands for the exact search of a collection that had no index.

        Raises UnknownIndexError if nothing was switched, or the old index is gone.
        """
        return self._migrator.rollback()

    def shadow(self, name: str, share: float) -> None:
        """Let an index that `migrate(switch=False)` built answer a share of the searches as well.

        Every process that has the collection open does so within seconds; `migrations` tells how
        many of the results were found by both. `share=0` ends it.
        """
        self._searcher.shadow.tell()
        self._migrator.shadow(name, share)
        self._searcher.shadow.look()

    @property
    def migrations(self) -> list[MigrationInfo]:
        """What has been migrated, the newest first."""
        self._searcher.shadow.tell()
        return self._migrator.every()

    def calibrate(
        self,
        target: float = 0.99,
        *,
        queries: ArrayLike | None = None,
        k: int = 10,
        index: str | None = None,
    ) -> Calibrated:
        """Measure how hard an index has to try to find `target` of the k nearest, and keep it.

        `search(recall=target)` does as much from then on, in every process: how many lists it
        reads, or how far it looks in a graph, and how many candidates are scored exactly. What is
        chosen is the fastest here of what is enough: the lower bound of the recall reaches the
        target, with a confidence of 95 %.

        Args:
            target: a recall, above 0 and below 1.
            queries: `(q, d)` vectors as they will be asked, some hundreds of them. Without them
                stored vectors stand for queries, which are easier to find: the target is then
                missed by real queries (0.99 became 0.97 where texts were asked for by keywords).
            k: how many results recall is counted over.
            index: its name; default: the one in use.

        Returns:
            what was found, and what recall it was measured to have.

        Raises:
            UnsupportedError: the target is not reached.
            InputError: there is no index, or nothing in it; UnknownIndexError.

        >>> import numpy as np, requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=8)
        >>> notes.upsert(range(2000), np.random.default_rng(0).normal(size=(2000, 8)))
        2000
        >>> notes.add_index("main", engine="faiss", precision="int8", index_type="ivf")
        >>> notes.calibrate(0.9).lower >= 0.9
        True
        >>> len(notes.search(np.ones(8), recall=0.9))
        10
        """
        asked = None if queries is None else as_vectors(queries, self.dim, "queries")
        target, k = check_wish(target, k, asked)
        return calibrate(self._workspace, self._row, self._indexes, index, target, asked, k)

    def use_index(self, name: str) -> None:
        """Make an index the one that searches use; raises UnknownIndexError."""
        catalog.check_there(self._store, self._row)
        self._indexes.use(name)

    def drop_index(self, name: str) -> None:
        """Remove an index and its files; raises UnknownIndexError."""
        catalog.check_there(self._store, self._row)
        self._indexes.drop(name)

    def rebuild(self, name: str | None = None, *, progress: Progress | None = None) -> None:
        """Fit and encode an index anew from the stored vectors; default: the one in use."""
        self._indexes.rebuild(name, progress)

    def flush(self) -> None:
        """Bring every index up to date and publish it on disk."""
        self._indexes.flush()

    # Indexed fields

    @property
    def fields(self) -> list[FieldInfo]:
        """Which fields of the metadata are indexed, by name."""
        return self._contents.fields()

    def index_field(
        self, name: str, *, kind: str | None = None, progress: Progress | None = None
    ) -> None:
        """Index a field of the metadata, so that filters on it need not look at every item.

        Answers are the same with and without, but for `kind="datetime"`. A collection that has
        items is gone through a share at a time, while others read and write; filters use the field
        once this returns. After an interruption the same call goes on where it stopped; where the
        field is indexed already, nothing is done.

        Args:
            name: a field as in a filter: "tenant", "author.name".
            kind: "datetime" compares texts that are ISO 8601 dates or times as instants, where the
                value of the filter is one, too: see `requant.filters`.
            progress: called with (done, total) items.

        Raises:
            ExistsError: the field is indexed as another kind.
            FilterError, InputError: no filter can name the field, or too many are indexed.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.index_field("lang")
        >>> notes.fields
        [FieldInfo(name='lang', kind=None, ready=True)]
        """
        self._writer.index_field(name, kind, progress)

    def unindex_field(self, name: str) -> None:
        """Forget that a field was indexed; raises UnknownFieldError."""
        self._writer.unindex_field(name)

    # Full text

    @property
    def full_text(self) -> bool:
        """Whether the documents are indexed by their words; see `index_text`."""
        return self._contents.full_text() is not None

    def index_text(self, tokenizer: str = "unicode", *, progress: Progress | None = None) -> None:
        """Index the words of the documents, for `search_documents` and `search_hybrid`.

        The database keeps it in step from then on, whoever writes. A collection that has items is
        gone through a share at a time, while others read and write; after an interruption the same
        call goes on where it stopped; where it is done already, nothing is.

        Args:
            tokenizer: "unicode" finds words whatever their case and accents; "porter" finds other
                forms of English words as well; "trigram" finds any three characters or more, as for
                Chinese, Japanese and Korean, which put no space between words.
            progress: called with (done, total) items.

        Raises:
            ExistsError: the documents are indexed by another tokenizer: `unindex_text` first.
            InputError: no such tokenizer; UnsupportedError: the database has not what it takes.

        >>> import requant
        >>> notes = requant.open(":memory:").create_collection("notes", dim=2)
        >>> notes.index_text("porter")
        >>> notes.full_text
        True
        """
        self._writer.index_text(check_tokenizer(tokenizer), progress)

    def unindex_text(self) -> None:
        """Forget the words of the documents; raises UnsupportedError if they are not indexed."""
        self._writer.unindex_text()

    def stats(self) -> Stats:
        """Return counts and sizes, and how far each index has followed."""
        return collect_stats(self._workspace, self._row)

    @property
    def origins(self) -> list[Origin]:
        """Where vectors came from, in the order of the imports; see `note_origin`."""
        return catalog.origins(self._store, self._row)

    def note_origin(
        self, source: str, kind: str, fidelity: str, *, into_empty: bool = False
    ) -> bool:
        """Remember where vectors came from; `stats().origins` tells it. See `Origin`.

        With `into_empty` only where no item is stored and no source of the same fidelity noted: of
        several processes that ask at the same time, one is let. Returns whether it was noted.
        """
        origin = Origin(source, kind, fidelity)
        return catalog.note_origin(self._store, self._row, origin, into_empty=into_empty)

    def verify(self, *, deep: bool = False) -> Report:
        """Compare every index with the store: the keys it holds, and every code.

        `deep` also checks each stored vector against its checksum, what is listed of each item in
        indexed fields, and the database file itself.
        Returns a report with `.ok`, `.problems` and `.checked`. An index is opened and caught up
        for it as for a search; a damaged file is replaced then, with an IndexWarning.
        """
        return verify(self._store, self._row, self._indexes, deep=deep)

    def close(self) -> None:
        """Publish what indexes in memory hold, and let go of them; again is harmless.

        The object cannot be used any more; `Database.collection` returns a new one.
        """
        if self._closed:
            return
        self._closed = True
        searcher, indexes = self._searcher, self._indexes
        gone: Any = _Closed(self.name)
        self._workspace = self._store = self._contents = self._writer = gone
        self._indexes = self._searcher = self._migrator = self._embedder = gone
        searcher.shadow.tell()
        indexes.close()

    def export(
        self,
        target: str | PathLike[str],
        *,
        format: str,
        where: Mapping[str, Any] | None = None,
        index_type: str = "flat",
        overwrite: bool = False,
        batch: int = 1024,
        progress: Progress | None = None,
    ) -> ExportReport:
        """Write the items, as they are in one snapshot, to a file, folder or store.

        Args:
            target: parquet: a folder. faiss, usearch: a file. qdrant: `http://host:6333/NAME`, or
                a folder of qdrant-edge. lancedb: a database, a folder or `s3://...`, whose table
                gets the collection's name.
            format: "parquet" keeps every bit; "faiss", "usearch", "qdrant" and "lancedb" are what
                the plain libraries open. `requant.import_items` brings each back.
            where: a filter, see `requant.filters`; default: all items.
            index_type: faiss only: flat or hnsw.
            overwrite: replace an export that stands there, an index file of the same engine, or a
                collection on a Qdrant server, whoever made these two; nothing else is ever
                replaced.
            batch: items in memory at a time.
            progress: called with (done, total) items.

        Returns:
            What was written, with a note on whatever could not be carried as it was.

        Raises:
            ExistsError: something stands at the target.
            requant.integration.export.ExportError: the target cannot be written; what stood there
                is still there.
            PackageMissingError: the format needs a package that is not installed.
            FilterError, InputError, UnknownCollectionError, CorruptDataError, StoreError.
        """
        options = {"index_type": index_type, "overwrite": overwrite, "batch": batch}
        return export_items(self, target, format, where, progress=progress, **options)

    # Within

    def selected(self, where: Mapping[str, Any] | None = None) -> AbstractContextManager[Selection]:
        """Lend what `where` lets through as it is in one snapshot, to be read more than once.

        Raises FilterError, UnknownCollectionError.
        """
        return self._contents.selected(self._searcher.condition(where))

    def deleting(self) -> Deleting:
        """Return the SQL that removes items, for a trigger in the database."""
        return Deleting(self._store.tables, self.name)

    def published(self) -> list[PublishedIndex]:
        """Return what each index is, and what it recorded when it was last published."""
        return published(self._store, self._row)

    def follow(self) -> Iterator[None]:
        """Bring every index up to date and publish what is worth it, a share a step."""
        if not self.closed:
            for _ in self._indexes.follow():
                yield
                if self._closed:  # by another thread, between two steps
                    return

    def let_go(self) -> None:
        """Forget the indexes without publishing them: the collection has been dropped."""
        if not self._closed:
            self._indexes.let_go()

    def _upsert_texts_by(
        self,
        batch: int,
        ids: Iterable[Id],
        texts: Sequence[str],
        model: Any,
        metadata: Sequence[Mapping[str, Any] | None] | None,
        progress: Progress | None,
        **how: Any,
    ) -> int:
        """Embed and store texts a batch at a time; see `upsert_texts`."""
        check_texts(texts)
        every = list(ids)
        # All rows are looked at before the first is embedded.
        check_rows(every, None, texts, metadata, self.dim, how["duplicates"])

        def write(part: slice) -> int:
            more = None if metadata is None else metadata[part]
            quiet = None if progress is None else _nobody
            return self.upsert_texts(
                every[part], texts[part], model, metadata=more, progress=quiet, **how
            )

        return write_slices(len(texts), batch, write, progress)

    def _become(self, row: CollectionRow) -> None:
        """Stand for the collection that has the name from now on."""
        searcher, indexes = self._searcher, self._indexes
        self._stand_for(self._workspace, row)
        searcher.shadow.tell()
        indexes.let_go()


def _nobody(_done: int, _total: int) -> None:
    """Tell nobody: whoever embeds a batch at a time is told after each."""


class _Closed:
    """Stands for what a closed collection worked with."""

    def __init__(self, name: str) -> None:
        self._error = f"collection {name!r} is closed: ask a database that is open for it again"

    def __getattr__(self, name: str) -> Any:
        raise StoreError(self._error)

    def __len__(self) -> int:
        raise StoreError(self._error)
