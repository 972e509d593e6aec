"""LlamaIndex's persist folders: docstore.json, index_store.json and a vector store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from requant.integration.errors import SourceError
from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.json_files import as_object, read_object, to_vectors
from requant.integration.readers.foreign.listed import Listed, refuse_wanted
from requant.integration.readers.foreign.llama_faiss import ID_MAP, read_positions

_SUFFIX = "__vector_store.json"
_DEFAULT = f"default{_SUFFIX}"
_DOCUMENTS = "docstore.json"
_OWN_KEYS = ("_node_content", "_node_type", "document_id", "doc_id", "ref_doc_id")
RELATIONS = "relationships between nodes (source, previous, next, parent, child) are left out"


def is_llama_index(source: str) -> bool:
    """Tell whether a path is a persist folder, or a vector store file in one."""
    return _store(Path(source)) is not None


def open_llama_index(source: str, wanted: Wanted) -> Listed:
    """Read a folder that `storage_context.persist` has made.

    Args:
        source: the folder, which means its default vector store, or one of its vector store files.
        wanted: nothing, since LlamaIndex tells itself what is what.

    Raises:
        SourceError: a file is missing or damaged, two nodes have one id in FAISS, or a vector
            belongs to no node; the text names it.
    """
    refuse_wanted(source, "LlamaIndex", wanted)
    store = _store(Path(source))
    if store is None:
        raise SourceError(f"{source} has no file {_DEFAULT}: it is no folder of LlamaIndex")
    nodes = _nodes(store.parent / _DOCUMENTS)
    listed = _from_json(store, nodes) if _is_json(store) else _from_faiss(store, nodes)
    if nodes and any(node.get("relationships") for node in nodes.values()):
        listed.note(RELATIONS)
    if others := _others(store):
        listed.note(f"other vector stores of the folder are left out: {', '.join(others)}")
    return listed


def _store(path: Path) -> Path | None:
    if path.is_dir():
        path = path / _DEFAULT
    return path if path.name.endswith(_SUFFIX) and path.is_file() else None


def _is_json(path: Path) -> bool:
    """Tell a SimpleVectorStore from FAISS, which LlamaIndex saves under the same name."""
    with path.open("rb") as stream:
        return stream.read(64).lstrip()[:1] == b"{"


def _others(store: Path) -> list[str]:
    found = sorted(file for file in store.parent.glob(f"*{_SUFFIX}") if file != store)
    return [
        file.name for file in found if not _is_json(file) or read_object(file).get("embedding_dict")
    ]


def _nodes(path: Path) -> dict[str, dict[str, Any]] | None:
    """Return the fields of each node; None if the texts are kept elsewhere."""
    if not path.is_file():
        return None
    data = as_object(read_object(path).get("docstore/data", {}), f"{path}: docstore/data")
    return {key: _fields(value, f"{path}, node {key[:80]!r}") for key, value in data.items()}


def _fields(value: Any, where: str) -> dict[str, Any]:
    fields = as_object(value, where).get("__data__")
    # Some versions write the node as text within the JSON.
    if isinstance(fields, str):
        try:
            fields = json.loads(fields)
        except ValueError as error:
            raise SourceError(f"{where}: __data__ is not JSON: {error}") from error
    return as_object(fields, f"{where}: __data__")


def _from_json(store: Path, nodes: dict[str, dict[str, Any]] | None) -> Listed:
    held = read_object(store)
    vectors = as_object(held.get("embedding_dict"), f"{store}: embedding_dict")
    if not vectors:
        raise SourceError(f"{store} holds no vectors: they are in another store, such as a server")
    ids = list(vectors)
    floats, present = to_vectors(list(vectors.values()), ids, str(store))
    own = as_object(held.get("metadata_dict") or {}, f"{store}: metadata_dict")
    of = as_object(held.get("text_id_to_ref_doc_id") or {}, f"{store}: text_id_to_ref_doc_id")
    source = Listed(
        name=str(store),
        kind="LlamaIndex SimpleVectorStore",
        fidelity="exact",
        metric="cosine",
        ids=ids,
        vectors=floats,
        present=present,
        origins={key: name for key, name in of.items() if name not in (None, "None")},
    )
    # A node that is not in docstore.json still has its metadata beside its vector.
    _describe(source, nodes or {}, own)
    return source


def _from_faiss(store: Path, nodes: dict[str, dict[str, Any]] | None) -> Listed:
    rows, ids = read_positions(store)
    beside = (store.parent / ID_MAP).is_file()
    source = Listed(
        name=str(store),
        kind=f"LlamaIndex {'FaissMapVectorStore' if beside else 'FaissVectorStore'} ({rows.kind})",
        fidelity=rows.fidelity,
        metric=rows.metric,
        ids=ids,
        vectors=rows.vectors,
        notes=rows.notes,
    )
    _describe(source, nodes or {}, {})
    return source


def _describe(source: Listed, nodes: dict[str, dict[str, Any]], own: dict[str, Any]) -> None:
    """Fill in documents and metadata."""
    source.documents = [_text(nodes.get(key, {})) for key in source.ids]
    source.metadata = [_metadata(nodes.get(key), own.get(key)) for key in source.ids]
    missing = sum(key not in nodes for key in source.ids)
    if missing:
        source.note(f"{missing} of {source.rows} nodes have no text in {_DOCUMENTS}")
    if left := len(nodes.keys() - set(source.ids)):
        source.note(f"{left} nodes of {_DOCUMENTS} belong to no vector and are left out")


def _text(node: dict[str, Any]) -> Any:
    """Return a node's text: `text`, or `text_resource` of the nodes of several media."""
    if "text" in node:
        return node["text"]
    resource = node.get("text_resource")
    return resource.get("text") if isinstance(resource, dict) else None


def _metadata(node: dict[str, Any] | None, own: Any) -> Any:
    if node is not None:
        # Before 0.6 of LlamaIndex it was called extra_info.
        return node.get("metadata") or node.get("extra_info") or None
    if not isinstance(own, dict):
        return None
    return {key: value for key, value in own.items() if key not in _OWN_KEYS} or None
