"""Engines by name: registered as entry points of `requant.backends`, imported on first use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version

from requant.adapters.errors import EngineMissingError, UnknownEngineError
from requant.adapters.protocol import Backend

GROUP = "requant.backends"

# The packages of an engine; any one of them is enough where there are several.
_PACKAGES = {
    "faiss": ("faiss-cpu",),
    "usearch": ("usearch",),
    "qdrant": ("qdrant-client", "qdrant-edge-py"),
    "lancedb": ("lancedb",),
    "turbovec": ("turbovec",),
}


@dataclass(frozen=True)
class EngineStatus:
    """Whether an engine can be used here, and why not if it cannot.

    `versions` are those of its packages by name, None for one that is not installed.
    """

    name: str
    usable: bool
    versions: Mapping[str, str | None]
    reason: str | None
    backend: type[Backend] | None

    @property
    def version(self) -> str | None:
        """The version of the first of its packages that is installed."""
        return next((version for version in self.versions.values() if version), None)


def names() -> list[str]:
    """Return the registered engine names, sorted."""
    return sorted(_entries())


def load(name: str) -> type[Backend]:
    """Import the adapter of an engine, and with it the engine.

    Raises:
        UnknownEngineError: nothing is registered under `name`; the text lists what is.
        EngineMissingError: the engine's package is missing or broken; the text says how to install.
    """
    entry = _entries().get(name)
    if entry is None:
        raise UnknownEngineError(f"unknown engine {name!r}: choose one of {', '.join(names())}")
    try:
        backend: type[Backend] = entry.load()
    except ImportError as error:
        raise EngineMissingError(
            f"{name} is not usable ({error}): {_install_hint(name)}"
        ) from error
    return backend


def status(name: str) -> EngineStatus:
    """Try an engine and tell what came of it; an engine that fails to import harms nobody else."""
    try:
        backend = load(name)
    except EngineMissingError as error:
        return EngineStatus(name, False, _versions(name), str(error), None)
    except Exception as error:  # a broken engine may raise anything while it is imported
        reason = f"{type(error).__name__}: {error}"
        return EngineStatus(name, False, _versions(name), reason, None)
    return EngineStatus(name, True, _versions(name), None, backend)


@cache
def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _install_hint(name: str) -> str:
    if name in _PACKAGES:
        return f"pip install 'requant[{name}]'"
    return f"install the package that provides the backend {name!r}"


def _versions(name: str) -> dict[str, str | None]:
    entry = _entries().get(name)
    others = (entry.dist.name,) if entry and entry.dist else ()
    return {package: _version(package) for package in _PACKAGES.get(name, others)}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
