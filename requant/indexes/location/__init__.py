"""Where an index is kept: in files of our own, or wherever its engine keeps it.

`location_of` returns the one for an index; `Workspace` is what a database gives all of them.
"""

from __future__ import annotations

from requant.adapters import registry
from requant.indexes.location.attached import AttachedLocation
from requant.indexes.location.attached_backend import ATTACHED, open_attached
from requant.indexes.location.contract import Location
from requant.indexes.location.files import FileLocation
from requant.indexes.location.live import LiveLocation
from requant.indexes.location.removal import sweep
from requant.indexes.location.workspace import Workspace, folder_for, on_disk
from requant.store import CollectionRow, IndexRow

__all__ = [
    "ATTACHED",
    "Location",
    "Workspace",
    "folder_for",
    "location_of",
    "on_disk",
    "open_attached",
    "sweep",
]


def location_of(workspace: Workspace, owner: CollectionRow, row: IndexRow) -> Location:
    """Return where an index is kept; raises EngineMissingError, UnknownEngineError."""
    if row.config.precision == ATTACHED:
        return AttachedLocation(workspace, owner, row)
    if registry.load(row.config.engine).capabilities.storage == "live":
        return LiveLocation(workspace, owner, row)
    return FileLocation(workspace, row)
