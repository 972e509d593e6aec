"""Indexes and their published generations: what is on disk, and how far it has followed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from requant.adapters.files import Digest
from requant.errors import CorruptDataError, ExistsError, StoreError, UnknownIndexError
from requant.store.engine import Store, insert_into
from requant.store.records import checked, pruning
from requant.store.schema import Tables
from requant.store.states import Seen, Watermark


@dataclass(frozen=True)
class IndexConfig:
    """What the user asked for; `options` are the quantizer's, `params` the engine's.

    `url` is where a live engine's server is, `remote_name` what the index is called there.
    """

    engine: str
    precision: str
    index_type: str = "flat"
    options: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    mmap: bool = False
    url: str | None = None
    remote_name: str | None = None


@dataclass(frozen=True)
class IndexRow:
    """One index of a collection."""

    id: int
    collection: int
    name: str
    config: IndexConfig


@dataclass(frozen=True)
class Generation:
    """One snapshot of an index: a file, or a live engine's place, whose digest is empty.

    `stamp` is the serial of a live engine's place, or what an attached index said of itself.
    """

    fingerprint: str
    fit_rows: int
    spec: Mapping[str, Any]
    watermark: Watermark
    items: int
    file: str
    digest: Digest
    stamp: str | None = None


def add(store: Store, collection: int, name: str, config: IndexConfig) -> IndexRow:
    """Add an index; from now on changes are logged for it. Raises ExistsError."""
    t = store.tables
    values = {
        "collection_id": collection, "name": name,
        "config": config_text(config), "generation": 0,
    }  # fmt: skip
    try:
        with store.writing(turn=collection) as connection:
            # The collection's row first: that is the turn which writers of items wait for, too.
            at = t.collections.c.id == collection
            connection.execute(sa.update(t.collections).where(at).values(logging=True))
            insert = sa.insert(t.indexes).values(values).returning(t.indexes.c.id)
            number = connection.execute(insert).scalar_one()
    except StoreError as error:
        if isinstance(error.__cause__, sa.exc.IntegrityError):
            raise ExistsError(f"index {name!r} already exists in this collection") from error
        raise
    return IndexRow(number, collection, name, config)


def config_text(config: IndexConfig) -> str:
    """Return a config as the tables keep it."""
    return json.dumps(asdict(config))


@dataclass(frozen=True)
class DamagedIndex:
    """An index of which the store says what cannot be; `row` is enough to drop it."""

    row: IndexRow
    error: CorruptDataError


def every(store: Store, collection: int) -> list[IndexRow]:
    """Return the indexes of a collection in the order in which they were added."""
    return _rows(store, collection, sa.true())


def numbers(store: Store, collection: int) -> set[int]:
    """Return the numbers of the indexes of a collection, whatever else is said of them."""
    t = store.tables.indexes.c
    with store.connected() as connection:
        found = connection.execute(sa.select(t.id).where(t.collection_id == collection))
        return set(found.scalars())


def numbered(store: Store, collection: int, number: int) -> IndexRow | None:
    """Return an index by its number, None if it is gone; what is wrong with others is no matter."""
    rows = _rows(store, collection, store.tables.indexes.c.id == number)
    return rows[0] if rows else None


def find(store: Store, collection: int, name: str) -> IndexRow:
    """Return an index by name; raises UnknownIndexError, which lists those that exist."""
    t = store.tables.indexes.c
    rows = _rows(store, collection, t.name == name)
    if rows:
        return rows[0]
    with store.connected() as connection:
        names = connection.execute(names_of(store.tables, collection)).all()
    raise unknown(name, [row[0] for row in names])


def names_of(tables: Tables, collection: int) -> sa.Select[str]:
    """Return the statement that lists the names of all indexes of a collection."""
    t = tables.indexes.c
    return sa.select(t.name).where(t.collection_id == collection).order_by(t.id)


def unknown(name: str, names: Sequence[str]) -> UnknownIndexError:
    """Return the error of an index that is not one of these."""
    have = ", ".join(map(repr, names)) or "none yet"
    return UnknownIndexError(f"no index {name!r} in this collection; there is: {have}")


def sound_and_damaged(store: Store, collection: int) -> tuple[list[IndexRow], list[DamagedIndex]]:
    """Return the indexes of a collection in order, those apart that cannot be used."""
    listed = _listed(store, collection, sa.true())
    damaged = [one for one in listed if isinstance(one, DamagedIndex)]
    return [one for one in listed if isinstance(one, IndexRow)], damaged


def to_drop(store: Store, collection: int, name: str) -> IndexRow:
    """Return an index by name as `find` does, also one that is damaged."""
    listed = _listed(store, collection, store.tables.indexes.c.name == name)
    if not listed:
        return find(store, collection, name)
    return listed[0].row if isinstance(listed[0], DamagedIndex) else listed[0]


def _rows(store: Store, collection: int, which: sa.ColumnElement[bool]) -> list[IndexRow]:
    rows: list[IndexRow] = []
    for one in _listed(store, collection, which):
        if isinstance(one, DamagedIndex):
            raise one.error
        rows.append(one)
    return rows


def _listed(
    store: Store, collection: int, which: sa.ColumnElement[bool]
) -> list[IndexRow | DamagedIndex]:
    t = store.tables.indexes
    columns = (t.c.id, t.c.collection_id, t.c.name, t.c.config)
    statement = sa.select(*columns).where(t.c.collection_id == collection, which).order_by(t.c.id)
    with store.connected() as connection:
        return [_checked(*row) for row in connection.execute(statement)]


def _checked(number: object, owner: int, name: str, config: object) -> IndexRow | DamagedIndex:
    row = IndexRow(checked.whole(number, "an index"), owner, name, IndexConfig("", ""))
    try:
        return replace(row, config=IndexConfig(**checked.config(config, number)))
    except CorruptDataError as error:
        return DamagedIndex(row, error)


def activate(store: Store, row: IndexRow) -> None:
    """Let searches use an index, if they use none; raises UnknownIndexError if it is gone."""
    with store.writing(turn=row.collection) as connection:
        set_active(connection, store, row.collection, row.id, only_if_unset=True)


def use(store: Store, row: IndexRow) -> None:
    """Make an index the one that searches use; raises UnknownIndexError if it is gone."""
    with store.writing(turn=row.collection) as connection:
        set_active(connection, store, row.collection, row.id)


def set_active(
    connection: sa.Connection,
    store: Store,
    collection: int,
    index: int | None,
    *,
    only_if_unset: bool = False,
) -> None:
    """Let searches of a collection use an index that there is, within a transaction.

    Whoever drops an index takes the collection's turn as well: in this turn it is there, or not.
    """
    t = store.tables
    at = t.collections.c.id == collection
    take_turn(connection, store, collection)
    # In a statement of its own, which sees what was committed while we waited for the turn.
    there = sa.select(t.indexes.c.id).where(
        t.indexes.c.id == index, t.indexes.c.collection_id == collection
    )
    if index is not None and connection.scalar(there) is None:
        raise UnknownIndexError(
            "the index has been dropped meanwhile: searches go on to use the one that they used"
        )
    chosen = sa.and_(at, t.collections.c.active.is_(None)) if only_if_unset else at
    connection.execute(sa.update(t.collections).where(chosen).values(active=index))


def take_turn(connection: sa.Connection, store: Store, collection: int) -> None:
    """Wait until nobody else is changing a collection, in a transaction that begins with this."""
    table = store.tables.collections
    same = sa.update(table).where(table.c.id == collection).values(logging=table.c.logging)
    connection.execute(same)


def drop(store: Store, row: IndexRow) -> None:
    """Remove an index; if it was in use, the oldest of the others is used next."""
    t = store.tables
    at = t.collections.c.id == row.collection
    rest = sa.select(sa.func.min(t.indexes.c.id)).where(t.indexes.c.collection_id == row.collection)
    with store.writing(turn=row.collection) as connection:
        # The collection's row first, as everybody does: somebody may be adding.
        same = {"logging": t.collections.c.logging}
        connection.execute(sa.update(t.collections).where(at).values(same))
        connection.execute(sa.delete(t.indexes).where(t.indexes.c.id == row.id))
        connection.execute(sa.delete(t.generations).where(t.generations.c.index_id == row.id))
        for table in (t.migrations, t.aliases):
            connection.execute(sa.delete(table).where(table.c.index_id == row.id))
        oldest = connection.execute(rest).scalar()
        values = {"logging": oldest is not None}
        connection.execute(sa.update(t.collections).where(at).values(values))
        used = t.collections.c.active == row.id
        connection.execute(sa.update(t.collections).where(at, used).values(active=oldest))
        if oldest is None:
            log = t.changes.c.collection_id == row.collection
            connection.execute(sa.delete(t.changes).where(log))


def generations(store: Store, index: int) -> list[tuple[Generation, bytes]]:
    """Return the generations of an index with their quantizers' bytes, the newest first."""
    g, q = store.tables.generations, store.tables.quantizers
    columns = (
        g.c.fingerprint, g.c.fit_rows, g.c.spec, g.c.applied_key, g.c.applied_seq,
        g.c.item_count, g.c.file, g.c.bytes, g.c.sha256, g.c.stamp, q.c.body,
    )  # fmt: skip
    statement = (
        sa.select(*columns)
        .join(q, q.c.fingerprint == g.c.fingerprint)
        .where(g.c.index_id == index)
        .order_by(g.c.generation.desc())
    )
    what = f"a generation of index {index}"
    with store.connected() as connection:
        return [
            (
                Generation(
                    fingerprint, checked.whole(fit_rows, what), checked.spec(spec, index),
                    Watermark(checked.whole(key, what), checked.whole(seq, what)),
                    checked.whole(items, what), checked.text(file, what), Digest(size, sha256),
                    stamp,
                ),
                body,
            )
            for fingerprint, fit_rows, spec, key, seq, items, file, size, sha256, stamp, body
            in connection.execute(statement)
        ]  # fmt: skip


def record(
    store: Store,
    row: IndexRow,
    generation: Generation,
    quantizer: bytes,
    seen: Seen,
    damaged: Collection[str] = (),
) -> set[str]:
    """Make a generation count, forget older ones, and return the files that are now useless.

    Generations whose file is `damaged` are forgotten first: they are nothing to fall back on.

    If the index is gone, or another process has published a generation that has followed further,
    nothing is recorded and the useless file is that of `generation` itself. So it is where the
    database was set back meanwhile, to before the write `seen`.
    """
    t = store.tables
    with store.writing_durably() as connection:
        # Before the index's row, as everybody does, and without waiting: the caller holds the lock
        # of the index, which whoever has the collection's row may be waiting for.
        may_prune = pruning.is_free(connection, store, row.collection)
        number = connection.execute(
            sa.update(t.indexes)
            .where(t.indexes.c.id == row.id)
            .values(generation=t.indexes.c.generation + 1)
            .returning(t.indexes.c.generation)
        ).scalar_one_or_none()
        of_index = t.generations.c.index_id == row.id
        useless = sa.and_(of_index, t.generations.c.file.in_(damaged))
        connection.execute(sa.delete(t.generations).where(useless))
        g = t.generations.c
        rank = sa.select(g.applied_seq, g.applied_key).where(of_index)
        furthest = rank.order_by(g.applied_seq.desc(), g.applied_key.desc()).limit(1)
        ahead = connection.execute(furthest).one_or_none()
        late = ahead is not None and tuple(ahead) > generation.watermark.rank
        if number is None or late or not _leads_to(connection, store, row, generation, seen):
            connection.rollback()
            return {generation.file}
        _keep_quantizer(connection, store, generation.fingerprint, quantizer)
        _insert(connection, store, row.id, number, generation)
        useless_files = pruning.prune(connection, store, row.id)
        if may_prune:
            pruning.prune_log(connection, store, row.collection)
        return useless_files.union(damaged)


def _leads_to(
    connection: sa.Connection, store: Store, row: IndexRow, generation: Generation, seen: Seen
) -> bool:
    """Whether what a generation has followed is still what is in the collection."""
    reader = store.reader_of(connection)
    state = reader.state_at(row.collection)
    if state is None or state.seq < max(generation.watermark.seq, seen.seq):
        return False
    return reader.knows(row.collection, state, seen) is not False


def keep_only(store: Store, row: IndexRow, name: str) -> None:
    """Forget the generations that another file or place holds."""
    g = store.tables.generations
    others = sa.and_(g.c.index_id == row.id, g.c.file != name)
    with store.writing() as connection:
        connection.execute(sa.delete(g).where(others))


def forget(store: Store, row: IndexRow, name: str) -> None:
    """Forget the generations that a file or place holds: it is not to be used any more."""
    g = store.tables.generations
    with store.writing() as connection:
        connection.execute(sa.delete(g).where(g.c.index_id == row.id, g.c.file == name))


def was_published(store: Store, index: int) -> bool:
    """Whether an index has ever had a generation."""
    table = store.tables.indexes
    statement = sa.select(table.c.generation).where(table.c.id == index)
    with store.connected() as connection:
        return bool(connection.scalar(statement))


def files(store: Store, index: int) -> set[str]:
    """Return the names of the files that the generations of an index consist of."""
    return {generation.file for generation, _ in generations(store, index)}


def _insert(
    connection: sa.Connection, store: Store, index: int, number: int, generation: Generation
) -> None:
    connection.execute(
        sa.insert(store.tables.generations).values(
            index_id=index,
            generation=number,
            fingerprint=generation.fingerprint,
            fit_rows=generation.fit_rows,
            spec=json.dumps(generation.spec),
            applied_key=generation.watermark.key,
            applied_seq=generation.watermark.seq,
            item_count=generation.items,
            file=generation.file,
            bytes=generation.digest.bytes,
            sha256=generation.digest.sha256,
            stamp=generation.stamp,
        )
    )


def _keep_quantizer(connection: sa.Connection, store: Store, name: str, body: bytes) -> None:
    table = store.tables.quantizers
    insert = insert_into(store.engine, table).values(fingerprint=name, body=body)
    # Over what is there: it may be damaged, or have come from another process just now.
    known = insert.on_conflict_do_update(index_elements=["fingerprint"], set_={"body": body})
    connection.execute(known)
