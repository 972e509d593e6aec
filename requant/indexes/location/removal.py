"""Removing what indexes leave: files, folders, and what engines keep at their locations."""

from __future__ import annotations

import warnings

from requant.adapters import own_files, registry
from requant.errors import (
    CorruptIndexError,
    EngineError,
    IndexWarning,
    LocationTakenError,
    RequantError,
)
from requant.indexes.location.workspace import Workspace
from requant.indexes.spec import trial_spec
from requant.store import IndexRow, locations


def sweep(workspace: Workspace, dropped: list[IndexRow]) -> None:
    """Remove the files and places of `dropped` indexes, and what remained where they were."""
    urls = {row.config.url for row in dropped} | {None}
    for place in locations.orphans(workspace.store):
        if place.config.url in urls:
            remove(workspace, place)
    for row in dropped:
        own_files.clear(workspace.folder_of(row.id))


def remove(workspace: Workspace, place: locations.LocationRow) -> None:
    """Let an engine remove a place; if it cannot, that is said, and tried again later."""
    try:
        where = workspace.address_of(place.index, place.config, place.name)
    except CorruptIndexError as error:  # nothing that we made: it is forgotten, and left alone
        warnings.warn(f"nothing is removed: {error}", IndexWarning, stacklevel=2)
        locations.remove(workspace.store, place.index, place.name)
        return
    except EngineError as error:
        warnings.warn(f"nothing is removed: {error}", IndexWarning, stacklevel=2)
        return
    try:
        if not place.ours:
            raise LocationTakenError(f"{where} may be somebody else's")
        spec = trial_spec(place.config, workspace.secrets)
        registry.load(place.config.engine).drop(spec, where)
    except LocationTakenError:
        pass  # somebody else's stands there now
    except RequantError as error:
        text = f"{where} cannot be removed ({error}); tried again when an index there is dropped"
        warnings.warn(text, IndexWarning, stacklevel=2)
        return
    locations.remove(workspace.store, place.index, place.name)
