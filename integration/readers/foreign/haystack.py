"""Haystack's stores: the FAISS store's .faiss and .json, and the in-memory store's JSON."""

from __future__ import annotations

from collections.abc import Mapping
from os import SEEK_END
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from requant.integration.errors import SourceError
from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.faiss_rows import read_faiss
from requant.integration.readers.foreign.json_files import (
    as_list,
    as_object,
    read_object,
    to_vectors,
)
from requant.integration.readers.foreign.listed import Listed, Metric, refuse_wanted

# Fields of a document, also those of old releases; everything else in a flat one is metadata.
_FIELDS = {
    *("id", "content", "blob", "meta", "score", "embedding", "sparse_embedding"),
    *("dataframe", "content_type", "id_hash_keys"),
}
_METRICS: dict[Any, Metric] = {"dot_product": "ip", "cosine": "cosine"}
# Within so many bytes of their ends both stores' files tell what they are.
_HEAD, _TAIL = 1024, 64
# What qdrant-haystack makes the ids of its points with.
_POINTS = UUID("3896d314-1e95-4a3a-b45a-945f9f0b541d")
LOST = {
    "blob": "binary contents (blob) are left out",
    "sparse_embedding": "sparse embeddings are left out",
    "dataframe": "tables (dataframe) are left out",
}


def is_haystack(source: str) -> bool:
    """Tell whether a path is a store's JSON file, or a folder with one store."""
    return any(_looks_right(file) for file in _candidates(Path(source)))


def open_haystack(source: str, wanted: Wanted) -> Listed:
    """Read a store that Haystack has saved.

    Args:
        source: the .json of either store, or the folder it is in.
        wanted: nothing, since Haystack tells itself what is what.

    Raises:
        SourceError: a file is missing or damaged, or a document has a vector that is not there.
    """
    refuse_wanted(source, "Haystack", wanted)
    found = [file for file in _candidates(Path(source)) if _looks_right(file)]
    if len(found) != 1:
        names = ", ".join(str(file) for file in found)
        raise SourceError(
            f"{source} holds {len(found)} stores, name one: {names}"
            if found
            else f"{source} holds no store of Haystack"
        )
    held = read_object(found[0])
    documents = [
        as_object(one, f"{found[0]}, document {row}")
        for row, one in enumerate(as_list(held.get("documents"), f"{found[0]}: documents"))
    ]
    for row, one in enumerate(documents):
        if not isinstance(one.get("id"), str):
            raise SourceError(f"{found[0]}, document {row}: it has no id")
    return _listed(found[0], held, documents)


def _candidates(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("*.json"))
    return [path] if path.suffix == ".json" else []


def _looks_right(path: Path) -> bool:
    """Tell one of Haystack's files by how it begins and ends, however long it is."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
            stream.seek(-min(_TAIL, path.stat().st_size), SEEK_END)
            tail = stream.read()
    except OSError:
        return False
    if b"InMemoryDocumentStore" in head:
        return True
    paired = b'"next_id"' in tail or path.with_suffix(".faiss").is_file()
    return paired and b'"documents"' in head[:_TAIL]


def _listed(path: Path, held: dict[str, Any], documents: list[dict[str, Any]]) -> Listed:
    ids = [one["id"] for one in documents]
    in_faiss = "id_map" in held
    lists = [one.get("embedding") for one in documents]
    floats, present = to_vectors(lists, ids, str(path))
    if in_faiss:
        _check_faiss(path, held, ids, present.tolist())
    if not present.any():
        raise SourceError(f"{path}: none of its {len(ids)} documents has a vector")
    options = held.get("init_parameters")
    told = options.get("embedding_similarity_function") if isinstance(options, dict) else None
    return Listed(
        name=str(path),
        kind=f"Haystack {'FAISSDocumentStore' if in_faiss else 'InMemoryDocumentStore'}",
        fidelity="exact",
        # Its FAISS index is made by the factory without a metric, which means L2.
        metric="l2" if in_faiss else _METRICS.get(told),
        ids=ids,
        vectors=floats,
        present=present,
        documents=[one.get("content") for one in documents],
        metadata=[_metadata(one) or None for one in documents],
        notes=[note for name, note in LOST.items() if any(one.get(name) for one in documents)],
        beside={one["id"]: kept for one in documents if (kept := _beside(one))},
    )


def _check_faiss(path: Path, held: dict[str, Any], ids: list[str], present: list[bool]) -> None:
    """Refuse a pair of files that was not saved together.

    The vectors come from the JSON, where Haystack keeps them as they were given.
    """
    numbers = as_object(held.get("inverse_id_map"), f"{path}: inverse_id_map")
    keys = set(read_faiss(path.with_suffix(".faiss")).ids.tolist())
    for name, there in zip(ids, present, strict=True):
        if there != (numbers.get(name) in keys):
            raise SourceError(
                f"{path}: document {name[:80]!r} has {'a' if there else 'no'} vector here and "
                f"{'none' if there else 'one'} in {path.with_suffix('.faiss').name}: the two files "
                "were not saved together"
            )


def _metadata(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document's metadata: nested, or flat beside its fields, or both."""
    nested = one.get("meta")
    flat = {key: value for key, value in one.items() if key not in _FIELDS}
    return {**flat, **(nested if isinstance(nested, dict) else {})}


def _beside(one: Mapping[str, Any]) -> dict[str, Any]:
    names = ("blob", "sparse_embedding", "score")
    return {name: one[name] for name in names if one.get(name) is not None}


def from_payload(
    point: object, payload: Mapping[str, Any]
) -> tuple[str, Any, dict[str, Any] | None] | None:
    """Return id, document and metadata of a point that qdrant-haystack has written, else None.

    The point's own id is made from the document's, uuid5 of it; the document's is in the payload.

    >>> held = {"id": "a", "content": "text", "meta": {"n": 1}, "score": None}
    >>> from_payload("b987297a-0d7c-5c6a-8f1a-05c5f9a066a6", held)
    ('a', 'text', {'n': 1})
    """
    name = payload.get("id")
    if not isinstance(name, str) or not {"content", "meta"} <= payload.keys():
        return None
    if str(point) != str(uuid5(_POINTS, name)):
        return None
    return name, payload["content"], _metadata(payload) or None


def lost(one: Mapping[str, Any]) -> list[str]:
    """Return what of a document is left out, a sentence each."""
    return [note for name, note in LOST.items() if one.get(name)]
