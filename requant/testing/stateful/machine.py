"""The state machine: what may happen to a database, and what must hold after each of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from requant.collection import Collection
from requant.errors import DuplicateIdError, ExistsError, UnknownIdError, UnknownIndexError
from requant.scores import Metric
from requant.testing.stateful.model import Model, Write
from requant.testing.stateful.strategies import (
    CHANGES,
    INDEXES,
    NUMBERS,
    POOL,
    SEEDS,
    WHO,
    Change,
    some_vectors,
)
from requant.testing.stateful.world import Kept, World


class Setting(NamedTuple):
    """What an engine's suite chose."""

    url: str | None
    indexes: tuple[Mapping[str, Any], ...]
    exact: frozenset[str]
    metrics: tuple[Metric, ...]
    restores: bool
    handles: int


class History(RuleBasedStateMachine):
    """One history of a database."""

    def __init__(self, setting: Setting) -> None:
        """Begin with an empty store."""
        super().__init__()
        self.setting: Setting = setting
        self.world: World = World(setting.url, setting.handles)
        self.model: Model = Model("cosine", 1)
        self.configs: dict[str, Mapping[str, Any]] = {}

    @initialize(metric=st.sampled_from(["cosine", "ip", "l2"]), dim=st.sampled_from([8, 3, 32]))
    def create(self, metric: Metric, dim: int) -> None:
        """Make the collection."""
        metrics = self.setting.metrics
        metric = metric if metric in metrics else metrics[dim % len(metrics)]
        self.world.create(metric, dim)
        self.model = Model(metric, dim)

    # Writing

    @rule(who=WHO, change=CHANGES)
    def write(self, who: int, change: Change) -> None:
        """Upsert, add, update, delete or clear."""
        with self.world.calm():
            self._apply(self.world.collection(who), self.model, change, None)

    @rule(
        who=WHO,
        parts=st.lists(
            st.tuples(CHANGES, st.sampled_from(["plain", "kept", "undone"])), max_size=4
        ),
        commits=st.booleans(),
        query=SEEDS,
    )
    def transact(
        self, who: int, parts: list[tuple[Change, str]], commits: bool, query: int
    ) -> None:
        """Write in a transaction of one's own, which savepoints divide and the other cannot see."""
        database, notes = self.world.database(who), self.world.collection(who)
        inside = self.model.copy()
        with self.world.calm(), database.engine.connect() as connection:
            transaction = connection.begin()
            for change, savepoint in parts:
                if savepoint == "plain":
                    self._apply(notes, inside, change, connection)
                    continue
                nested, before = connection.begin_nested(), inside.copy()
                self._apply(notes, inside, change, connection)
                if savepoint == "undone":
                    nested.rollback()
                    inside = before
                else:
                    nested.commit()
            self._same_items(notes, inside, connection)
            self._same_items(self.world.collection(1 - who), self.model, None)
            self._search(self.world.collection(1 - who), query, 5, None, None, False)
            if commits:
                transaction.commit()
                self.model = inside
            else:
                transaction.rollback()

    # Searching

    @rule(
        who=WHO,
        seed=SEEDS,
        k=st.sampled_from([1, 3, 10, 60]),
        n=st.none() | NUMBERS,
        name=st.none() | INDEXES,
        exact=st.booleans(),
    )
    def search(
        self, who: int, seed: int, k: int, n: int | None, name: str | None, exact: bool
    ) -> None:
        """Search by an index or exactly, with a filter or without."""
        with self.world.calm():
            notes = self.world.collection(who)
            if name is not None and name not in self.configs:
                with pytest.raises(UnknownIndexError):
                    notes.search(np.ones(self.model.dim), k=k, index=name, exact=exact)
                return
            self._search(notes, seed, k, n, name, exact)

    @rule(who=WHO, seed=SEEDS, k=st.sampled_from([1, 4]), n=st.none() | NUMBERS)
    def search_many(self, who: int, seed: int, k: int, n: int | None) -> None:
        """Search for several queries at once."""
        queries = some_vectors(3, self.model.dim, seed)
        where = None if n is None else {"n": n}
        with self.world.calm():
            batch = self.world.collection(who).search_many(queries, k, where=where)
        for query, ids, scores in zip(queries, batch.ids, batch.scores, strict=True):
            texts = [str(id_) for id_ in ids]
            self.model.check_ids(texts, scores[: len(ids)].tolist(), query, n, k)

    # Indexes

    @rule(who=WHO, name=INDEXES, which=st.integers(0, 7))
    def add_index(self, who: int, name: str, which: int) -> None:
        """Add an index, or be told that it exists."""
        config = self._config(which)
        with self.world.calm():
            if name in self.configs:
                with pytest.raises(ExistsError):
                    self.world.collection(who).add_index(name, **config)
            else:
                self.world.collection(who).add_index(name, **config)
                self.configs[name] = config

    @rule(who=WHO, name=INDEXES, which=st.integers(0, 7))
    def migrate(self, who: int, name: str, which: int) -> None:
        """Move to another index, or be told that the name is taken by another one."""
        config, notes = self._config(which), self.world.collection(who)
        with self.world.calm():
            if name in self.configs and self.configs[name] != config:
                with pytest.raises(ExistsError):
                    notes.migrate(name, tolerance=1, **config)
            else:
                report = notes.migrate(name, tolerance=1, **config)
                assert report.ok, report.problems
                self.configs[name] = config

    @rule(who=WHO)
    def roll_back(self, who: int) -> None:
        """Go back to the index before, if there is one."""
        with self.world.calm():
            try:
                before = self.world.collection(who).rollback()
            except UnknownIndexError:
                return
            assert before is None or before in self.configs

    @rule(
        who=WHO,
        name=INDEXES,
        what=st.sampled_from(["use_index", "drop_index", "rebuild"]),
    )
    def with_index(self, who: int, name: str, what: str) -> None:
        """Use, drop or rebuild an index, or be told that there is none."""
        with self.world.calm():
            act = getattr(self.world.collection(who), what)
            if name not in self.configs:
                with pytest.raises(UnknownIndexError):
                    act(name)
                return
            act(name)
            if what == "drop_index":
                del self.configs[name]

    @rule(who=WHO, what=st.sampled_from(["index_field", "unindex_field"]))
    def with_field(self, who: int, what: str) -> None:
        """Index the field that filters ask for, or forget that it was; answers stay the same."""
        with self.world.calm():
            notes = self.world.collection(who)
            if what == "index_field" or not notes.fields:
                notes.index_field("n")
            else:
                notes.unindex_field("n")

    @rule(who=WHO)
    def flush(self, who: int) -> None:
        """Publish."""
        with self.world.calm():
            self.world.collection(who).flush()

    # Opening and restoring

    @rule(who=WHO)
    def reopen(self, who: int) -> None:
        """Close one of the two databases and open it again."""
        with self.world.calm():
            self.world.reopen(who)

    @precondition(lambda self: self.setting.restores and self.setting.url is None)
    @rule()
    def back_up(self) -> None:
        """Copy the store."""
        self.world.back_up(Kept(self.model.copy(), dict(self.configs)))

    @precondition(lambda self: self.world.kept is not None)
    @rule()
    def restore(self) -> None:
        """Put the copy back, beside indexes that are ahead of it."""
        kept = self.world.restore()
        self.model, self.configs = kept.model.copy(), dict(kept.configs)

    # What always holds

    @invariant()
    def both_hold_the_same(self) -> None:
        """Both databases hold what the dictionary does, and know the same indexes."""
        with self.world.calm():
            for database in self.world.databases:
                if self.world.name not in database.collections():
                    return  # not created yet
                notes = database.collection(self.world.name)
                self._same_items(notes, self.model, None)
                assert {info.name for info in notes.indexes} == set(self.configs)

    def teardown(self) -> None:
        """Verify every index and every vector, in both and once more after all were closed."""
        try:
            for again in (False, True):
                if again:
                    with self.world.calm():
                        self.world.close_all()
                    self.world.open_all()
                for database in self.world.databases:
                    if self.world.name in database.collections():
                        self._verify(database.collection(self.world.name))
        finally:
            self.world.remove()

    def _verify(self, notes: Collection) -> None:
        with self.world.calm():
            report = notes.verify(deep=True)
            assert report.ok, report.problems
            for name in self.configs:
                self._search(notes, 1, 5, None, name, False)

    def _config(self, which: int) -> Mapping[str, Any]:
        return self.setting.indexes[which % len(self.setting.indexes)]

    def _apply(
        self,
        notes: Collection,
        model: Model,
        change: Change,
        connection: sa.Connection | None,
    ) -> None:
        kind, ids, n = change.kind, change.ids, change.n
        if kind == "delete":
            assert notes.delete(ids, connection=connection) == model.delete(ids)
        elif kind == "delete where":
            gone = list(model.matching(n))
            assert notes.delete(where={"n": n}, connection=connection) == model.delete(gone)
        elif kind == "clear":
            assert notes.clear(connection=connection) == model.clear()
        elif kind == "update where":
            meant = list(model.matching(n))
            count = notes.update(where={"n": n}, metadata=change.patch, connection=connection)
            assert count == model.patch(meant, change.patch)
        elif kind == "update":
            self._update(notes, model, change, connection)
        else:
            self._upsert(notes, model, change, connection)

    def _update(
        self, notes: Collection, model: Model, change: Change, connection: sa.Connection | None
    ) -> None:
        known = [id_ for id_ in change.ids if str(id_) in model.items]
        vectors, documents, _ = change.columns(model.dim, known)
        if len(known) < len(change.ids):
            with pytest.raises(UnknownIdError):
                notes.update(change.ids, metadata=change.patch, connection=connection)
        count = notes.update(
            known,
            metadata=change.patch,
            documents=documents,
            vectors=vectors,
            connection=connection,
        )
        assert count == model.patch(known, change.patch)
        model.write(Write(known, vectors, documents, None))

    def _upsert(
        self, notes: Collection, model: Model, change: Change, connection: sa.Connection | None
    ) -> None:
        kind, ids = change.kind, change.ids
        ids = [*ids, *ids[:2]] if kind == "last" else ids
        write = Write(ids, *change.columns(model.dim, ids))
        if kind == "add" and any(str(id_) in model.items for id_ in ids):
            with pytest.raises(DuplicateIdError):
                notes.add(*write, connection=connection)
            return
        new = notes.upsert(
            *write,
            on_conflict="error" if kind == "add" else "skip" if kind == "skip" else "replace",
            duplicates="last" if kind == "last" else "error",
            connection=connection,
        )
        assert new == model.write(write, skip=kind == "skip")

    def _search(
        self, notes: Collection, seed: int, k: int, n: int | None, name: str | None, exact: bool
    ) -> None:
        query = some_vectors(1, self.model.dim, seed)[0]
        where = None if n is None else {"n": n}
        whole = max(1, len(self.model.items))
        hits = notes.search(query, k, where=where, index=name, exact=exact, oversample=whole)
        answer = self.model.check_hits(hits, query, n, k)
        if exact or (name is not None and self._is_exact(self.configs[name])):
            answer.is_exact()

    def _is_exact(self, config: Mapping[str, Any]) -> bool:
        flat = config.get("index_type", "flat") == "flat"
        return flat and config["precision"] in self.setting.exact

    def _same_items(
        self, notes: Collection, model: Model, connection: sa.Connection | None
    ) -> None:
        items = notes.get(POOL, connection=connection)
        found = {str(item.id): (item.document, item.metadata) for item in items}
        assert found == {id_: (e.document, e.metadata) for id_, e in model.items.items()}
        if connection is not None:
            return
        assert len(notes) == len(model.items)
        have = [id_ for id_, entry in model.items.items() if entry.vector is not None]
        if have:
            stored = notes.vectors(have)
            np.testing.assert_array_equal(stored, [model.items[id_].vector for id_ in have])
        lack = next((id_ for id_, entry in model.items.items() if entry.vector is None), None)
        if lack is not None:
            with pytest.raises(UnknownIdError):
                notes.vectors([lack])
