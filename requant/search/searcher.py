"""Searcher a collection: requests checked, answered in one snapshot, and now and then twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from requant.embeddings import check_same
from requant.errors import CorruptIndexError, EngineError, InputError
from requant.filters import Columns, Filter, read_where, select_kinds, select_values
from requant.indexes import IndexSet, Loaded, Memory, Room
from requant.metrics import Operation, logger
from requant.quantizers.arrays import Float32s
from requant.search.answer import Answer, answered
from requant.search.choosing import reranked
from requant.search.finder import best_of
from requant.search.options import Question, SearchOptions, check_by_words, question
from requant.search.results import Batch, Hit, batch_of, hits
from requant.search.shadow import Shadow
from requant.search.text import check_weights
from requant.store import (
    FIELDS,
    AtOnce,
    CollectionRow,
    CollectionState,
    Id,
    Noted,
    RawItem,
    Reader,
    Store,
    id_of,
    key_range,
    ledger,
    models,
    read_query,
    settled,
)

T = TypeVar("T")
_Names = dict[int, Id]
_Items = dict[int, RawItem] | None

# Each time another write has to come between a snapshot and the answer of an index.
_TRIES = 8


class Searcher:
    """What `Collection` does to answer."""

    def __init__(self, store: Store, owner: CollectionRow, indexes: IndexSet, room: Room) -> None:
        """Answer for `owner` with its indexes; of `room` there is some for its vectors."""
        self._store = store
        self._owner = owner
        self._indexes = indexes
        self._memory = Memory(room)
        self._words = AtOnce(store, owner)
        self._falls_back = False  # as the last search did
        self.shadow: Shadow = Shadow(store, owner, indexes)

    def question(
        self,
        queries: Float32s,
        k: int,
        options: SearchOptions,
        *,
        like: list[str] | None = None,
        text: str | None = None,
    ) -> Question:
        """Return what is asked, with the items `like` instead of queries, or for a text.

        Raises InputError, FilterError; TypeError for an option that no search has.
        """
        if not options.keys() <= SearchOptions.__optional_keys__:
            unknown = min(options.keys() - SearchOptions.__optional_keys__)
            known = ", ".join(sorted(SearchOptions.__optional_keys__))
            raise TypeError(f"a search has no option {unknown!r}; it has {known}")
        return question(self.condition, queries, k, like, text, **options)

    def by_words(
        self,
        text: str,
        k: int,
        options: SearchOptions,
        query: Float32s | None = None,
        weights: Any = None,
    ) -> Question:
        """Return what is asked of documents by the words in `text`, and of vectors by `query`.

        Raises as `question` does.
        """
        words = read_query(text)
        check_by_words(options, vector=query is not None)
        if query is None:
            nothing = np.zeros((1, self._owner.dim), np.float32)
            asked = self.question(nothing, k, options, text=text)
            return asked._replace(exact=True, words=words)
        asked = self.question(query, k, options, text=text)
        return asked._replace(words=words, weights=check_weights(weights))

    def condition(self, where: Mapping[str, Any] | None) -> Filter | None:
        """Read a filter; None for one that lets everything pass. Raises FilterError."""
        if where is None or where == {}:
            return None
        return read_where(where, self._columns, self._store.sql.name)

    @cached_property
    def _columns(self) -> Columns:
        items, vectors = self._store.tables.items, self._store.tables.vectors
        return Columns(
            items.c.metadata,
            {"id": items.c.ext_id, "document": items.c.document},
            # Also where the vectors are joined.
            sa.exists().where(vectors.c.key == items.c.key).correlate_except(vectors),
        )

    def values(self, field: str) -> sa.Select[Any]:
        """Return the statement that tells each value of a field; raises FilterError."""
        items = self._store.tables.items
        return select_values(field, items.c.key, items.c.metadata, self._store.sql.name)

    def kinds(self, field: str) -> sa.Select[Any]:
        """Return the statement that tells what type stands in a field; raises FilterError."""
        items = self._store.tables.items
        return select_kinds(field, items.c.key, items.c.metadata, self._store.sql.name)

    def hits(self, question: Question) -> list[Hit]:
        """Answer one query with its items."""

        def join(reader: Reader, answer: Answer) -> tuple[Answer, list[Hit]]:
            if question.model is not None:
                # In the snapshot that was searched: somebody may just have named another.
                stored = models.seen_by(reader, self._owner)
                if stored is not None:
                    check_same(stored, question.model, self._owner.name, writing=False)
            found = answer.chosen[0]
            items = reader.raw_items(found[0].tolist(), question.fields)
            vectors = answer.vectors[0] if answer.vectors else answer.rows
            return answer, hits(found, items, vectors, answer.ranks)

        with self._operation() as operation:
            told = self._told_at_once(question, operation) if question.is_of_words else None
            if told is not None:
                return told
            answer, found = self._answer(question, join, operation)
            if question.rerank is None:
                return found
            # The snapshot is over: no connection is held while a slow model runs.
            begun = perf_counter()
            order, scores = self._reranked(question, answer, 0, found)
            operation.took("rerank", begun)
            pairs = zip(order.tolist(), scores.tolist(), strict=True)
            return [found[at]._replace(score=score) for at, score in pairs]

    def batch(self, question: Question, documents: bool) -> Batch:
        """Answer many queries, with documents and metadata or with ids alone."""

        def join(reader: Reader, answer: Answer) -> tuple[Answer, _Names, _Items]:
            keys = sorted({key for row, _ in answer.chosen for key in row.tolist()})
            if not documents:
                return answer, reader.ids(keys), None
            items = reader.raw_items(keys, question.fields)
            return answer, {key: id_of(row[1], row[2]) for key, row in items.items()}, items

        if question.rerank is not None and not documents:
            raise InputError("rerank= is given documents: leave out documents=False")
        if question.fields != FIELDS and not documents:
            raise InputError(
                "documents=False makes no hits that have fields=: leave out one of them"
            )
        with self._operation() as operation:
            answer, names, items = self._answer(question, join, operation)
            chosen, vectors = answer.chosen, answer.vectors
            if question.rerank is None:
                return batch_of(chosen, names, question.most, vectors, items)
            begun = perf_counter()
            most = max((len(keys) for keys, _ in chosen), default=0)
            for row, found in enumerate(batch_of(chosen, names, most, vectors, items)):
                order, scores = self._reranked(question, answer, row, found)
                chosen[row] = chosen[row][0][order], scores.astype(np.float32)
                if vectors is not None:
                    vectors[row] = vectors[row][order]
            operation.took("rerank", begun)
            return batch_of(chosen, names, question.most, vectors, items)

    def _told_at_once(self, question: Question, operation: Operation) -> list[Hit] | None:
        """Answer by the words of documents alone; None where one statement does not do."""
        assert question.words is not None
        begun = perf_counter()
        with self._store.reading() as reader:
            found = self._words.found(reader, question.words, question.k, question.fields)
        if found is None:
            return None
        operation.took("words", begun)
        operation.count("queries")
        items = {item[0]: item for _, item in found}
        keys = np.fromiter(items, np.int64, len(items))
        scores = np.fromiter((score for score, _ in found), np.float32, len(found))
        return hits(best_of((keys, scores), question.min_score), items)

    def _note_fallback(self, exact: bool, operation: Operation) -> None:
        if exact:
            operation.count("fallbacks")
        if exact is not self._falls_back:
            self._falls_back, name = exact, self._owner.name
            text = "are exact: its index is not at hand" if exact else "ask the index again"
            logger("search").info("searches of %r %s", name, text)

    def _operation(self) -> Operation:
        return self._store.meters.of(self._owner.name).operation("search")

    def _reranked(
        self, question: Question, answer: Answer, row: int, found: list[Hit]
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        query = answer.request.queries[row] if question.text is None else question.text
        groups = answer.groups[row] if answer.groups is not None else None
        return reranked(question.rerank, query, found, groups, question.k)

    def _answer(
        self, question: Question, join: Callable[[Reader, Answer], T], operation: Operation
    ) -> T:
        """Search, and join the results with their items, in one snapshot.

        An index that somebody else caught up further meanwhile has answered from another time than
        the snapshot's: the search is then done again, in the end without the index. So it is where
        an index fails that was removed, or that can be opened or made again.
        """
        operation.count("queries", len(question.request.queries))
        if question.connection is not None:
            return self._answer_within(question, join, operation)
        noting: Noted | None = None if question.model is None else "model"
        if question.words is not None:
            noting = "text"
        numbered = False
        for attempt in range(_TRIES):
            if attempt:
                operation.count("retries")
            begun = perf_counter()
            with self._store.reading() as reader:
                state = reader.state_of(self._owner, noting)
                operation.took("snapshot", begun)
                if numbered or not state.fresh.much:
                    loaded, found = self._found(reader, state, question, operation)
                    if found is None:
                        continue
                    begun = perf_counter()
                    answer = join(reader, found)
                    operation.took("join", begun)
                    if not question.exact and question.index_name is None:
                        self.shadow.follow(reader, found.request, found.first)
            # After the snapshot, whose connection is the only one that a search takes.
            if not numbered and state.fresh.much:
                # So that the index can follow; what comes meanwhile is read beside it.
                self._store.number(self._owner.id)
                numbered = True
            elif loaded is None or not loaded.is_ahead_of(state.seq):
                return answer
        operation.count("retries")
        with self._store.reading() as reader:
            exact = question._replace(exact=True)
            _, found = self._found(reader, reader.state_of(self._owner), exact, operation)
            assert found is not None  # no index was asked
            return join(reader, found)

    def _answer_within(
        self, question: Question, join: Callable[[Reader, Answer], T], operation: Operation
    ) -> T:
        """Search within a caller's transaction, by its connection alone.

        Indexes know what is committed, and are asked as far as that has led to what the transaction
        sees; the rest is read from the store, and nobody else learns of it.
        """
        with self._store.reading(question.connection) as reader:

            def read(state: CollectionState) -> T:
                return self._within(reader, state, question, join, operation)

            return settled(reader, self._owner, read)

    def _within(
        self,
        reader: Reader,
        state: CollectionState,
        question: Question,
        join: Callable[[Reader, Answer], T],
        operation: Operation,
    ) -> T:
        owner, index, loaded = self._owner, question.index_name, None
        if index is not None or not question.exact:
            loaded = self._indexes.as_it_is(reader, state, index)  # or raises: there is none
        if loaded is not None and not question.exact:
            with suppress(EngineError, CorruptIndexError):  # whoever may open it again is told
                operation.index = loaded.index
                found = self._answered(reader, state, loaded, question, operation)
                begun = perf_counter()
                answer = join(reader, found)
                operation.took("join", begun)
                # Where the state is another by now, it is read again in any case.
                if not loaded.may_be_ahead_of(state.seq) or reader.state_of(owner) != state:
                    return answer
        operation.index = ""
        operation.count("exact_searches")
        found = self._answered(reader, state, None, question, operation)
        return join(reader, found)

    def _found(
        self, reader: Reader, state: CollectionState, question: Question, operation: Operation
    ) -> tuple[Loaded | None, Answer | None]:
        """Return the index that was asked, and what was found.

        That is None where the index failed, and the next try opens it or makes it again.
        """
        index = question.index_name
        if question.exact and index is not None and reader.index_number(self._owner, index) is None:
            ledger.find(self._store, self._owner.id, index)  # not asked, but it has to exist
        loaded = None
        if not question.exact:
            begun = perf_counter()
            loaded = self._indexes.current(reader, state, index)
            operation.took("follow", begun)
            self._note_fallback(loaded is None and _lacks(self._owner, state, index), operation)
        operation.index = "" if loaded is None else loaded.index
        if loaded is None and (question.words is None or question.weights is not None):
            operation.count("exact_searches")
        try:
            answer = self._answered(reader, state, loaded, question, operation)
        except (EngineError, CorruptIndexError) as error:
            if loaded is None or not self._indexes.outlives(loaded, error):
                raise
            return loaded, None
        return loaded, answer

    def _answered(
        self,
        reader: Reader,
        state: CollectionState,
        loaded: Loaded | None,
        question: Question,
        operation: Operation,
    ) -> Answer:
        owner, compiled, memory = self._owner, self.condition, self._memory
        return answered(reader, owner, state, loaded, question, compiled, operation, memory)


def _lacks(owner: CollectionRow, state: CollectionState, index: str | None) -> bool:
    """Whether there is an index to ask, and more than it takes none for."""
    return (index or state.active) is not None and state.end - key_range(owner.id)[0] > 1
