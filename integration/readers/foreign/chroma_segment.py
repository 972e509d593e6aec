"""The vectors of one Chroma collection: its HNSW segment's files, then the log after them."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.integration.errors import SourceError
from requant.integration.readers.foreign.unpickling import Stub, unpickle

# version; offset of level 0, capacity, elements, bytes an element, offset of the label, of the
# vector; top level, entry point; M twice and once; 1/ln M; ef. The first seven matter.
_HEADER = struct.Struct("<i6QiI3QdQ")
_VERSION = 1
_DELETED = 1
_ADD, _UPDATE, _UPSERT, _DELETE = range(4)
_OPERATIONS = {_ADD, _UPDATE, _UPSERT, _DELETE}
_LABEL_MAPS = {
    ("chromadb.segment.impl.vector.local_persistent_hnsw", "PersistentData"): Stub,
}


@dataclass(frozen=True)
class Segment:
    """What a segment holds: a vector an id, and up to which entry it has followed the log.

    `restored` tells that the vectors were kept at length one, and their lengths beside them.
    """

    vectors: dict[str, NDArray[np.float32]]
    applied: int
    restored: bool


def read_segment(folder: Path, dim: int, applied: int | None, cosine: bool) -> Segment:
    """Read the files of an HNSW segment.

    Args:
        folder: named after the segment; if it is missing, everything is still in the log.
        dim: the width of the collection's vectors.
        applied: the last log entry the segment has seen, as the database tells; older ones told it
            in the label map.
        cosine: the collection is one of cosine, whose vectors are kept at length one.

    Raises:
        SourceError: a file is missing, damaged, or of a version that is not known.
    """
    if not (folder / "index_metadata.pickle").exists():
        return Segment({}, applied or 0, False)
    labels, legacy = _labels(folder / "index_metadata.pickle")
    if not labels:
        return Segment({}, applied if applied is not None else legacy, False)
    rows, found, offset, deleted = _elements(folder, dim)
    floats = rows[:, offset : offset + 4 * dim].copy().view("<f4").astype(np.float32)
    if cosine:
        floats = floats * _lengths(folder / "length.bin", len(rows))[:, np.newaxis]
    at = {label: row for row, label in enumerate(found.tolist()) if not deleted[row]}
    missing = next((name for name, label in labels.items() if label not in at), None)
    if missing is not None:
        raise SourceError(
            f"{folder / 'data_level0.bin'} has no vector with label {labels[missing]} for id "
            f"{missing[:80]!r}: the segment is damaged, or was being written while it was copied"
        )
    vectors = {name: floats[at[label]] for name, label in labels.items()}
    return Segment(vectors, applied if applied is not None else legacy, cosine)


def _labels(path: Path) -> tuple[dict[str, int], int]:
    """Return the label of each id and the last log entry, if the file tells it.

    Chroma 1 writes a plain dict, 0.x an object with the same fields.
    """
    value = unpickle(path, _LABEL_MAPS)
    fields: Mapping[str, Any] = value.fields() if isinstance(value, Stub) else value
    labels = fields.get("id_to_label") if isinstance(fields, Mapping) else None
    if not isinstance(labels, dict) or not all(
        isinstance(name, str) and isinstance(label, int) for name, label in labels.items()
    ):
        raise SourceError(f"{path} holds no map from ids to labels: it is not one of Chroma's")
    applied = fields.get("max_seq_id")
    return labels, applied if isinstance(applied, int) else 0


def _elements(
    folder: Path, dim: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint64], int, NDArray[np.bool_]]:
    """Return the elements as bytes (n, size), their labels, the vector's offset, who is deleted."""
    path, header = folder / "data_level0.bin", folder / "header.bin"
    try:
        parts = _HEADER.unpack(header.read_bytes()[: _HEADER.size])
    except (OSError, struct.error) as error:
        raise SourceError(f"{header} cannot be read: {error}") from error
    version, _, _, count, size, label_at, vector_at = parts[:7]
    if version != _VERSION:
        raise SourceError(f"{header}: version {version} of the format is not known, only 1 is")
    if vector_at < 4 or vector_at + 4 * dim != label_at or label_at + 8 != size:
        raise SourceError(f"{header} does not describe vectors of {dim} dimensions: it is damaged")
    try:
        raw = np.fromfile(
            path, np.uint8, count * size if path.stat().st_size >= count * size else 0
        )
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    if len(raw) != count * size:
        raise SourceError(f"{path} is too short for the {count} vectors that {header} announces")
    rows = raw.reshape(count, size)
    found = rows[:, label_at : label_at + 8].copy().view("<u8")[:, 0].astype(np.uint64)
    # The third byte of an element's list of links carries the mark of deletion.
    deleted = (rows[:, 2] & _DELETED).astype(bool)
    return rows, found, vector_at, deleted


def _lengths(path: Path, count: int) -> NDArray[np.float32]:
    try:
        lengths = np.fromfile(path, "<f4", count)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    if len(lengths) != count:
        raise SourceError(f"{path} is too short: {len(lengths)} lengths of {count} vectors")
    return lengths.astype(np.float32)


def follow_log(
    vectors: dict[str, NDArray[np.float32]],
    database: sqlite3.Connection,
    collection: str,
    applied: int,
    dim: int,
) -> set[str]:
    """Apply what the segment has not seen yet to `vectors`; return the ids that got a new one.

    Raises:
        SourceError: an entry cannot be read; the text names it.
    """
    fresh: set[str] = set()
    entries = database.execute(
        "SELECT seq_id, operation, id, vector, encoding FROM embeddings_queue "
        "WHERE topic LIKE ? AND seq_id > ? ORDER BY seq_id",
        (f"%/{collection}", applied),
    )
    for number, operation, name, vector, encoding in entries:
        if operation not in _OPERATIONS:
            raise SourceError(f"log entry {number} (id {name!r}): unknown operation {operation}")
        if operation == _DELETE:
            vectors.pop(name, None)
            fresh.discard(name)
        # Chroma adds no id that is there and updates none that is not.
        elif vector is not None and (
            operation == _UPSERT or (operation == _ADD) != (name in vectors)
        ):
            vectors[name] = _decoded(vector, encoding, dim, f"log entry {number} (id {name!r})")
            fresh.add(name)
    return fresh


def _decoded(vector: bytes, encoding: str, dim: int, where: str) -> NDArray[np.float32]:
    dtype = {"FLOAT32": "<f4", "INT32": "<i4"}.get(encoding)
    if dtype is None or len(vector) != 4 * dim:
        raise SourceError(
            f"{where}: {len(vector)} bytes of {encoding} are no vector of {dim} floats"
        )
    return np.frombuffer(vector, dtype).astype(np.float32)
