"""Collections of Qdrant, whoever holds them: which vector, and what the payload becomes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np

from requant.integration.errors import SourceError
from requant.integration.export.payloads import DOCUMENT, ID, METADATA, NORM, point_id
from requant.integration.readers.columns import ALL, DOCUMENT_KEYS, Wanted
from requant.integration.readers.foreign.common import check_new
from requant.integration.readers.foreign.haystack import from_payload, lost
from requant.integration.readers.foreign.listed import Metric
from requant.integration.readers.foreign.protocol import Fidelity
from requant.integration.readers.source import Batch
from requant.integration.readers.table import stack
from requant.tables import RowError, SeenIds

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
        self._notes = notes
        params = _fields(held)[field]
        distance = str(params.get("distance"))
        self._lengths = 0
        self._lost: dict[str, None] = {}
        self.name: str = held.name
        self.kind: str = held.kind
        self.rows: int | None = held.rows
        self.dim: int = int(params["size"])
        self.metric = _METRICS.get(distance)
        self._fidelity: Fidelity = "exact"
        if self.metric is None:
            notes.append(f"its distance {distance} is none of cosine, ip and l2")
        if distance == "Cosine" and held.normalises:
            self._fidelity = "normalised"
        datatype = str(params.get("datatype") or "float32").lower()
        if datatype != "float32" and held.typed:
            self._fidelity = "lossy"
            notes.append(f"Qdrant keeps these vectors as {datatype}")
        self._field = field
        self._held = held
        self._wanted = wanted
        self._unnamed = wanted == Wanted(vector=wanted.vector)

    @property
    def fidelity(self) -> Fidelity:
        """How true the vectors are; exact where lengths were found as they were read."""
        restored = self._fidelity == "normalised" and self._lengths
        return "exact" if restored else self._fidelity

    @property
    def notes(self) -> Sequence[str]:
        """What is lost, or left out."""
        notes = [*self._notes, *self._lost]
        if self._fidelity != "normalised":
            return notes
        gone = "Qdrant normalised the vectors: their lengths are lost"
        kept = f"Qdrant normalised the vectors: their lengths are taken from {NORM!r}"
        return [*notes, kept if self._lengths else gone]

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
            floats = self._at_length(stacked.floats.astype(np.float32, copy=False), points)
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
        if self._is_named(point):  # an export of requant
            return (point.payload or {})[ID]
        if (written := self._of_haystack(point)) is not None:
            return written[0]
        # Qdrant takes integers and UUIDs only: a text is a UUID.
        return UUID(point.id) if isinstance(point.id, str) else point.id

    def _is_named(self, point: Point) -> bool:
        name = (point.payload or {}).get(ID)
        return name is not None and point_id(name) == str(point.id)

    def _of_haystack(self, point: Point) -> tuple[str, Any, dict[str, Any] | None] | None:
        if not self._unnamed:
            return None
        return from_payload(point.id, point.payload or {})

    def _vector(self, point: Point) -> Any:
        if isinstance(point.vector, Mapping):
            return point.vector.get(self._field)
        return point.vector if self._field == "" else None

    def _at_length(self, floats: Any, points: list[Point]) -> Any:
        """Return vectors as long as they were, where the payload tells it."""
        if self._fidelity != "normalised":
            return floats
        there = [point for point in points if self._vector(point) is not None]
        lengths = [(point.payload or {}).get(NORM) for point in there]
        known = sum(type(length) in (int, float) for length in lengths)
        if not known:
            return floats
        self._lengths += known
        factors = [x if type(x) in (int, float) else 1.0 for x in lengths]
        return (floats * np.array(factors)[:, None]).astype(np.float32)

    def _split(self, point: Point) -> tuple[Any, dict[str, Any] | None]:
        """Return the document, and the payload without it and without what is the id."""
        payload = dict(point.payload or {})
        if payload.keys() & {NORM, METADATA} or self._is_named(point):
            return _as_exported(payload)
        if (written := self._of_haystack(point)) is not None:
            self._lost.update(dict.fromkeys(lost(payload)))
            return written[1:]
        wanted = self._wanted
        text = wanted.documents or "page_content"
        if (self._unnamed or wanted.framework) and _is_langchain(payload, text):
            return payload[text], payload.get("metadata") or None
        key = wanted.documents or next(
            (k for k in DOCUMENT_KEYS if type(payload.get(k)) is str), ""
        )
        document = payload.get(key)
        if wanted.metadata and wanted.metadata != (ALL,):
            return document, {k: payload[k] for k in wanted.metadata if k in payload}
        rest = {k: value for k, value in payload.items() if k not in (key, wanted.ids)}
        return document, rest or None


def _is_langchain(payload: dict[str, Any], text: str) -> bool:
    """Whether LangChain has made it: the text, and the metadata in an object of its own."""
    metadata = payload.get("metadata")
    if not isinstance(metadata, dict | None) or type(payload.get(text)) is not str:
        return False
    return payload.keys() <= {text, "metadata"}


def _as_exported(payload: dict[str, Any]) -> tuple[Any, dict[str, Any] | None]:
    """Return document and metadata as `requant export` has put them into a payload."""
    told = payload.get(METADATA)
    if isinstance(told, str):
        return payload.get(DOCUMENT), json.loads(told)
    rest = {key: v for key, v in payload.items() if key not in (ID, DOCUMENT, NORM)}
    return payload.get(DOCUMENT), rest or None


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
            f"{held.name}: which vector? Choose one with --vector (in Python vector=): {shown}"
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
