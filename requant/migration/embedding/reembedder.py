"""Moving to another model: embedded beside the one in use, compared, switched to, and undone.

The vectors of the new model stand in a collection of their own, which follows the one in use until
it takes its name; so an index, a search or a write knows one model only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from requant.embeddings import Model, ModelInfo, check_model, embed, load_stored, resolve
from requant.errors import ExistsError, InputError, StoreError, UnknownCollectionError
from requant.indexes import ATTACHED, IndexSet, Workspace
from requant.migration.embedding.comparison import Asked, Compared, compare
from requant.migration.embedding.embedder import described
from requant.migration.embedding.estimate import (
    Counts,
    ReembedPlan,
    counted,
    estimate,
    some_documents,
)
from requant.migration.embedding.follower import Follower
from requant.migration.embedding.report import Missing, ReembedInfo, ReembedReport
from requant.store import (
    CollectionRow,
    ContentsWriter,
    Move,
    catalog,
    field_infos,
    ledger,
    models,
    moving,
    text_index,
)

# So many items may be embedded while others wait, at the switch.
_FEW = 16
# So often what is left may not become less before the switch is given up.
_ROUNDS = 5
_MOST = 100_000


@dataclass(frozen=True)
class Wanted:
    """How a collection is moved: the arguments of `Collection.reembed`."""

    encode: Mapping[str, Any] | None = None
    batch: int = 256
    asked: Asked = field(default_factory=Asked)
    old_model: Any = None
    tolerance: float = 0.02
    missing: Missing = "refuse"
    switch: bool = True
    progress: Callable[[int, int], None] | None = None


class Reembedder:
    """What `Collection` does to move to another model."""

    def __init__(self, workspace: Workspace, owner: CollectionRow) -> None:
        """Move `owner`."""
        self._workspace = workspace
        self._store = workspace.store
        self._owner = owner

    def plan(self, given: Any, options: Any) -> ReembedPlan:
        """Tell what a move would take."""
        return estimate(self._store, self._owner, check_model(resolve(given)), options)

    def info(self) -> ReembedInfo | None:
        """Return the move that stands, None without one."""
        move = self._move()
        if move is None:
            return None
        number = move.follower if move.source == self._owner.id else move.source
        other = catalog.numbered(self._store, number)
        with self._store.connected() as connection:
            there = moving.marks.is_there(connection, self._store.tables, move.id)
            if there:
                left = moving.marks.count(connection, self._store.tables, move.id, move.source)
            else:  # restored: all is looked at, and little is embedded
                left = connection.execute(_count(self._store, move.source)).scalar_one()
        return ReembedInfo(other.name, models.look(self._store, other), left, move.switched)

    def run(self, given: Any, wanted: Wanted) -> tuple[ReembedReport, CollectionRow | None]:
        """Build or go on building, compare, and switch if nothing is wrong.

        Returns the report, and what the collection is after a switch.
        """
        self._store.check_writable()
        _check(wanted)
        move = self._move()
        if move is not None and move.switched and move.source == self._owner.id:
            return self._again(move, given, wanted), None
        if wanted.switch:
            self._check_free(f"{self._owner.name}.before")
        model = check_model(resolve(given))
        info = described(model, self._owner.dim, wanted.encode)
        if move is None:
            move = self._begin(model, info, wanted)
        if move.source != self._owner.id:
            raise InputError(
                f"collection {self._owner.name!r} is itself the new one of a move: call reembed on "
                f"{catalog.numbered(self._store, move.source).name!r}"
            )
        target = self._target(move, model)
        self._index_alike(target)
        follower = Follower(self._store, move, self._owner, target, lambda: model, wanted.encode)
        follower.follow(wanted.batch, wanted.progress)
        self._add_indexes(target, wanted)
        follower.follow(wanted.batch, wanted.progress)
        compared = compare(
            self._workspace, self._owner, target, wanted.asked,
            (lambda: self._old(wanted.old_model), lambda: model), wanted.encode,
        )  # fmt: skip
        report = self._report(target, follower, compared, wanted)
        if not report.ok or not wanted.switch:
            return report, None
        self._index_alike(target)  # again: it may have taken hours
        row = self._switch(move, target, follower, wanted.batch, f"{self._owner.name}.before")
        return replace(report, state="switched", embedded=follower.embedded), row

    def rollback(self, given: Any, options: Any, batch: int, progress: Any) -> CollectionRow:
        """Go back to the model before; what was written since is embedded by it.

        Raises UnknownCollectionError if the collection was not moved, or the old one is gone.
        """
        self._store.check_writable()
        move = self._move()
        if move is None or not move.switched or move.source != self._owner.id:
            raise UnknownCollectionError(
                f"collection {self._owner.name!r} was not moved to another model, or what it was "
                "before has been dropped"
            )
        self._check_free(f"{self._owner.name}.reembed")
        target = catalog.numbered(self._store, move.follower)
        follower = Follower(
            self._store, move, self._owner, target, lambda: self._by(target, given), options
        )
        follower.follow(batch, progress)
        self._index_alike(target)
        return self._switch(move, target, follower, batch, f"{self._owner.name}.reembed")

    def _move(self) -> Move | None:
        with self._store.reading() as reader:
            reader.state_of(self._owner)
            connection, _ = reader.source()
            move = moving.find(connection, self._store.tables, self._owner.id)
            there = move is None or moving.marks.is_there(connection, self._store.tables, move.id)
        if move is not None and not there and not self._store.read_only:
            with self._turn() as connection:
                moving.remake(connection, self._store.tables, move)
        return move

    def _begin(self, model: Model, info: ModelInfo, wanted: Wanted) -> Move:
        """Make the new collection, empty, and let it be marked what it has to follow."""
        store, owner = self._store, self._owner
        stored = models.look(store, owner)
        if stored is not None and _same(stored, info):
            raise InputError(
                f"collection {owner.name!r} is embedded by {stored.shown} already: to embed it "
                "anew all the same, give the model another revision"
            )
        fields, words = self._found_by(owner)
        with store.reading() as reader:
            reader.state_of(owner)
            texts = some_documents(reader, owner, 1)
        if not texts:
            raise InputError(f"no item of collection {owner.name!r} has a document to embed")
        dim = embed(model, texts, "document", None, options=wanted.encode).shape[1]
        name = f"{owner.name}.reembed"
        plain = [one for one, kind in fields.items() if kind is None]
        with self._turn() as connection:
            found = moving.find(connection, store.tables, owner.id)
            if found is not None:  # somebody else was faster
                return found
            row = catalog.create(
                store, name, dim, owner.metric, plain, connection, words,
                replace(info, dim=dim),
            )  # fmt: skip
            return moving.begin(connection, store.tables, owner.id, row.id)

    def _found_by(self, owner: CollectionRow) -> tuple[dict[str, str | None], str | None]:
        """Return the kinds of the fields that are indexed, by name, and the tokenizer of words."""
        with self._store.reading() as reader:
            number = reader.state_of(owner).fields
            fields = field_infos(reader.fields(owner.id, number))
            words = text_index(reader, owner)
        return {one.name: one.kind for one in fields}, None if words is None else words.tokenizer

    def _index_alike(self, target: CollectionRow) -> None:
        """Let filters and words find in the follower what they find in the other one just now."""
        (fields, words), (theirs, tokens) = self._found_by(self._owner), self._found_by(target)
        writer = ContentsWriter(self._store, target, lambda: None)
        for name, kind in theirs.items():
            if name not in fields or fields[name] != kind:
                writer.unindex_field(name)
        for name, kind in fields.items():  # also one that is not ready yet
            writer.index_field(name, kind, None)
        if tokens not in (words, None):
            writer.unindex_text()
        if words is not None:
            writer.index_text(words, None)

    def _check_free(self, away: str) -> None:
        """Raise ExistsError if the name is taken that the switch gives; before hours of work."""
        if any(row.name == away for row in catalog.every(self._store)):
            raise ExistsError(
                f"collection {self._owner.name!r} is to be called {away!r} once it is moved, and "
                f"there is one of that name: drop_collection({away!r}) first, if it may go"
            )

    def _target(self, move: Move, model: Model) -> CollectionRow:
        target = catalog.numbered(self._store, move.follower)
        stored = models.look(self._store, target)
        if stored is None or stored.name != model.name or model.revision != stored.revision:
            known = "a model without a name" if stored is None else stored.shown
            raise ExistsError(
                f"collection {self._owner.name!r} is being moved to {known}: go on with that one, "
                f"or begin anew after drop_collection({target.name!r})"
            )
        return target

    def _again(self, move: Move, given: Any, wanted: Wanted) -> ReembedReport:
        """Tell of a move that has been made; another one has to wait until its rest is gone."""
        stored = models.look(self._store, self._owner)
        info = described(given, self._owner.dim, wanted.encode)
        old = catalog.numbered(self._store, move.follower)
        if stored is None or not _same(stored, info):
            raise ExistsError(
                f"collection {self._owner.name!r} was moved to another model, and {old.name!r} is "
                f"what it was before: drop_collection({old.name!r}), or rollback_reembed(), first"
            )
        counts = self._counts()
        return ReembedReport(
            self._owner.name, stored, "switched", counts.items, 0,
            counts.items - counts.documents, 0, wanted.asked.k, 0, "none", None, None, None,
            ["it had been switched before"],
        )  # fmt: skip

    def _counts(self) -> Counts:
        with self._store.reading() as reader:
            reader.state_of(self._owner)
            return counted(reader, self._owner)

    def _add_indexes(self, target: CollectionRow, wanted: Wanted) -> None:
        """Give the new collection the indexes that the old one has."""
        store, indexes = self._store, IndexSet(self._workspace, target)
        with store.reading() as reader:
            active = reader.state_of(self._owner).active
        try:
            used = None
            for row in ledger.every(store, self._owner.id):
                if row.config.precision == ATTACHED:
                    continue
                config = replace(row.config, remote_name=None)
                indexes.ensure(row.name, config, wanted.progress, overwrite=False)
                used = row.name if row.id == active else used
            if used is not None:
                indexes.use(used)
        finally:
            indexes.close()

    def _report(
        self, target: CollectionRow, follower: Follower, compared: Compared, wanted: Wanted
    ) -> ReembedReport:
        counts, problems = self._counts(), []
        if counts.lost and wanted.missing == "refuse":
            problems.append(
                f"{counts.lost} items have a vector and no document: no search by vector would "
                "find them any more; give them documents, or allow it with missing='drop'"
            )
        before, after = compared.before, compared.after
        if before is not None and after is not None and after < before - wanted.tolerance:
            problems.append(
                f"of the relevant items, {after:.4f} are found instead of {before:.4f}, which is "
                f"more than {wanted.tolerance:g} less"
            )
        attached = [
            row.name for row in ledger.every(self._store, self._owner.id)
            if row.config.precision == ATTACHED
        ]  # fmt: skip
        notes = [*compared.notes]
        notes += [f"index {name!r} is another program's, and is not carried" for name in attached]
        stored = models.look(self._store, target)
        assert stored is not None
        return ReembedReport(
            target.name, stored, "building" if problems else "ready", counts.items,
            follower.embedded, counts.items - counts.documents, counts.lost, wanted.asked.k,
            compared.queries, compared.queries_from, compared.overlap, before, after, notes,
            problems,
        )  # fmt: skip

    def _switch(
        self, move: Move, target: CollectionRow, follower: Follower, batch: int, away: str
    ) -> CollectionRow:
        """Follow to the end while nobody writes, and give the name to the follower."""
        store, owner = self._store, self._owner
        least, rounds = sys.maxsize, 0
        while rounds < _ROUNDS:
            self._check_free(away)
            with self._alone(move) as connection:
                if moving.find(connection, store.tables, owner.id) != move:
                    raise StoreError(f"somebody else has moved collection {owner.name!r} meanwhile")
                left = follower.count(connection)
                if left <= _FEW:
                    follower.follow_within(connection, batch)
                    moving.switch(connection, store, move, (owner.name, target.name), away)
            if left <= _FEW:
                return CollectionRow(target.id, owner.name, target.dim, target.metric)
            rounds = rounds + 1 if left >= least else 0
            least = min(left, least)
            follower.follow(batch, None)
        raise StoreError(
            f"more is written to collection {owner.name!r} all the time than is embedded: call it "
            "again when less is written; what has been embedded stays"
        )

    @contextmanager
    def _alone(self, move: Move) -> Iterator[sa.Connection]:
        """Yield a transaction in which nobody else writes to either collection."""
        with self._store.writing(turn=self._owner.id) as connection:
            moving.alone(connection, self._store, move)
            models.take_turn(connection, self._store, self._owner)
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[sa.Connection]:
        """Yield a transaction that makes triggers, for which PostgreSQL locks the table of items.

        Nobody is kept waiting at the gate then: one who waits there may have that table locked.
        """
        with self._store.writing(turn=self._owner.id) as connection:
            models.take_turn(connection, self._store, self._owner)
            yield connection

    def _old(self, given: Any) -> Model:
        return self._by(self._owner, given)

    def _by(self, owner: CollectionRow, given: Any) -> Model:
        """Return the model of a collection, as given or as remembered; raises InputError."""
        if given is not None:
            return check_model(resolve(given))
        stored = models.look(self._store, owner)
        if stored is None:
            raise InputError(
                f"nothing tells which model embedded the texts of {owner.name!r}: pass it"
            )
        return load_stored(stored)


def _same(stored: ModelInfo, given: ModelInfo) -> bool:
    return (stored.name, stored.revision, stored.prompt) == (
        given.name, given.revision, given.prompt
    )  # fmt: skip


def _count(store: Any, collection: int) -> sa.Select[Any]:
    items = store.tables.items.c
    return sa.select(sa.func.count()).where(items.collection_id == collection)


def _check(wanted: Wanted) -> None:
    for name, value in (("batch", wanted.batch), ("k", wanted.asked.k)):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not 1 <= value <= _MOST:
            raise InputError(f"{name} must be a whole number from 1 to {_MOST}, not {value!r}")
    if wanted.missing not in ("refuse", "drop"):
        raise InputError(f"missing must be 'refuse' or 'drop', not {wanted.missing!r}")
    share = isinstance(wanted.tolerance, int | float) and 0 <= wanted.tolerance <= 1
    if not share:
        raise InputError(f"tolerance must be a share from 0 to 1, not {wanted.tolerance!r}")
