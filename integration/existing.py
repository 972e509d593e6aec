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


def open_existing(source: Any) -> Import:
    """Open what another store has kept; raises InputError, SourceError, PackageMissingError."""
    if not isinstance(source, str | os.PathLike):
        raise InputError(
            f"source is the place where a store is kept, not {type(source).__name__}: a folder of "
            "FAISS.save_local or Chroma, a folder or URL of a Qdrant collection, a LanceDB table"
        )
    opened = open_import(source, Wanted())
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
    with filling(door, source.dim, origin.name, origin.kind):
        Job(source, door.database, door.name, door.metric, "error").run(_BATCH, None, progress)
        door.found()  # which builds the index
    _tell(source, door.metric)


def _tell(source: Import, metric: str) -> None:
    """Warn where scores are not those of what was embedded."""
    fidelity = source.fidelity
    if fidelity == "exact" or (fidelity == "normalised" and metric == "cosine"):
        return
    notes = "; ".join(source.described()["notes"])
    warnings.warn(
        f"{source.name} has not kept vectors as they were embedded ({fidelity}): {notes}",
        IndexWarning,
        stacklevel=4,
    )
