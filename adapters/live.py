"""What all engines share that keep an index themselves, in a folder or on a server."""

from __future__ import annotations

from typing import Protocol, TypeVar

from requant.adapters.guarded import GuardedBackend, Structure


class LiveStructure(Structure, Protocol):
    """One index where its engine keeps it."""

    def flush(self) -> None:
        """Make what was accepted durable; nobody writes meanwhile."""

    def note(self, text: str) -> None:
        """Replace the text that the place keeps; as durable as what was flushed."""

    def noted(self) -> str | None:
        """Return the text that the place keeps now, None without one."""

    def close(self) -> None:
        """Let go of files and connections."""


S = TypeVar("S", bound=LiveStructure)


class LiveBackend(GuardedBackend[S]):
    """A `Backend` of storage "live" around a structure that has its place.

    An engine adds its `capabilities`, `create`, `open`, `drop` and `noted_at`, and tells by the
    `sharing` that it passes to `__init__` whether calls may overlap.
    """

    def flush(self, location: str | None = None) -> None:
        """Make what was accepted durable; the index stays where it is."""
        with self._writing:
            self._structure.flush()

    def note(self, text: str) -> None:
        """Replace the text that the place keeps."""
        with self._writing:
            self._structure.note(text)

    def noted(self) -> str | None:
        """Return the text that the place keeps now, None without one."""
        with self._reading:
            return self._structure.noted()

    def close(self) -> None:
        """Let go of memory, files and connections; closing twice is harmless."""
        self._guard.close()
        structure = vars(self).pop("_structure", None)
        # What a forked child has of the engine is the parent's.
        if structure is not None and self._guard.is_here():
            structure.close()
