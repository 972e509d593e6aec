"""Chroma's folders (chromadb 0.4 to 1.x): chroma.sqlite3 and a folder a segment of vectors."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np

from requant.integration.errors import SourceError
from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.chroma_segment import follow_log, read_segment
from requant.integration.readers.foreign.chroma_tables import (
    Collection,
    Item,
    applied,
    collections,
    items,
    opened,
)
from requant.integration.readers.foreign.listed import Listed, refuse_wanted

FILE = "chroma.sqlite3"


def is_chroma(source: str) -> bool:
    """Tell whether a path is a folder that Chroma has made, or FOLDER/COLLECTION."""
    return _split(source) is not None


def open_chroma(source: str, wanted: Wanted) -> Listed:
    """Read a collection of a Chroma folder.

    Args:
        source: the folder with chroma.sqlite3, and after a slash the name of the collection, which
            may be left out where there is only one. It is only read; nothing should write it.
        wanted: nothing, since Chroma tells itself what is what.

    Raises:
        SourceError: it is not clear which collection, or a file is damaged or unknown.
    """
    refuse_wanted(source, "Chroma", wanted)
    found = _split(source)
    if found is None:
        raise SourceError(f"{source} has no {FILE}: it is no folder of Chroma")
    path, name = found
    with opened(path / FILE) as database:
        chosen = _chosen(path, collections(database), name)
        return _read(path, database, chosen)


def _split(source: str) -> tuple[Path, str | None] | None:
    """Return folder and collection."""
    path = Path(source)
    if (path / FILE).is_file():
        return path, None
    if path.name == FILE and path.is_file():
        return path.parent, None
    return (path.parent, path.name) if (path.parent / FILE).is_file() else None


def _chosen(path: Path, found: list[Collection], name: str | None) -> Collection:
    names = ", ".join(one.name for one in found)
    if not found:
        raise SourceError(f"{path} holds no collection")
    if name is None and len(found) > 1:
        raise SourceError(
            f"{path} holds {len(found)} collections, name one as {path}/NAME: {names}"
        )
    matching = [one for one in found if name is None or one.name == name]
    if not matching:
        raise SourceError(f"{path} has no collection {name!r}; it has: {names}")
    if len(matching) > 1:
        raise SourceError(
            f"{path} has {len(matching)} collections called {name!r}, in several databases of "
            "Chroma: rename one there"
        )
    return matching[0]


def _read(path: Path, database: sqlite3.Connection, chosen: Collection) -> Listed:
    name = f"{path} ({chosen.name})"
    if chosen.dim is None:
        raise SourceError(f"{name}: the collection is empty")
    _check_followed(database, chosen, name)
    segment = read_segment(
        path / chosen.vectors, chosen.dim, applied(database, chosen.vectors),
        chosen.metric == "cosine",
    )  # fmt: skip
    vectors = dict(segment.vectors)
    try:
        fresh = follow_log(vectors, database, chosen.id, segment.applied, chosen.dim)
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from error
    listed = items(database, chosen)
    _check_ids(name, listed, set(vectors))
    if not listed:
        raise SourceError(f"{name}: the collection is empty")
    restored = segment.restored and len(fresh) < len(vectors)
    return Listed(
        name=name,
        kind="Chroma collection",
        fidelity="normalised" if restored else "exact",
        metric=chosen.metric,
        ids=[item.id for item in listed],
        vectors=np.stack([vectors[item.id] for item in listed]),
        documents=[item.document for item in listed],
        metadata=[item.metadata for item in listed],
        notes=[_RESTORED] if restored else [],
    )


_RESTORED = (
    "Chroma keeps vectors of a cosine collection at length one, and their lengths beside them: "
    "they are multiplied again, as Chroma itself does, which changes a value by up to one part "
    "in ten million"
)


def _check_followed(database: sqlite3.Connection, chosen: Collection, name: str) -> None:
    """Refuse a database whose documents lag behind its log; Chroma catches up when it opens."""
    seen = applied(database, chosen.metadata) or 0
    (last,) = database.execute(
        "SELECT max(seq_id) FROM embeddings_queue WHERE topic LIKE ?", (f"%/{chosen.id}",)
    ).fetchone()
    if last is not None and last > seen:
        raise SourceError(
            f"{name}: {last - seen} writes are in its log only: open the folder once with Chroma "
            "and read something, then import it again"
        )


def _check_ids(name: str, listed: list[Item], vectors: set[str]) -> None:
    ids = {item.id for item in listed}
    for lost, what in ((ids - vectors, "no vector"), (vectors - ids, "a vector but no row")):
        if lost:
            raise SourceError(
                f"{name}: id {min(lost)[:80]!r} and {len(lost) - 1} more have {what}: the folder "
                "was written while it was copied, or is damaged; copy it with Chroma stopped"
            )
