"""Collections of Qdrant, whoever holds them: which vector, and what the payload becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np

from requant.integration.errors import SourceError
from requant.integration.readers.columns import ALL, Wanted
from requant.integration.readers.foreign.common import DOCUMENT_KEYS, check_new
from requant.integration.readers.foreign.listed import Metric
from requant.integration.readers.foreign.protocol import Fidelity
from requant.integration.readers.seen import SeenIds
from requant.integration.readers.source import Batch
from requant.integration.readers.table import RowError, stack

_METRICS: dict[str, Metric] = {"Cosine": "cosine", "Dot": "ip", "Euclid": "l2"}


@dataclass(frozen=True)
class Point:
    """A point: `vector` is a list, or lists by name, or None."""

    id: int | str | UUID
    vector: Any
    payload: Mapping[str, Any] | None


@dataclass(frozen=True)
class Held:
    """A collection as its holder hands it over: `pages(size)` yields its points.

    `config` is the JSON of its `vectors` and `sparse_vectors`; `normalises` tells that vectors of a
    cosine collection have lost their lengths; `typed`, that a `datatype` is kept to.
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    rows: int | None
    pages: Callable[[int, str], Iterator[list[Point]]]
    close: Callable[[], None]
    normalises: bool = True
    typed: bool = True


class QdrantCollection:
    """A collection of Qdrant: points become items under their own ids, payloads metadata."""

    def __init__(self, held: Held, wanted: Wanted) -> None:
        """Choose the vector; raises SourceError where it is not clear which."""
        field, notes = _chosen(held, wanted.vector)
        self.notes: Sequence[str] = notes
        params = _fields(held)[field]
        distance = str(params.get("distance"))
        self.name: str = held.name
        self.kind: str = held.kind
        self.rows: int | None = held.rows
        self.dim: int = int(params["size"])
        self.metric = _METRICS.get(distance)
        self.fidelity: Fidelity = "exact"
        if self.metric is None:
            notes.append(f"its distance {distance} is none of cosine, ip and l2")
        if distance == "Cosine" and held.normalises:
            self.fidelity = "normalised"
            notes.append("Qdrant normalised the vectors: their lengths are lost")
        datatype = str(params.get("datatype") or "float32").lower()
        if datatype != "float32" and held.typed:
            self.fidelity = "lossy"
            notes.append(f"Qdrant keeps these vectors as {datatype}")
        self._field = field
        self._held = held
        self._wanted = wanted

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield all points by ascending id; raises SourceError."""
        seen = SeenIds()
        for points in self._held.pages(size, self._field):
            ids = [self._id(point) for point in points]

            def place(row: int, what: str, points: list[Point] = points) -> str:
                return f"{self.name} point {points[row].id}"

            check_new(seen, ids, place)
            try:
                stacked = stack([self._vector(point) for point in points], self.dim)
            except RowError as error:
                raise SourceError(f"{place(error.row, 'vectors')}: {error.reason}") from error
            floats = stacked.floats.astype(np.float32, copy=False)
            texts, rest = zip(*map(self._split, points), strict=True)
            documents = list(texts) if any(text is not None for text in texts) else None
            yield Batch(ids, floats, stacked.present, documents, list(rest), place)

    def close(self) -> None:
        """Let go of the connection."""
        self._held.close()

    def _id(self, point: Point) -> Any:
        key = self._wanted.ids
        if key is not None:
            value = (point.payload or {}).get(key)
            if value is None:
                raise SourceError(
                    f"{self.name} point {point.id}: no id under the payload key {key!r} (--ids)"
                )
            return value
        # Qdrant takes integers and UUIDs only: a text is a UUID.
        return UUID(point.id) if isinstance(point.id, str) else point.id

    def _vector(self, point: Point) -> Any:
        if isinstance(point.vector, Mapping):
            return point.vector.get(self._field)
        return point.vector if self._field == "" else None

    def _split(self, point: Point) -> tuple[Any, dict[str, Any] | None]:
        """Return the document, and the payload without it and without what is the id."""
        payload = dict(point.payload or {})
        wanted = self._wanted
        key = wanted.documents or next(
            (k for k in DOCUMENT_KEYS if type(payload.get(k)) is str), ""
        )
        document = payload.get(key)
        if wanted.metadata and wanted.metadata != (ALL,):
            return document, {k: payload[k] for k in wanted.metadata if k in payload}
        rest = {k: value for k, value in payload.items() if k not in (key, wanted.ids)}
        return document, rest if rest or payload else None


def _fields(held: Held) -> dict[str, Mapping[str, Any]]:
    """Return the parameters of each dense vector by name, "" for the one without."""
    vectors = held.config.get("vectors") or {}
    if not isinstance(vectors, Mapping):
        raise SourceError(f"{held.name}: its configuration cannot be understood")
    found = {"": vectors} if isinstance(vectors.get("size"), int) else dict(vectors)
    if not all(isinstance(p, Mapping) and isinstance(p.get("size"), int) for p in found.values()):
        raise SourceError(f"{held.name}: its configuration cannot be understood")
    return found


def _chosen(held: Held, wanted: str | None) -> tuple[str, list[str]]:
    """Return the name of the vector to read, and notes of what is left out."""
    fields = _fields(held)
    dense = [name for name, params in fields.items() if not params.get("multivector_config")]
    shown = ", ".join(repr(name) for name in dense) or "none"
    if wanted is not None and wanted not in dense:
        raise SourceError(f"{held.name} has no vector {wanted!r} (--vector); it has: {shown}")
    if wanted is None and len(dense) != 1:
        raise SourceError(
            f"{held.name}: which vector? Choose one with --vector: {shown}"
            if dense
            else f"{held.name} has no dense vectors, which are all that can be stored"
        )
    field = dense[0] if wanted is None else wanted
    named = {
        "vectors": [name for name in dense if name != field],
        "multivectors": [name for name in fields if name not in dense],
        "sparse vectors": list(held.config.get("sparse_vectors") or {}),
    }
    return field, [
        f"{what} left out: {', '.join(repr(name) for name in names)}"
        for what, names in named.items()
        if names
    ]
