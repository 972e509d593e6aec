"""What other stores have written, brought into a document store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haystack.dataclasses import Document

from requant.integration.existing import metric_of
from requant.integration.haystack.documents import BESIDE, beside
from requant.integration.haystack.errors import DocumentError
from requant.integration.haystack.scaling import SIMILARITIES
from requant.integration.importing.source import Import
from requant.integration.readers.foreign.haystack import LOST


def fitting(source: Import, constructor: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a store for a source; raises DocumentError for other dimensions."""
    words = {metric: word for word, metric in SIMILARITIES.items()}
    found: dict[str, Any] = {"embedding_dim": source.dim}
    if "similarity" not in constructor:
        metric = metric_of(source.name, source.metric, source.described()["notes"])
        found["similarity"] = words[metric]
    if constructor.get("embedding_dim", source.dim) != source.dim:
        raise DocumentError(
            f"{source.name} has {source.dim} dimensions, not {constructor['embedding_dim']}: "
            "leave embedding_dim out"
        )
    return {**found, **constructor}


def complete(source: Import) -> None:
    """Let documents of Haystack's own files keep what stands beside their metadata.

    Raises DocumentError for what Haystack cannot read.
    """
    foreign: Any = source.foreign
    held: Mapping[str, Any] = getattr(foreign, "beside", {})
    if not held:
        return
    foreign.metadata = [
        {**(meta or {}), BESIDE: _kept(name, held[name])} if name in held else meta
        for name, meta in zip(foreign.ids, foreign.metadata, strict=True)
    ]
    kept = (LOST["blob"], LOST["sparse_embedding"])
    foreign.notes = [note for note in foreign.notes if note not in kept]


def _kept(name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return beside(Document.from_dict({"id": name, **told}))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DocumentError(
            f"id {name[:80]!r}: {', '.join(told)} cannot be read: {error}"
        ) from error
