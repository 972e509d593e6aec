"""The memory of a process, as Linux tells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Memory:
    """Megabytes in memory: a process's own, and files mapped into it, which are the page cache's.

    The system takes the pages of files back when others need room, as it does with what is read.
    """

    own: float
    mapped: float

    def __str__(self) -> str:
        return f"{self.own:.0f} + {self.mapped:.0f}"

    def beyond(self, before: Memory) -> Memory:
        """Return what has come since."""
        return Memory(self.own - before.own, self.mapped - before.mapped)


def resident() -> Memory:
    """Return the memory of this process."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    total, mapped = (int(lines[name].split()[0]) / 1e3 for name in ("VmRSS", "RssFile"))
    return Memory(total - mapped, mapped)
