"""What all engines in memory share: an index is written to a file as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

from requant.adapters.guarded import GuardedBackend, Structure
from requant.adapters.protocol import IndexSpec
from requant.quantizers.errors import InputError


class FileStructure(Structure, Protocol):
    """One form of index in an engine's memory."""

    def save(self, location: str) -> None:
        """Write one file; this reads only, and runs beside searches."""


S = TypeVar("S", bound=FileStructure)


class LocalBackend(GuardedBackend[S]):
    """A `Backend` of storage "file" around a structure in memory.

    An engine adds its `capabilities`, `create` and `open`.
    """

    @classmethod
    def drop(cls, spec: IndexSpec, location: str) -> None:
        """Remove the file at `location`."""
        Path(location).unlink(missing_ok=True)

    def flush(self, location: str | None = None) -> None:
        """Write the index to a new file at `location`; see `requant.adapters.files.publish`."""
        if location is None:
            raise InputError("an index in memory is flushed to a file: give its location")
        with self._reading:
            self._structure.save(location)

    def close(self) -> None:
        """Let go of memory and files; closing twice is harmless."""
        self._guard.close()
        vars(self).pop("_structure", None)
