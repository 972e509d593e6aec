"""Who may go in beside whom, by what an engine bears."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Literal

from requant.adapters.guards import EngineGuard

# Which calls may overlap: none, those that read, or these and a single writer.
Sharing = Literal["none", "readers", "all"]


def locks_of(sharing: Sharing, guard: EngineGuard) -> tuple[Any, Any]:
    """Return what to enter for reading and for writing."""
    if sharing == "none":
        return guard, guard
    if sharing == "readers":
        return guard.shared, guard
    return guard.shared, OneWriter(guard)


class OneWriter:
    """One writer after the other, beside any number of readers: the engine looks after those.

    Deletions count first and delete then, so that nobody may write in between.
    """

    def __init__(self, guard: EngineGuard) -> None:
        """Enter `guard` as a reader does."""
        self._shared = guard.shared
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        """Wait for the lock to write."""
        self._shared.__enter__()  # first: it raises in a forked child, where the lock may be held
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the next one in."""
        self._lock.release()
        self._shared.__exit__(kind, error, trace)
