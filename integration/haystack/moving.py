"""What other stores have written, brought into a document store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from requant.integration.existing import metric_of
from requant.integration.haystack.errors import DocumentError
from requant.integration.haystack.scaling import SIMILARITIES
from requant.integration.importing.source import Import


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
