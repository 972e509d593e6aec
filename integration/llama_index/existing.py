"""A store of LlamaIndex that is there already, as one of requant: nothing is embedded again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores.utils import metadata_dict_to_node

from requant.errors import RequantError
from requant.integration.errors import SourceError
from requant.integration.existing import lacking, metric_of, warn_of
from requant.integration.llama_index.nodes import OWN, to_columns, to_node
from requant.integration.locations import Location
from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.llama_index import RELATIONS
from requant.integration.readers.foreign.opening import open_foreign
from requant.integration.readers.foreign.protocol import ForeignSource
from requant.integration.readers.source import Batch

if TYPE_CHECKING:
    from requant.integration.llama_index.store import RequantVectorStore

_DOCUMENTS = "docstore.json"
_BATCH = 1024


def from_existing(
    kind: type[RequantVectorStore],
    source: str | PathLike[str],
    location: Location,
    vector: str | None,
    text: str | None,
    options: dict[str, Any],
) -> RequantVectorStore:
    """Do as `RequantVectorStore.from_existing`."""
    name = fspath(source)
    foreign = open_foreign(name, Wanted(vector=vector, documents=text, framework=True))
    if foreign is None:
        raise SourceError(
            f"{name} is no store that can be read: give a persist folder of LlamaIndex, or a "
            "collection of Chroma, Qdrant, LanceDB or FAISS"
        )
    try:
        if "metric" not in options:
            options["metric"] = metric_of(foreign.name, foreign.metric, foreign.notes)
        store = kind(location, **options)
        try:
            _fill(store, foreign, _documents(name))
        except BaseException:
            store.close()
            raise
    finally:
        foreign.close()
    return store


def _fill(
    store: RequantVectorStore, foreign: ForeignSource, documents: dict[str, BaseNode]
) -> None:
    """Store everything, or leave the collection as it was: absent, or without a node."""
    bare: list[str] = []
    with store.filling(foreign.dim, foreign.name, foreign.kind) as target:
        for batch in foreign.batches(_BATCH):
            nodes = list(_nodes(foreign, batch, documents))
            texts = batch.documents or [None] * len(nodes)
            bare += [
                node.node_id
                for node, text in zip(nodes, texts, strict=True)
                if text is None and _is_bare(node, documents)
            ]
            target.upsert(*to_columns(nodes), duplicates="last")
        if not len(target):
            raise SourceError(f"{foreign.name} holds no nodes")
        target.note_origin(foreign.name, foreign.kind, foreign.fidelity)
        store.made(target.dim)  # with its indexes
        # Nodes come from the docstore with their relationships.
        notes = [note for note in foreign.notes if note != RELATIONS]
        lacks = lacking("text", bare, len(bare), len(target))
        warn_of(foreign.name, foreign.fidelity, notes, store.metric, lacks)


def _is_bare(node: BaseNode, documents: dict[str, BaseNode]) -> bool:
    """Whether a node has come without a text; what docstore.json has is whole."""
    return type(node) is TextNode and not node.text and node.node_id not in documents


def _nodes(
    foreign: ForeignSource, batch: Batch, documents: dict[str, BaseNode]
) -> Iterator[BaseNode]:
    name, vectors = foreign.name, iter(batch.vectors)
    # A SimpleVectorStore knows which document a node is of, also without a docstore.
    origins: Mapping[str, str] = getattr(foreign, "origins", {})
    for row, each in enumerate(batch.ids):
        if batch.present is not None and not batch.present[row]:
            raise SourceError(f"{name}, id {str(each)[:80]!r}: it has no vector")
        text = None if batch.documents is None else batch.documents[row]
        metadata = None if batch.metadata is None else batch.metadata[row]
        try:
            node = documents.get(str(each)) or _node(each, text, metadata)
        except (RequantError, ValueError, TypeError, KeyError) as error:
            raise SourceError(
                f"{name}, id {str(each)[:80]!r}: what LlamaIndex wrote of the node cannot be "
                f"read: {error}"
            ) from error
        given = {"id_": str(each), "embedding": next(vectors).tolist()}
        if not node.relationships and str(each) in origins:
            source = RelatedNodeInfo(node_id=origins[str(each)])
            given["relationships"] = {NodeRelationship.SOURCE: source}
        yield node.model_copy(update=given)


def _node(each: object, text: str | None, metadata: Any) -> BaseNode:
    """Return the node that LlamaIndex wrote, or what another program's item is as one."""
    if isinstance(metadata, str):
        metadata = json.loads(metadata)
    fields = dict(metadata or {})
    if OWN in fields:
        return to_node(each, text, fields)
    if "_node_content" in fields:
        node = metadata_dict_to_node(fields)
        if text:
            node.set_content(text)
        return node
    return TextNode(id_=str(each), text=text or "", metadata=fields)


def _documents(name: str) -> dict[str, BaseNode]:
    """Return the nodes that a persist folder keeps beside their vectors, whole."""
    folder = Path(name)
    path = (folder if folder.is_dir() else folder.parent) / _DOCUMENTS
    if not path.is_file():
        return {}
    try:
        return dict(SimpleDocumentStore.from_persist_path(str(path)).docs)
    except (ValueError, TypeError, KeyError) as error:
        raise SourceError(f"{path}: LlamaIndex cannot read it: {error}") from error
