"""What other stores have written, brought into a collection."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from requant.exchange import import_items
from requant.integration.haystack.errors import DocumentError
from requant.integration.haystack.scaling import SIMILARITIES, metric_of
from requant.integration.locations import MEMORY, Location, borrow

_COLLECTION = "haystack"


def brought_in(
    source: str | os.PathLike[str], location: Location, constructor: Mapping[str, Any]
) -> dict[str, Any]:
    """Import a source, and return the arguments of the store that fits what it is now."""
    arguments = {"collection_name": _COLLECTION, **constructor}
    if location == MEMORY:
        raise DocumentError(
            "what is brought into ':memory:' would be gone before the store is opened: give a "
            "path, a URL or a requant.Database"
        )
    if isinstance(location, sa.Engine):
        raise DocumentError("give a path, a URL or a requant.Database instead of an engine")
    wanted = arguments.get("similarity")
    name = arguments["collection_name"]
    database, give_back = borrow(location, arguments.get("folder"))
    try:
        import_items(source, database, name, metric=None if wanted is None else metric_of(wanted))
        made = database.collection(name)
        words = {metric: word for word, metric in SIMILARITIES.items()}
        return {"embedding_dim": made.dim, "similarity": words[made.metric], **arguments}
    finally:
        give_back()
