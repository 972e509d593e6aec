"""Makes, opens and removes indexes; imports of either library of Qdrant what the place needs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from requant.adapters.errors import EngineMissingError
from requant.adapters.forks import OneProcess
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant.collection_layout import layout_of
from requant.adapters.qdrant.places import Folder, Local, Place, Server, parse
from requant.adapters.qdrant.points import Points

_HERE = "requant.adapters.qdrant"
# One in ten children hung whose parent was writing to a folder when it forked.
EDGE = OneProcess("qdrant-edge")


def create(spec: IndexSpec, location: str | None, overwrite: bool) -> Points:
    """Make an empty index."""
    place = parse(location)
    layout, module = layout_of(spec, not isinstance(place, Server)), _module(place)
    target = _target(place)
    return Points(spec, layout, module.create(spec, layout, target, overwrite))


def load(spec: IndexSpec, location: str) -> Points:
    """Open an index."""
    place = parse(location)
    layout, module = layout_of(spec, not isinstance(place, Server)), _module(place)
    target = _target(place)
    return Points(spec, layout, module.load(spec, layout, target))


def remove(spec: IndexSpec, location: str) -> None:
    """Remove an index."""
    place = parse(location)
    if isinstance(place, Server):
        _module(place).remove(spec, place)
    else:
        _module(place).remove(place.path)


def _target(place: Place) -> Any:
    if isinstance(place, Folder):
        EDGE.check()
    return place if isinstance(place, Server) else place.path


def noted_at(spec: IndexSpec, location: str) -> str | None:
    """Return the text of an index."""
    place = parse(location)
    found: str | None = _module(place).noted_at(
        spec, place if isinstance(place, Server) else place.path
    )
    return found


def _module(place: Place) -> Any:
    name, package = {
        Folder: ("edge", "qdrant-edge-py"),
        Server: ("server", "qdrant-client"),
        Local: ("local", "qdrant-client"),
    }[type(place)]
    try:
        return import_module(f"{_HERE}.{name}")
    except ImportError as error:
        raise EngineMissingError(
            f"this place needs {package}, which cannot be imported ({error}): "
            "pip install 'requant[qdrant]'"
        ) from error
