"""What a collection looks like: counts, sizes, and how far each index has followed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from requant.embeddings import ModelInfo
from requant.errors import CorruptDataError, CorruptIndexError, EngineError
from requant.indexes import ATTACHED, Workspace
from requant.store import (
    CollectionRow,
    CollectionState,
    FieldInfo,
    Generation,
    IndexConfig,
    IndexRow,
    Origin,
    Store,
    catalog,
    field_infos,
    ledger,
    models,
    text_index,
)


@dataclass(frozen=True)
class IndexInfo:
    """One index: what it is, and its newest generation on disk (None before the first).

    `problem` says what is wrong where the database holds nonsense about it: it can be dropped only.
    """

    name: str
    engine: str
    precision: str
    index_type: str
    options: Mapping[str, Any]
    params: Mapping[str, Any]
    url: str | None
    active: bool
    items: int | None
    bytes: int | None
    current: bool
    problem: str | None = None


@dataclass(frozen=True)
class PublishedIndex:
    """One index as it was asked for, and its newest generation with the bytes of its quantizer.

    Both are None before the first.
    """

    name: str
    active: bool
    config: IndexConfig
    generation: Generation | None
    quantizer: bytes | None


@dataclass(frozen=True)
class TextInfo:
    """How the words of documents are indexed; searches use that once it is `ready`."""

    tokenizer: str
    ready: bool


@dataclass(frozen=True)
class Stats:
    """Counts and sizes of a collection; `vector_bytes`: float32, a vector each.

    `origins` tells of imports from other indexes, and whether their vectors were exact; `fields`
    are those of the metadata that are indexed, `text` is how the words of documents are, and
    `model` what embeds them, None where that is not remembered.
    """

    name: str
    dim: int
    metric: str
    items: int
    vector_bytes: int
    indexes: list[IndexInfo]
    origins: list[Origin] = field(default_factory=list)
    fields: list[FieldInfo] = field(default_factory=list)
    text: TextInfo | None = None
    model: ModelInfo | None = None


def collect_stats(workspace: Workspace, owner: CollectionRow) -> Stats:
    """Count and measure a collection."""
    store = workspace.store
    with store.reading() as reader:
        state = reader.state_of(owner)
        items = reader.count(owner.id)
        fields = field_infos(reader.fields(owner.id, state.fields))
        index = text_index(reader, owner)
        model = models.seen_by(reader, owner)
    sound, damaged = ledger.sound_and_damaged(store, owner.id)
    indexes = []
    for row in sound:
        try:
            indexes.append(_info(workspace, row, state))
        except CorruptDataError as error:  # what is said of its generations
            damaged.append(ledger.DamagedIndex(row, error))
    indexes += [_damaged(one, state) for one in damaged]
    origins = catalog.origins(store, owner)
    size = items * owner.dim * 4
    text = None if index is None else TextInfo(index.tokenizer, index.ready)
    return Stats(
        owner.name, owner.dim, owner.metric, items, size, indexes, origins, fields, text, model
    )


def published(store: Store, owner: CollectionRow) -> list[PublishedIndex]:
    """Return all indexes of a collection in the order in which they were added."""
    with store.reading() as reader:
        active = reader.state_of(owner).active
    found = []
    for row in ledger.every(store, owner.id):
        kept = ledger.generations(store, row.id)
        generation, body = kept[0] if kept else (None, None)
        found.append(PublishedIndex(row.name, row.id == active, row.config, generation, body))
    return found


def _info(workspace: Workspace, row: IndexRow, state: CollectionState) -> IndexInfo:
    published = ledger.generations(workspace.store, row.id)
    newest = published[0][0] if published else None
    config = row.config
    return IndexInfo(
        name=row.name,
        engine=config.engine,
        precision=config.precision,
        index_type=config.index_type,
        options=config.options,
        params=config.params,
        url=config.url,
        active=state.active == row.id,
        items=newest.items if newest else None,
        bytes=(newest.digest.bytes or None) if newest else None,
        current=(
            newest is not None
            and newest.watermark.covers(state)
            and not state.fresh
            and _stands(workspace, row, newest)
        ),
    )


def _damaged(one: ledger.DamagedIndex, state: CollectionState) -> IndexInfo:
    config, active = one.row.config, state.active == one.row.id
    return IndexInfo(
        one.row.name, config.engine, config.precision, config.index_type, config.options,
        config.params, config.url, active, None, None, current=False, problem=str(one.error),
    )  # fmt: skip


def _stands(workspace: Workspace, row: IndexRow, newest: Generation) -> bool:
    """Whether something stands where a generation says so; a server is not asked."""
    if row.config.url is not None or row.config.precision == ATTACHED:
        return True
    try:
        return Path(workspace.address_of(row.id, row.config, newest.file)).exists()
    except (CorruptIndexError, EngineError):
        return False
