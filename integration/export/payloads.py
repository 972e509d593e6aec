"""Items as points of Qdrant: integers and UUIDs as ids, everything else in the payload."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from requant.integration.export.job import Job, count
from requant.integration.export.labels import UNIT, exact_lengths
from requant.integration.export.parquet_files import metadata_text
from requant.store import Id, Page

ID, DOCUMENT, NORM, METADATA = "id", "document", "requant_norm", "requant_metadata"
_RESERVED = (DOCUMENT, NORM, METADATA)
Point = tuple[int | str, Any, dict[str, Any]]


@dataclass
class Payloads:
    """Turns items into points, and counts what had to be changed for it."""

    metric: str
    renamed: int = 0
    kept_as_text: int = 0
    lengths: int = 0
    without_vector: int = 0
    rows: int = 0

    def points(self, rows: Page) -> Iterator[Point]:
        """Yield id, vector (an empty dict where there is none) and payload of each item.

        The payload has `document`, and the metadata under its own names. `id` is the item's id
        where Qdrant cannot take it, `requant_norm` the length of the vector where Qdrant's cosine
        forgets it, `requant_metadata` the exact JSON of metadata that cannot be carried as it is.
        """
        norms = exact_lengths(rows.vectors) if self.metric == "cosine" else None
        at = 0
        for place, there in enumerate(rows.present.tolist()):
            payload, vector = self._payload(rows, place), {}
            if there:
                vector = rows.vectors[at]
                if norms is not None and abs(norms[at] - 1) > UNIT:
                    payload[NORM] = norms[at]
                    self.lengths += 1
                at += 1
            self.without_vector += not there
            yield point_id(rows.ids[place]), vector, payload
        self.rows += len(rows)

    def tell(self, job: Job) -> None:
        """Add notes on what was changed."""
        if self.renamed:
            job.notes.append(
                f"{count(self.renamed, 'id')} neither integers from 0 to 2^64 - 1 nor UUIDs: "
                "their points have uuid5(NAMESPACE_OID, id), and the id in the payload as `id`"
            )
        if self.lengths:
            job.notes.append(
                "Qdrant normalises vectors under Cosine: the length of "
                f"{count(self.lengths, 'vector')} is in the payload as `{NORM}`"
            )
        if self.kept_as_text:
            job.notes.append(
                f"the metadata of {count(self.kept_as_text, 'item')} cannot be a payload as it is "
                "(names that are taken, integers beyond 64 bits, an empty object): it is in "
                f"`{METADATA}` as JSON as well"
            )
        if self.without_vector:
            job.notes.append(f"{count(self.without_vector, 'point')} without a vector")

    def _payload(self, rows: Page, place: int) -> dict[str, Any]:
        name, document, metadata = rows.ids[place], rows.documents[place], rows.metadata[place]
        payload: dict[str, Any] = {}
        if not _native(name):
            payload[ID] = name if isinstance(name, int) and _fits(name) else str(name)
            self.renamed += 1
        if document is not None:
            payload[DOCUMENT] = document
        if metadata is None:
            return payload
        # `id` is ours alone, so that a reader knows what it means.
        taken = {ID, *_RESERVED}
        if not metadata or taken & metadata.keys() or not _fits(metadata):
            payload[METADATA] = metadata_text(metadata)
            self.kept_as_text += 1
        free = {key: value for key, value in metadata.items() if key not in taken}
        return payload | free


def point_id(name: Id) -> int | str:
    """Return the id of a point.

    >>> point_id(7), point_id("seven")
    (7, '2e5420e6-9032-5e9a-87f6-66a2de8adbc0')
    """
    if not _native(name):
        return str(uuid.uuid5(uuid.NAMESPACE_OID, str(name)))
    return name if isinstance(name, int) else str(name)


def _native(name: Id) -> bool:
    return isinstance(name, uuid.UUID) or (isinstance(name, int) and 0 <= name < 1 << 64)


def _fits(value: Any) -> bool:
    """Whether all integers are such that Qdrant does not turn them into floats."""
    if isinstance(value, dict):
        return all(map(_fits, value.values()))
    if isinstance(value, list):
        return all(map(_fits, value))
    return not isinstance(value, int) or -(1 << 63) <= value < 1 << 64
