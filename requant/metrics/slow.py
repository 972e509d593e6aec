"""Slow operations in the log."""

from __future__ import annotations

from requant.errors import InputError
from requant.metrics.notices import logger
from requant.metrics.operation import Operation

_ROOMS = {"search": "search", "write": "store"}


class SlowLog:
    """An observer that logs what takes long.

    Searches as `requant.search`, writes as `requant.store`.

    >>> import requant
    >>> from requant.metrics import SlowLog
    >>> with requant.open(":memory:") as db:
    ...     stop = db.observe(SlowLog(0.25))
    """

    def __init__(self, seconds: float) -> None:
        """Log, at the level WARNING, searches and writes that take as long or longer.

        Raises InputError.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
            raise InputError(f"seconds must be a number, 0 or more, not {seconds!r}")
        self._seconds = seconds

    def begins(self, operation: Operation) -> None:
        """Do nothing."""

    def ends(self, operation: Operation, begun: None) -> None:
        """Log it if it was slow."""
        room = _ROOMS.get(operation.kind)
        if room is None or operation.seconds < self._seconds:
            return
        parts = [f"{stage} {1000 * took:.1f} ms" for stage, took in operation.stages.items()]
        parts += [f"{what} {number}" for what, number in operation.counts.items()]
        logger(room).warning(
            "slow %s of %r%s: %.1f ms (%s)%s",
            operation.name,
            operation.collection,
            f" by index {operation.index!r}" if operation.index else "",
            1000 * operation.seconds,
            ", ".join(parts),
            f", {operation.error}" if operation.error else "",
        )
