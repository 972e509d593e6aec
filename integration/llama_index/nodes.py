"""How a node is kept: its text as the document, its own metadata, and the rest below one key.

A filter finds each field of the metadata where it stood, and the document that a node comes from at
`_node.ref_doc_id`, which is indexed. What has its default is not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    MetadataMode,
    Node,
    RelatedNodeInfo,
    TextNode,
)

from requant.errors import CorruptDataError, DimensionError, InputError
from requant.integration.llama_index.errors import NoEmbeddingError

OWN = "_node"
REF = f"{OWN}.ref_doc_id"
# What LlamaIndex's stores write where a node comes from no document: filters may ask for it.
NO_DOCUMENT = "None"
_CLASSES: dict[str, type[BaseNode]] = {
    kind.class_name(): kind for kind in (TextNode, Node, ImageNode, IndexNode, Document)
}
_BLANK: dict[str, Any] = TextNode(id_="").__dict__
# What a plain node has besides: each is kept where it differs from its default.
_REST = tuple(
    name for name in _BLANK if name not in ("id_", "embedding", "metadata", "text", "relationships")
)
_RELATED = RelatedNodeInfo(node_id="").__dict__
_blank, _validated = object.__new__, TextNode.__pydantic_validator__.validate_python


class Columns(NamedTuple):
    """Nodes as `Collection.upsert` takes them."""

    ids: list[str]
    vectors: list[Sequence[float]]
    documents: list[str]
    metadata: list[dict[str, Any]]


def to_columns(nodes: Sequence[BaseNode]) -> Columns:
    """Return nodes as columns; the embeddings are of one dimension.

    Raises:
        NoEmbeddingError, DimensionError, InputError: a node cannot be stored; none is, then.
    """
    # A node can be iterated, too: over its fields.
    if isinstance(nodes, str | BaseNode | Mapping) or not isinstance(nodes, Iterable):
        raise InputError(f"nodes is a list of nodes of LlamaIndex, not {type(nodes).__name__}")
    columns = Columns([], [], [], [])
    for row, node in enumerate(nodes):
        if not isinstance(node, BaseNode):
            raise InputError(f"row {row}: {type(node).__name__} is no node of LlamaIndex")
        vector = node.embedding
        if vector is None:
            raise NoEmbeddingError(
                f"row {row}, node {node.node_id[:80]!r}: it has no embedding: let a "
                "VectorStoreIndex embed it, or set node.embedding"
            )
        if columns.vectors and len(vector) != len(columns.vectors[0]):
            raise DimensionError(
                f"row {row}, node {node.node_id[:80]!r}: {len(vector)} dimensions, those before it "
                f"have {len(columns.vectors[0])}: one store holds the vectors of one model"
            )
        columns.ids.append(node.node_id)
        columns.vectors.append(vector)
        columns.documents.append(node.get_content(metadata_mode=MetadataMode.NONE))
        columns.metadata.append({**_metadata(row, node), OWN: _rest(node)})
    return columns


def to_node(id: object, document: str | None, metadata: Mapping[str, Any] | None) -> BaseNode:
    """Return the node of an item; one that LlamaIndex has not written is a plain TextNode.

    Raises CorruptDataError where what stands for a node is none.
    """
    fields = dict(metadata or {})
    kept = fields.pop(OWN, None)
    try:
        rest = {} if kept is None else dict(kept)
        kind, _ = rest.pop("type", "TextNode"), rest.pop("ref_doc_id", None)
        data = rest.pop("data", None)
        if data is not None:
            return _CLASSES.get(kind, TextNode).from_dict(
                {**data, "id_": str(id), "metadata": fields, **_text(data, document)}
            )
        rest["id_"], rest["text"], rest["metadata"] = str(id), document or "", fields
        # All that the constructors do, without the Python around it: it takes half as long.
        node: TextNode = _validated(rest, self_instance=_blank(TextNode))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptDataError(
            f"id {str(id)[:80]!r}: what its metadata has under {OWN!r} was not written by a "
            "RequantVectorStore: rename this key in what wrote it"
        ) from error
    return node


def _metadata(row: int, node: BaseNode) -> dict[str, Any]:
    if OWN in node.metadata:
        raise InputError(
            f"row {row}, node {node.node_id[:80]!r}: the key {OWN!r} of its metadata is where the "
            "store keeps the rest of a node: rename it"
        )
    return node.metadata


def _rest(node: BaseNode) -> dict[str, Any]:
    """Return everything but id, text, vector and metadata."""
    kind = node.class_name()
    rest: dict[str, Any] = {"type": kind, "ref_doc_id": node.ref_doc_id or NO_DOCUMENT}
    if type(node) is not TextNode:
        data = node.model_dump(mode="json", exclude={"embedding", "metadata"})
        return {**rest, "data": _without_text(data)}
    values = node.__dict__
    rest.update((name, values[name]) for name in _REST if values[name] != _BLANK[name])
    if node.relationships:
        rest["relationships"] = {
            relation.value: [_to_related(each) for each in one]
            if isinstance(one, list)
            else _to_related(one)
            for relation, one in node.relationships.items()
        }
    return rest


def _without_text(data: dict[str, Any]) -> dict[str, Any]:
    """Leave out the text, which is the document, and the id."""
    resource = data.get("text_resource")
    if isinstance(resource, dict):
        data["text_resource"] = {**resource, "text": None}
    return {key: value for key, value in data.items() if key not in ("id_", "text")}


def _text(data: Mapping[str, Any], document: str | None) -> dict[str, Any]:
    if "text_resource" not in data:
        return {"text": document or ""}
    resource = data["text_resource"]
    return {} if resource is None else {"text_resource": {**resource, "text": document}}


def _to_related(info: RelatedNodeInfo) -> dict[str, Any]:
    values = info.__dict__
    return {name: values[name] for name in values if values[name] != _RELATED[name]}
