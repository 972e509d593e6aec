"""Indexes that others have taken the place of; a search may still be inside."""

from __future__ import annotations

import time

from requant.indexes.loaded import Loaded

# No search is inside any more, after so many seconds.
AGE = 60.0


class Retired:
    """What was let go of, and is closed when its place is removed, or a while later."""

    def __init__(self) -> None:
        """Nothing is retired yet."""
        self._since: list[tuple[Loaded, float]] = []

    def add(self, loaded: Loaded) -> None:
        """Close it later, and now what was retired long ago."""
        now = time.monotonic()
        self._close([one for one, since in self._since if now - since > AGE])
        self._since.append((loaded, now))

    def names(self) -> set[str]:
        """Return the places of those that are open still."""
        return {one.name for one, _ in self._since}

    def close(self, keep: set[str]) -> None:
        """Close all but those whose place is to be kept."""
        self._close([one for one, _ in self._since if one.name not in keep])

    def _close(self, old: list[Loaded]) -> None:
        for loaded in old:
            loaded.backend.close()
            self._since = [one for one in self._since if one[0] is not loaded]
