"""LangChain's FAISS folders: index.faiss, and index.pkl with the documents and their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from requant.integration.errors import SourceError
from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.faiss_rows import FaissRows, read_faiss
from requant.integration.readers.foreign.listed import Listed, refuse_wanted
from requant.integration.readers.foreign.unpickling import Stub, unpickle


class _Docstore(Stub):
    """LangChain's InMemoryDocstore."""


class _Document(Stub):
    """LangChain's Document."""


# Every place that the two classes have had, since 2023.
_ADMITTED: dict[tuple[str, str], type[Stub]] = {
    **{
        (module, "InMemoryDocstore"): _Docstore
        for module in (
            "langchain_community.docstore.in_memory",
            "langchain_classic.docstore.in_memory",
            "langchain.docstore.in_memory",
        )
    },
    **{
        (module, "Document"): _Document
        for module in (
            "langchain_core.documents.base",
            "langchain_core.documents",
            "langchain_community.docstore.document",
            "langchain_classic.docstore.document",
            "langchain.schema.document",
            "langchain.schema",
            "langchain.docstore.document",
        )
    },
}


def is_langchain(source: str) -> bool:
    """Tell whether a path is a folder of LangChain's, or its .pkl file."""
    return bool(_pairs(Path(source)))


def open_langchain(source: str, wanted: Wanted) -> Listed:
    """Read a folder that `FAISS.save_local` has made.

    Args:
        source: the folder, or the .pkl file of one of its indexes.
        wanted: nothing, since LangChain tells itself what is what.

    Raises:
        SourceError: a file is missing or damaged, the two do not belong together, or the pickle
            asks for anything but LangChain's two classes; nothing of it is run.
    """
    refuse_wanted(source, "LangChain", wanted)
    pair = _chosen(Path(source))
    positions, documents = _order(_file(pair, "pkl"))
    rows = read_faiss(_file(pair, "faiss"))
    _check(pair, positions, documents, rows)
    # An index of inverted lists hands out its rows list by list.
    order = np.argsort(rows.ids)
    ids = [positions[at] for at in rows.ids[order].tolist()]
    found = [documents[key] for key in ids]
    listed = Listed(
        name=str(_file(pair, "faiss")),
        kind=f"LangChain FAISS folder ({rows.kind})",
        fidelity=rows.fidelity,
        metric=rows.metric,
        ids=ids,
        vectors=rows.vectors[order],
        documents=[fields.get("page_content") for fields in found],
        metadata=[fields.get("metadata") or None for fields in found],
        notes=[*rows.notes, _length_note(rows.vectors)],
    )
    if left := len(documents) - len(ids):
        listed.note(f"{left} documents of the folder belong to no vector and are left out")
    return listed


def _pairs(path: Path) -> list[Path]:
    """Return the files that come in pairs, without their suffix."""
    if path.is_dir():
        found = sorted(path.glob("*.faiss"))
    else:
        # A .faiss file on its own is read as such: ids and vectors.
        found = [path.with_suffix(".faiss")] if path.suffix == ".pkl" else []
    pairs = [file.with_suffix("") for file in found]
    return [pair for pair in pairs if all(_file(pair, part).is_file() for part in ("faiss", "pkl"))]


def _file(pair: Path, part: str) -> Path:
    # Not `with_suffix`, which would cut "notes.v2" short.
    return pair.with_name(f"{pair.name}.{part}")


def _chosen(path: Path) -> Path:
    pairs = _pairs(path)
    if not pairs:
        raise SourceError(f"{path} has no pair NAME.faiss and NAME.pkl: it is not LangChain's")
    if len(pairs) > 1:
        names = ", ".join(f"{pair}.pkl" for pair in pairs)
        raise SourceError(f"{path} holds {len(pairs)} indexes, name one: {names}")
    return pairs[0]


def _order(path: Path) -> tuple[dict[int, str], dict[str, Any]]:
    """Return the id at each position, and each document's fields."""
    value = unpickle(path, _ADMITTED)
    store, positions = value if isinstance(value, tuple) and len(value) == 2 else (None, None)
    documents = store.fields().get("_dict") if isinstance(store, _Docstore) else None
    if not isinstance(documents, dict) or not isinstance(positions, dict):
        raise SourceError(f"{path} holds no pair of documents and positions: not LangChain's")
    for key, document in documents.items():
        if not isinstance(document, _Document) or "page_content" not in document.fields():
            raise SourceError(f"{path}: what it has under id {str(key)[:80]!r} is no document")
    return positions, {key: document.fields() for key, document in documents.items()}


def _check(
    pair: Path, positions: dict[int, str], documents: dict[str, Any], rows: FaissRows
) -> None:
    """Refuse files that do not belong together: LangChain writes them one after the other."""
    if positions.keys() != set(rows.ids.tolist()) or len(positions) != len(rows.ids):
        raise SourceError(
            f"{pair}.faiss has {len(rows.ids)} vectors, {pair}.pkl names {len(positions)}, and not "
            "the same ones: the two files were not saved together"
        )
    for at, key in positions.items():
        if not isinstance(key, str) or key not in documents:
            raise SourceError(
                f"{pair}.pkl: position {at} is id {str(key)[:80]!r}, which has no document: the "
                "file is damaged"
            )


def _length_note(vectors: Any) -> str:
    lengths = np.linalg.norm(vectors, axis=1)
    unit = bool(len(lengths)) and bool((np.abs(lengths - 1) < 1e-4).all())
    found = (
        "every vector has length one, made so by it or by the model"
        if unit
        else "the lengths are unequal, so it was off"
    )
    return f"LangChain does not save whether normalize_L2 was on: {found}"
