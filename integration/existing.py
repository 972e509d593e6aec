"""Another store becomes one of requant: read as it stands, without embedding anything again."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

from requant.errors import IndexWarning, InputError
from requant.integration.doors import Door
from requant.integration.errors import SourceError
from requant.integration.filling import filling
from requant.integration.importing.run import Job, Progress
from requant.integration.importing.source import Import, open_import
from requant.integration.readers import Wanted
from requant.scores import Metric

_BATCH = 4096
_SHOWN = 3
_LACKS: dict[str, dict[str, Any]] = {"text": {"$document": None}, "vector": {"$has_vector": False}}
_THEN = {
    "text": "where they stand under a name of their own, say it by text=; else they were kept "
    "elsewhere, as in a docstore.json, and have to be added",
    "vector": "no search by vector finds them",
}


def open_existing(source: Any, vector: str | None = None, text: str | None = None) -> Import:
    """Open what another store has kept.

    Args:
        source: the place where it is kept.
        vector: the name of its vectors, where it has several.
        text: the column or payload key of the texts, where nothing else tells it.

    Raises InputError, SourceError, PackageMissingError.
    """
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            f"source is the place where a store is kept, not {type(source).__name__}: a folder of "
            "FAISS.save_local or Chroma, a folder or URL of a Qdrant collection, a LanceDB table"
        )
    opened = open_import(source, Wanted(vector=vector, documents=text, framework=True))
    if not opened.dim:  # of a file of columns, only reading tells it
        opened.close()
        raise SourceError(
            f"{opened.name} is a file of columns, which have to be named: requant.import_items "
            "stores it, and the store is opened on the collection after that"
        )
    return opened


def metric_of(name: str, told: Metric | None, notes: Sequence[str]) -> Metric:
    """Return the metric for a source of which nobody has said one: its own, or the cosine.

    Warns with IndexWarning where it compares otherwise, or does not tell.
    """
    if told is not None:
        return told
    why = "; ".join(notes) or "it does not tell how it compares"
    warnings.warn(
        f"{name} is searched by cosine from now on, which may give other results than before: "
        f"{why}; say the metric (cosine, ip or l2) to choose it",
        IndexWarning,
        stacklevel=4,
    )
    return "cosine"


def fill(door: Door, source: Import, progress: Progress | None) -> None:
    """Store everything and build the index; whatever goes wrong, nothing of it stays.

    `progress` is called with (rows stored, total or None) after each batch, and may end it.

    Raises:
        ExistsError: there is something in the collection; SourceError: a row cannot be stored.
    """
    origin = source.foreign
    assert origin is not None  # a file of columns has been refused
    with filling(door, source.dim, origin.name, origin.kind) as target:
        Job(source, door.database, door.name, door.metric, "error").run(_BATCH, None, progress)
        door.found()  # which builds the index
        lacks: list[str] = []
        if not origin.kind.startswith("Haystack"):  # to which nothing is missing there
            for what, where in _LACKS.items():
                ids, number = target.ids(where, limit=_SHOWN), target.count(where)
                lacks += lacking(what, ids, number, len(target))
        notes = source.described()["notes"]
        warn_of(source.name, source.fidelity, notes, door.metric, lacks)


def lacking(what: str, ids: Sequence[Any], number: int, of: int) -> list[str]:
    """Return a sentence about items that came without a text or vector; none where all have it."""
    if not number:
        return []
    shown = ", ".join(repr(str(one)[:80]) for one in ids[:_SHOWN])
    more = ", ..." if number > _SHOWN else ""
    return [f"{number:,} of {of:,} items came without a {what} ({shown}{more}): {_THEN[what]}"]


def warn_of(
    name: str, fidelity: str, notes: Sequence[str], metric: str, lacks: Sequence[str]
) -> None:
    """Warn of all in which a store is not what its source was.

    To be called while it is filled: where warnings are errors, nothing of it stays then.
    """
    told = [f"{name}: {sentence}" for sentence in lacks]
    # Every reader notes it in these words.
    if left := [note for note in notes if "left out" in note]:
        told.insert(0, f"not all of {name} was taken: {'; '.join(left)}")
    if fidelity != "exact" and not (fidelity == "normalised" and metric == "cosine"):
        why = "; ".join(notes)
        told.insert(0, f"{name} has not kept vectors as they were embedded ({fidelity}): {why}")
    for text in told:
        warnings.warn(text, IndexWarning, stacklevel=5)
