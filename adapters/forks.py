"""What a forked child must leave alone: its parent's open files and sockets, engines with threads.

A child starts with every open file of its parent. SQLite's locks and `flock` are bound to them, so
what a child does to such a file, be it closing it, is done to the parent or to its siblings. Right
after a fork the child therefore notes what it has inherited, before anything else can be opened.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path

from requant.adapters.errors import ForkedError

File = tuple[int, int]  # device and inode, the same under every name

SPAWN = "start workers with multiprocessing's spawn or forkserver"

_numbers = count()
_kept: dict[int, str] = {}  # files that children let go of at once
_open: dict[int, File] = {}  # descriptors that this process began with
_inherited: set[File] = set()
_pid = os.getpid()


class OneProcess:
    """An engine whose threads do not survive a fork: where a process used it, its children cannot.

    >>> edge = OneProcess("qdrant")
    >>> edge.check()
    >>> edge.check()
    """

    def __init__(self, engine: str) -> None:
        """Wait for the first process that uses `engine`."""
        self._engine = engine
        self._pid: int | None = None

    def check(self) -> None:
        """Note that this process uses the engine; raise ForkedError where its parent did."""
        pid = os.getpid()
        if self._pid is None:
            self._pid = pid
        elif self._pid != pid:
            raise ForkedError(
                f"process {self._pid} used {self._engine} before it was forked into {pid}, and "
                f"{self._engine} may hang after a fork: {SPAWN}, or let no process use "
                f"{self._engine} before it forks"
            )


def keep_from_children(path: Path) -> Callable[[], None]:
    """Let children close a file that they inherit, such as a lock; returns what ends this."""
    number = next(_numbers)
    _kept[number] = str(path)

    def end() -> None:
        _kept.pop(number, None)

    return end


def was_inherited(path: str) -> bool:
    """Whether a file was open when this process, or one before it, was forked."""
    look_around()
    return bool(_inherited) and file_at(path) in _inherited


def cut_files(paths: Iterable[str]) -> None:
    """Make every descriptor of these files that was inherited useless, in this process alone.

    Whatever still holds one gets errors from it, and can neither write nor unlock by it.
    """
    files = {file_at(path) for path in paths}
    found = [descriptor for descriptor, file in _open.items() if file in files]
    if found:
        # Neither to be read nor to be locked.
        flags = getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC
        dead = os.open(os.devnull, flags)
        for descriptor in found:
            os.dup2(dead, descriptor, inheritable=False)
            del _open[descriptor]
        os.close(dead)


def cut_socket(descriptor: int) -> None:
    """Put a connection that has ended in the place of an inherited one, in this process alone."""
    dead, other = socket.socketpair()
    other.close()
    os.dup2(dead.fileno(), descriptor, inheritable=False)
    dead.close()


def file_at(path: str) -> File | None:
    """Return which file stands at a path, None if there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _open_files() -> Iterator[tuple[int, File]]:
    for descriptor in _descriptors():
        try:
            found = os.fstat(descriptor)
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
            yield descriptor, (found.st_dev, found.st_ino)


def _descriptors() -> list[int]:
    try:
        return [int(entry.name) for entry in Path("/dev/fd").iterdir()]
    except OSError:  # no such folder: a jail
        return list(range(min(os.sysconf("SC_OPEN_MAX"), 1 << 16)))


def look_around() -> None:
    """Note in a child what it has inherited; Python does so by itself wherever Python forks."""
    global _pid
    if os.getpid() == _pid:
        return
    _pid = os.getpid()
    _open.clear()
    _open.update(_open_files())
    _inherited.update(_open.values())
    cut_files(_kept.values())
    _kept.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=look_around)
