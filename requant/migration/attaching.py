"""Attaching: an index of another program becomes one of a collection, as it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from requant.adapters.files import Digest
from requant.adapters.hosts import check_stored
from requant.errors import CorruptIndexError, InputError
from requant.indexes import (
    ATTACHED,
    IndexSet,
    Workspace,
    open_attached,
    prepared,
    refuse_secrets,
    spread,
)
from requant.quantizers import factory
from requant.quantizers.floats import FloatQuantizer
from requant.search import Request, Search
from requant.store import (
    CollectionRow,
    CollectionState,
    Generation,
    Id,
    IndexConfig,
    IndexRow,
    Store,
    Watermark,
    key_range,
    ledger,
)

K = 10
OVERSAMPLE = 4
# An index of the same vectors finds more of them than this, however coarse it is.
_LEAST = 0.9
_BATCH = 10_000

Names = Mapping[Id, Id] | Iterable[Id]


def attach(
    workspace: Workspace,
    owner: CollectionRow,
    indexes: IndexSet,
    name: str,
    config: IndexConfig,
    ids: Names | None,
) -> float:
    """Attach and try an index, as `Collection.attach_index` says; return its recall."""
    refuse_secrets(config.engine, config.params)
    workspace.secrets.trust(config)
    if ids is not None and (isinstance(ids, str) or not isinstance(ids, Iterable)):
        raise InputError("ids must be a dict from its ids to yours, or a list of yours")
    foreign = open_attached(config, workspace, owner)
    try:
        items, stamp = len(foreign), foreign.stamp()
        _check_metric(foreign.metric, owner)
    finally:
        foreign.close()
    store = workspace.store
    row = ledger.add(store, owner.id, name, config)
    try:
        if ids is not None:
            _name(workspace, owner, row, ids)
        store.number(owner.id, wait=True)
        with store.reading() as reader:
            state = reader.state_of(owner)
            first, end = key_range(owner.id)
            stored = reader.count_vectors(first, end)
        if items < stored:
            raise InputError(
                f"{config.url} holds {items} vectors, collection {owner.name!r} {stored}: what it "
                "does not hold could not be found; attach it to a collection of what it holds"
            )
        _mark(store, owner, row, state, items, stamp)
        recall = _tried(workspace, owner, indexes, row)
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
    if not location.strip():
        raise InputError("location must name the file, folder or URL of the index")
    check_stored(location)
    if "://" not in location:
        location = str(Path(location).expanduser().absolute())
    return IndexConfig(engine, ATTACHED, "flat", options, params, False, location)


def _check_metric(metric: str | None, owner: CollectionRow) -> None:
    # On vectors of length 1 all three rank alike; whether they are is seen when it is tried.
    if metric is not None and metric != owner.metric and "cosine" not in (metric, owner.metric):
        raise InputError(
            f"the index compares by {metric}, collection {owner.name!r} by {owner.metric}"
        )


def _name(workspace: Workspace, owner: CollectionRow, row: IndexRow, ids: Names) -> None:
    """Store what the index calls our items."""
    pairs = ids.items() if isinstance(ids, Mapping) else enumerate(ids)
    store, source = workspace.store, iter(pairs)
    while part := [(str(theirs), str(ours)) for theirs, ours in islice(source, _BATCH)]:
        with store.reading() as reader:
            keys = reader.keys_of(owner.id, [ours for _, ours in part])
        values = [
            {"index_id": row.id, "foreign_id": theirs, "key": keys[ours]}
            for theirs, ours in part
            if ours in keys
        ]
        if len({value["foreign_id"] for value in values}) < len(values):
            raise InputError("ids= names one of its ids twice")
        if values:
            with store.writing() as connection:
                connection.execute(sa.insert(store.tables.aliases), values)


def _tried(workspace: Workspace, owner: CollectionRow, indexes: IndexSet, row: IndexRow) -> float:
    """Return the share of the 10 nearest that are among the candidates of stored vectors.

    Raises InputError if these vectors are not even found themselves.
    """
    with workspace.store.reading() as reader:
        state = reader.state_of(owner)
        keys, vectors = spread(reader, owner, state)
        if not len(keys):
            return 1.0
        try:
            loaded = indexes.current(reader, state, row.name)
        except CorruptIndexError as error:
            raise InputError(_others(row, owner, 0.0)) from error
        assert loaded is not None
        queries = prepared(owner, vectors)
        nearest = Search(reader, owner, state, None, Request(queries, K)).run()
        found = loaded.backend.search(queries, min(OVERSAMPLE * K, loaded.size)).keys
    itself = float((found == keys[:, None]).any(axis=1).mean())
    if itself < _LEAST:
        raise InputError(_others(row, owner, itself))
    hits = [np.isin(best, row).sum() for (best, _), row in zip(nearest, found, strict=True)]
    return float(sum(hits) / sum(len(best) for best, _ in nearest))


def _others(row: IndexRow, owner: CollectionRow, itself: float) -> str:
    return (
        f"{row.config.url} finds {itself:.0%} of the vectors of collection {owner.name!r} by "
        "themselves: it holds others, calls them otherwise (ids=), or compares in another way"
    )


def _mark(
    store: Store,
    owner: CollectionRow,
    row: IndexRow,
    state: CollectionState,
    items: int,
    stamp: str,
) -> None:
    """Record that an index holds what the collection held at `state`."""
    quantizer = FloatQuantizer(owner.dim, "native")
    _, end = key_range(owner.id)
    generation = Generation(
        fingerprint=factory.fingerprint(quantizer),
        fit_rows=items,
        spec={"metric": "ip", "expected": items},
        watermark=Watermark(min(state.next_key, end), state.seq),
        items=items,
        file="",
        digest=Digest(0, ""),
        stamp=stamp,
    )
    ledger.record(store, row, generation, factory.to_bytes(quantizer), state.seen)
