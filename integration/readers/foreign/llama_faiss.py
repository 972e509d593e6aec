"""FAISS inside a LlamaIndex folder: which node each vector belongs to."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np

from requant.integration.errors import SourceError
from requant.integration.readers.foreign.faiss_rows import FaissRows, read_faiss
from requant.integration.readers.foreign.json_files import as_object, read_object

ID_MAP = "id_map.json"
_INDEXES = "index_store.json"


def read_positions(store: Path) -> tuple[FaissRows, list[str]]:
    """Return the vectors of a FAISS store and the node of each; raises SourceError."""
    rows = read_faiss(store)
    _check_collisions(store, rows)
    beside = store.parent / ID_MAP
    nodes = _mapped(beside, rows) if beside.is_file() else _positional(store.parent / _INDEXES)
    missing = next((key for key in rows.ids.tolist() if key not in nodes), None)
    if missing is not None:
        source = beside if beside.is_file() else store.parent / _INDEXES
        raise SourceError(
            f"{store}: its vector {missing} belongs to no node in {source.name}: the files were "
            "not saved together"
        )
    return rows, [nodes[key] for key in rows.ids.tolist()]


def _check_collisions(store: Path, rows: FaissRows) -> None:
    keys, counts = np.unique(rows.ids, return_counts=True)
    if (counts > 1).any():
        key = int(keys[counts.argmax()])
        raise SourceError(
            f"{store}: {counts.max()} vectors have the id {key}{_sharers(store, key)}, and nothing "
            "tells them apart: LlamaIndex's FaissMapVectorStore gives an id again after a node was "
            "deleted; embed the nodes with that id anew in a fresh index"
        )


def _sharers(store: Path, key: int) -> str:
    """Name the nodes that share an id, if the map still knows them."""
    beside = store.parent / ID_MAP
    if not beside.is_file():
        return ""
    nodes = _id_map(beside).get("node_id_to_faiss_id_map")
    named = (
        [name for name, value in nodes.items() if value == key] if isinstance(nodes, dict) else []
    )
    return f" (nodes {', '.join(repr(name[:80]) for name in named)})" if named else ""


def _positional(path: Path) -> dict[int, str]:
    """Return the node at each position, from the indexes that were built on the store."""
    if not path.is_file():
        raise SourceError(f"{path} does not exist: it tells which vector belongs to which node")
    nodes: dict[int, str] = {}
    indexes = as_object(read_object(path).get("index_store/data", {}), f"{path}: index_store/data")
    for name, index in indexes.items():
        where = f"{path}, index {name[:80]!r}"
        if as_object(index, where).get("__type__") != "vector_store":
            continue
        for text, node in _nodes_dict(index.get("__data__"), where).items():
            key = int(text) if text.isdecimal() else -1
            if nodes.setdefault(key, node) != node:
                raise SourceError(
                    f"{path}: vector {text} belongs to nodes {nodes[key]!r} and {node!r}: the "
                    "folder holds several indexes on different stores"
                )
    return nodes


def _nodes_dict(data: Any, where: str) -> dict[str, str]:
    try:
        fields = json.loads(data) if isinstance(data, str) else data
    except ValueError as error:
        raise SourceError(f"{where}: __data__ is not JSON: {error}") from error
    return as_object(as_object(fields, where).get("nodes_dict"), f"{where}: nodes_dict")


def _mapped(path: Path, rows: FaissRows) -> dict[int, str]:
    nodes = as_object(_id_map(path).get("faiss_id_to_node_id_map"), str(path))
    found = {int(key): node for key, node in nodes.items() if str(key).isdecimal()}
    # A node that has two vectors would come out twice under its id.
    owners: dict[str, int] = {}
    for key in rows.ids.tolist():
        node = found.get(key)
        if node is not None and owners.setdefault(node, key) != key:
            raise SourceError(f"{path}: node {node!r} has two vectors, {owners[node]} and {key}")
    return found


def _id_map(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = _literal(path, text)
    return as_object(value, str(path))


def _literal(path: Path, text: str) -> Any:
    """Return what releases before JSON wrote: a dict as Python shows it. Nothing is evaluated."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise SourceError(f"{path} is neither JSON nor a dict: {error}") from error
