"""Removing what indexes leave: files, folders, and what engines keep at their locations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from requant.adapters import own_files, registry
from requant.adapters.hosts import folder_of
from requant.adapters.protocol import IndexSpec
from requant.errors import (
    CorruptIndexError,
    EngineError,
    LocationTakenError,
    RequantError,
)
from requant.indexes.folders import admit, give_back
from requant.indexes.location import notes
from requant.indexes.location.workspace import Workspace
from requant.indexes.spec import trial_spec
from requant.indexes.trust import untrusted_folder
from requant.metrics import warn
from requant.store import IndexConfig, IndexRow, locations


def sweep(workspace: Workspace, dropped: list[IndexRow]) -> None:
    """Remove the files and places of `dropped` indexes, and what remained where they were."""
    urls = {row.config.url for row in dropped} | {None}
    for place in locations.orphans(workspace.store):
        if place.config.url in urls:
            remove(workspace, place)
    for row in dropped if workspace.owns_folder() else ():
        own_files.clear(workspace.folder_of(row.id))


def remove(workspace: Workspace, place: locations.LocationRow) -> None:
    """Let an engine remove a place; if it cannot, that is said, and tried again later."""
    try:
        where = workspace.address_of(place.index, place.config, place.name)
    except CorruptIndexError as error:  # nothing that we made: it is forgotten, and left alone
        warn("indexes", f"nothing is removed: {error}")
        locations.remove(workspace.store, place.index, place.name)
        return
    except EngineError as error:
        warn("indexes", f"nothing is removed: {error}")
        return
    try:
        if not place.ours:
            raise LocationTakenError(f"{where} may be somebody else's")
        check_folder(workspace, place.index, place.config, [place.name])
        engine = registry.load(place.config.engine)
        spec = trial_spec(place.config, workspace.secrets)
        _check_ours(workspace, place, engine, spec, where)
        engine.drop(spec, where)
    except LocationTakenError:
        pass  # somebody else's stands there now
    except RequantError as error:
        text = f"{where} cannot be removed ({error}); tried again when an index there is dropped"
        warn("indexes", text)
        return
    locations.remove(workspace.store, place.index, place.name)
    folder = folder_of(place.config.url)
    if folder is not None and not locations.is_used(workspace.store, str(place.config.url)):
        give_back(folder, workspace.identity)


def check_folder(
    workspace: Workspace, index: int, config: IndexConfig, names: Iterable[str]
) -> None:
    """Raise UntrustedHostError for a folder that nobody has named but the store.

    A place in it that says itself that it is this index's is as good as a mark of the folder's: it
    was made before there were marks.
    """
    folder = workspace.foreign_folder(config)
    if folder is None:
        return
    engine: Any = registry.load(config.engine)
    if engine.capabilities.notes:
        spec = trial_spec(config, workspace.secrets)
        for name in names:
            text = engine.noted_at(spec, workspace.address_of(index, config, name))
            if notes.vouches(text, workspace.identity, index):
                if not workspace.store.read_only:
                    admit(folder, workspace.identity)
                return
    raise untrusted_folder(folder)


def _check_ours(
    workspace: Workspace, place: locations.LocationRow, engine: Any, spec: IndexSpec, where: str
) -> None:
    """Raise LocationTakenError if a place that others can reach is not ours any more."""
    if place.config.url is None or not engine.capabilities.notes:
        return
    note = notes.parsed(engine.noted_at(spec, where))
    known = locations.find(workspace.store, place.index, place.name)
    if known is None or (note is None and not known.serial):
        return
    if note is None:
        raise LocationTakenError("it does not say any more whose it is; see to it yourself")
    problem = notes.objection(note, known, workspace.identity, note.collection, place.index)
    if problem is not None:
        if workspace.identity.knows(note.database):  # nobody else may think of removing it
            text = f"{where} is left as it is: {problem}; if nobody uses it, remove it yourself"
            warn("indexes", text)
        raise LocationTakenError(problem)
