"""Attaching: an index of another program becomes one of a collection, as it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

import sqlalchemy as sa

from requant.attached import ATTACHED, mark_attached, open_foreign
from requant.errors import InputError
from requant.feeding import sample
from requant.homes import Premises
from requant.indexes import IndexSet
from requant.recall import recall_of
from requant.search import Request, Search
from requant.store import ledger
from requant.store.ledger import IndexConfig, IndexRow
from requant.store.reader import Id
from requant.store.schema import CollectionRow, key_range

K = 10
QUERIES = 100
# An index of the same vectors finds more than this, however coarse; one of others hardly anything.
_LEAST = 0.5
_BATCH = 10_000

Names = Mapping[Id, Id] | Iterable[Id]


def attach(
    premises: Premises,
    owner: CollectionRow,
    indexes: IndexSet,
    name: str,
    config: IndexConfig,
    ids: Names | None,
) -> float:
    """Attach and try an index, as `Collection.attach_index` says; return its recall."""
    foreign = open_foreign(config, premises, owner)
    try:
        items = len(foreign)
        _check_metric(foreign.metric, owner)
    finally:
        foreign.close()
    store = premises.store
    row = ledger.add(store, owner.id, name, config)
    try:
        if ids is not None:
            _name(premises, owner, row, ids)
        with store.reading() as reader:
            state = reader.state_of(owner)
            first, end = key_range(owner.id)
            stored = reader.count_vectors(first, end)
        if items < stored:
            raise InputError(
                f"{config.url} holds {items} vectors, collection {owner.name!r} {stored}: what it "
                "does not hold could not be found; attach it to a collection of what it holds"
            )
        mark_attached(store, owner, row, state, items)
        recall = _tried(premises, owner, indexes, row)
        if recall < _LEAST:
            raise InputError(
                f"{config.url} finds {recall:.0%} of what is near in collection {owner.name!r}: it "
                "holds other vectors, other ids, or compares in another way"
            )
        ledger.activate(store, row)
    except BaseException:
        indexes.drop(name)
        raise
    return recall


def attached_config(
    engine: str, location: str, params: Mapping[str, object], aliases: bool
) -> IndexConfig:
    """Return the config of an attached index."""
    options = {"aliases": True} if aliases else {}
    return IndexConfig(engine, ATTACHED, "flat", options, params, False, location)


def _check_metric(metric: str | None, owner: CollectionRow) -> None:
    # On vectors of length 1 all three rank alike; whether they are is seen when it is tried.
    if metric is not None and metric != owner.metric and "cosine" not in (metric, owner.metric):
        raise InputError(
            f"the index compares by {metric}, collection {owner.name!r} by {owner.metric}"
        )


def _name(premises: Premises, owner: CollectionRow, row: IndexRow, ids: Names) -> None:
    """Store what the index calls our items."""
    pairs = ids.items() if isinstance(ids, Mapping) else enumerate(ids)
    store, source = premises.store, iter(pairs)
    while part := [(str(theirs), str(ours)) for theirs, ours in islice(source, _BATCH)]:
        with store.reading() as reader:
            keys = reader.keys_of(owner.id, [ours for _, ours in part])
        values = [
            {"index_id": row.id, "foreign_id": theirs, "key": keys[ours]}
            for theirs, ours in part
            if ours in keys
        ]
        if values:
            with store.writing() as connection:
                connection.execute(sa.insert(store.tables.aliases), values)


def _tried(premises: Premises, owner: CollectionRow, indexes: IndexSet, row: IndexRow) -> float:
    with premises.store.reading() as reader:
        state = reader.state_of(owner)
        rows = sample(reader, owner, state)
        queries = rows[:: max(1, len(rows) // QUERIES)][:QUERIES]
        if not len(queries):
            return 1.0
        loaded = indexes.current(reader, state, row.name)
        wanted = Search(reader, owner, state, None, Request(queries, K)).run()
        found = Search(reader, owner, state, loaded, Request(queries, K)).run()
    return recall_of(found, wanted)
